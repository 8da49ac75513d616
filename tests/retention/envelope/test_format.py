from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.envelope import format as fmt
from retention.envelope.format import ImpossibleLength
from tests.fakes.lengths import lengths


def test_the_constants_are_those_of_the_public_format() -> None:
    assert (fmt.HEADER, fmt.FIRST_PLAINTEXT, fmt.LATER_PLAINTEXT, fmt.TAG) == (40, 1_048_520, 1_048_560, 16)
    assert fmt.ciphertext_length(0) == 56


@pytest.mark.parametrize(
    ("plaintext", "ciphertext"),
    [
        (0, 56),
        (1, 57),
        (1_048_520, 1 << 20),
        (1_048_521, (1 << 20) + 17),
        (1_048_520 + 1_048_560, 2 << 20),
        (1_048_520 + 1_048_560 + 1, (2 << 20) + 17),
    ],
)
def test_lengths_at_the_segment_boundaries(plaintext: int, ciphertext: int) -> None:
    assert fmt.ciphertext_length(plaintext) == ciphertext
    assert fmt.plaintext_length(ciphertext) == plaintext


@given(lengths(segments=5000))
def test_the_two_lengths_are_inverse(plaintext: int) -> None:
    assert fmt.plaintext_length(fmt.ciphertext_length(plaintext)) == plaintext


@given(st.integers(0, 8 * fmt.SEGMENT))
def test_a_ciphertext_length_is_possible_or_refused(ciphertext: int) -> None:
    try:
        plaintext = fmt.plaintext_length(ciphertext)
    except ImpossibleLength:
        # Only too short for one segment, or with a last segment that has no byte of plaintext.
        assert ciphertext < 56 or 0 < ciphertext % fmt.SEGMENT <= fmt.TAG
    else:
        assert fmt.ciphertext_length(plaintext) == ciphertext


@pytest.mark.parametrize("ciphertext", [-1, 0, 40, 55, (1 << 20) + 1, (1 << 20) + 16, (1 << 52) + 17])
def test_an_impossible_ciphertext_length_is_refused(ciphertext: int) -> None:
    with pytest.raises(ImpossibleLength):
        fmt.plaintext_length(ciphertext)


def test_a_negative_plaintext_length_is_refused() -> None:
    with pytest.raises(ImpossibleLength):
        fmt.ciphertext_length(-1)


@given(lengths(segments=5000))
def test_every_plaintext_byte_has_one_place(offset: int) -> None:
    number, inside = fmt.segment_of(offset)
    assert fmt.segment_start(number) + inside == offset
    assert 0 <= inside < fmt.segment_plaintext(number)


@given(lengths(segments=6))
def test_the_segments_tile_the_sealed_part_and_only_the_final_one_is_last(plaintext: int) -> None:
    size = fmt.ciphertext_length(plaintext)
    extents = [fmt.segment_extent(number, size) for number in range(fmt.segment_count(size))]
    ends = [fmt.HEADER] + [offset + length for offset, length, _ in extents]
    assert [offset for offset, _, _ in extents] == ends[:-1]
    assert ends[-1] == size
    assert [last for _, _, last in extents] == [False] * (len(extents) - 1) + [True]
    assert sum(length - fmt.TAG for _, length, _ in extents) == plaintext
    for outside in (-1, len(extents)):
        with pytest.raises(ImpossibleLength):
            fmt.segment_extent(outside, size)


@given(st.binary(min_size=7, max_size=7), st.integers(0, fmt.SEGMENTS_MAX - 1), st.booleans())
def test_a_nonce_tells_prefix_number_and_flag_apart(prefix: bytes, number: int, last: bool) -> None:
    nonce = fmt.nonce(prefix, number, last=last)
    assert (nonce[:7], int.from_bytes(nonce[7:11], "big"), nonce[11]) == (prefix, number, int(last))
    assert len(nonce) == 12


@pytest.mark.parametrize("number", [-1, fmt.SEGMENTS_MAX])
def test_a_segment_number_that_would_wrap_is_refused(number: int) -> None:
    with pytest.raises(ImpossibleLength):
        fmt.nonce(bytes(7), number, last=False)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=7, max_size=7))
def test_a_header_parses_as_encoded(salt: bytes, prefix: bytes) -> None:
    header = fmt.Header(salt, prefix)
    assert fmt.Header.parse(header.encode()) == header
    assert len(header.encode()) == fmt.HEADER


@pytest.mark.parametrize("raw", [b"", b"\x28" * 39, b"\x28" * 41, b"\x27" + bytes(39)])
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        fmt.Header.parse(raw)
