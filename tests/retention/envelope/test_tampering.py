"""Whatever is done to stored bytes is found before a byte of plaintext leaves, and the error names the place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.envelope import format as fmt
from retention.envelope.data_keys import DataKey
from retention.envelope.format import SealBroken
from retention.envelope.part_stream import PartOpener
from tests.fakes.sealing import B, Sealed, opener, patterned, seal

KEY = DataKey(b"k" * 32)
SMALL = seal(KEY, b"a few secret bytes")
PLAIN = patterned(fmt.segment_start(3) + 1000)
LARGE = seal(KEY, PLAIN)
MIB = fmt.SEGMENT


def what_opens(sealed: Sealed, stored: bytes, plain: bytes) -> int:
    """Opens every segment of altered bytes; how many were refused. What opens must be what was sealed."""
    places: list[int | None] = []
    for number in range(fmt.segment_count(fmt.ciphertext_length(sealed.length))):
        start = fmt.segment_start(number)
        try:
            opened = opener(KEY, sealed, stored).open_segment(number)
        except SealBroken as error:
            places.append(error.segment)
            continue
        assert opened == plain[start : start + fmt.segment_plaintext(number)]
    return len(places)


def refused_by_digest(sealed: Sealed, stored: bytes) -> bool:
    """Whether the digest check or, after it, the opening of any segment refuses."""
    try:
        reading = opener(KEY, sealed, stored)
        reading.verify_digest(sealed.digest)
        for number in range(fmt.segment_count(fmt.ciphertext_length(sealed.length))):
            reading.open_segment(number)
    except SealBroken:
        return True
    return False


@pytest.mark.parametrize("place", range(len(SMALL.sealed)))
def test_every_flipped_byte_of_a_small_part_is_found(place: int) -> None:
    stored = bytearray(SMALL.sealed)
    stored[place] ^= 0x80
    assert what_opens(SMALL, bytes(stored), b"a few secret bytes") == 1
    assert refused_by_digest(SMALL, bytes(stored))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(LARGE.sealed) - 1) | st.integers(0, 60), st.integers(0, 7))
def test_any_flipped_bit_is_found_in_its_segment(place: int, bit: int) -> None:
    stored = bytearray(LARGE.sealed)
    stored[place] ^= 1 << bit
    # A bit of the header spoils every segment, any other its own alone.
    assert what_opens(LARGE, bytes(stored), PLAIN) == (4 if place < fmt.HEADER else 1)
    with pytest.raises(SealBroken) as caught:
        list(opener(KEY, LARGE, bytes(stored)).read(0, LARGE.length))
    assert caught.value.segment == place // MIB


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(LARGE.sealed) - 1), st.integers(1, 70) | st.sampled_from([MIB - 1, MIB, MIB + 1]))
def test_dropped_bytes_are_found(place: int, count: int) -> None:
    stored = LARGE.sealed[:place] + LARGE.sealed[place + count :]
    assert what_opens(LARGE, stored, PLAIN) >= 1
    assert refused_by_digest(LARGE, stored)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(LARGE.sealed)), st.binary(min_size=1, max_size=40))
def test_added_bytes_are_found(place: int, added: bytes) -> None:
    stored = LARGE.sealed[:place] + added + LARGE.sealed[place:]
    assert what_opens(LARGE, stored, PLAIN) >= 1
    assert refused_by_digest(LARGE, stored)


@pytest.mark.parametrize("length", [0, 39, 40, 56, MIB, 2 * MIB, 3 * MIB, len(LARGE.sealed) - 1])
def test_a_truncated_part_does_not_open_to_its_end(length: int) -> None:
    assert what_opens(LARGE, LARGE.sealed[:length], PLAIN) >= 1
    assert refused_by_digest(LARGE, LARGE.sealed[:length])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_even_a_wrong_length_in_the_records_does_not_make_a_cut_look_complete(count: int) -> None:
    """Cut at a segment boundary, and the expected length shortened to match: the last-segment flag still tells."""
    cut = LARGE.sealed[: count * MIB]
    reading = PartOpener(
        KEY, B, LARGE.part_id, len(cut), lambda offset, length: cut[offset : offset + length]
    )
    with pytest.raises(SealBroken) as caught:
        list(reading.read(0, reading.length))
    assert caught.value.segment == count - 1


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2)])
def test_swapped_segments_are_found(one: int, other: int) -> None:
    segments = [LARGE.sealed[start : start + MIB] for start in range(0, len(LARGE.sealed), MIB)]
    segments[one], segments[other] = segments[other], segments[one]
    assert what_opens(LARGE, b"".join(segments), PLAIN) >= 2


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_doubled_segment_is_found(number: int) -> None:
    segments = [LARGE.sealed[start : start + MIB] for start in range(0, len(LARGE.sealed), MIB)]
    segments[number + 1] = segments[number]
    assert what_opens(LARGE, b"".join(segments), PLAIN) >= 1


def test_a_segment_of_another_sealing_of_the_same_part_is_found() -> None:
    again = seal(KEY, PLAIN)
    stored = LARGE.sealed[:MIB] + again.sealed[MIB : 2 * MIB] + LARGE.sealed[2 * MIB :]
    assert what_opens(LARGE, stored, PLAIN) == 1


def test_a_segment_swapped_after_the_digest_was_checked_is_found() -> None:
    """A store that shows one sealing to the check and another to the reader."""
    other = seal(KEY, patterned(len(PLAIN), "other"))
    current = [LARGE.sealed]

    def read_at(offset: int, length: int) -> bytes:
        return current[0][offset : offset + length]

    reading = PartOpener(KEY, B, LARGE.part_id, len(LARGE.sealed), read_at)
    reading.verify_digest(LARGE.digest)
    current[0] = other.sealed
    with pytest.raises(SealBroken, match="manifest"):
        reading.open_segment(2)


def test_nothing_of_a_broken_segment_is_yielded_and_all_before_it_is_right() -> None:
    stored = bytearray(LARGE.sealed)
    stored[3 * MIB - 1] ^= 1
    seen = bytearray()

    def drain() -> None:
        for piece in opener(KEY, LARGE, bytes(stored)).read(10, LARGE.length - 10):
            seen.extend(piece)

    with pytest.raises(SealBroken):
        drain()
    assert bytes(seen) == PLAIN[10 : fmt.segment_start(2)]
