"""Structured bodies: as Azure's own library writes them, and refused when a byte of them is another."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from itertools import pairwise

import pytest
from azure.storage.blob._shared.streams import (  # the unmodified client's own writer
    StructuredMessageEncodeStream,
    StructuredMessageProperties,
)
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from intake_api.blob.blob_errors import BlobError
from intake_api.blob.crc64 import crc64_of
from intake_api.blob.structured import (
    AROUND,
    AROUND_SEGMENT,
    BODY,
    CONTENT_LENGTH,
    KIND,
    MAX_SEGMENTS,
    Message,
    content_length,
    count_segments,
)

contents = st.binary(min_size=1, max_size=300)
sizes = st.integers(1, 200)


class Taken:
    def __init__(self) -> None:
        self.content, self.asked = b"", 0

    def feed(self, piece: bytes) -> None:
        self.content += piece
        self.asked += not piece


def written(content: bytes, segment: int) -> bytes:
    whole = StructuredMessageEncodeStream(
        io.BytesIO(content), len(content), StructuredMessageProperties.CRC64, segment_size=segment
    )
    return whole.read()


def read(message: bytes, content: int, cuts: Iterable[int] = ()) -> bytes:
    """The content of a message that comes in pieces."""
    taken = Taken()
    reader = Message(len(message), content, taken)
    edges = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    for begin, end in pairwise(edges):
        reader.feed(message[begin:end])
    assert reader.finish() == sum_of(taken.content)
    return taken.content


def refused(message: bytes, content: int) -> str:
    with pytest.raises(BlobError) as caught:
        read(message, content)
    return caught.value.code


@given(contents, sizes, st.sets(st.integers(1, 900), max_size=30))
def test_what_azures_library_writes_is_read_however_it_is_cut(
    content: bytes, segment: int, cuts: set[int]
) -> None:
    assert read(written(content, segment), len(content), cuts) == content


@given(contents, sizes, st.data())
def test_no_byte_of_it_can_be_another(content: bytes, segment: int, data: st.DataObject) -> None:
    message = bytearray(written(content, segment))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    assert refused(bytes(message), len(content)) in {"Crc64Mismatch", "InvalidStructuredMessage"}


def test_a_changed_byte_of_content_or_of_a_sum_is_the_services_mismatch() -> None:
    message = written(b"0123456789", 4)
    for at in (13 + 10, 13 + 10 + 4, len(message) - 1):  # content, its segment's sum, the sum of all
        changed = bytearray(message)
        changed[at] ^= 1
        assert refused(bytes(changed), 10) == "Crc64Mismatch"


def test_a_sum_of_all_content_is_checked_though_each_segments_is_right() -> None:
    one, other = written(b"aaaabbbb", 4), written(b"bbbbaaaa", 4)
    assert refused(one[:-8] + other[-8:], 8) == "Crc64Mismatch"


@given(contents, sizes, st.data())
def test_a_message_that_ends_early_is_not_finished(content: bytes, segment: int, data: st.DataObject) -> None:
    message = written(content, segment)
    reader = Message(len(message), len(content), Taken())
    reader.feed(message[: data.draw(st.integers(0, len(message) - 1))])
    with pytest.raises(BlobError):
        reader.finish()


def test_a_message_that_goes_on_is_refused() -> None:
    message = written(b"abcd", 4)
    reader = Message(len(message), 4, Taken())
    reader.feed(message)
    with pytest.raises(BlobError):
        reader.feed(b"x")


def test_segments_of_any_length_are_taken_while_they_add_up() -> None:
    """The library writes equal ones; the format asks for no more than that they are the content."""

    def message(*pieces: bytes) -> bytes:
        segments = (
            number.to_bytes(2, "little") + len(piece).to_bytes(8, "little") + piece + sum_of(piece)
            for number, piece in enumerate(pieces, 1)
        )
        content = b"".join(pieces)
        length = AROUND + AROUND_SEGMENT * len(pieces) + len(content)
        head = b"\x01" + length.to_bytes(8, "little") + b"\x01\x00" + len(pieces).to_bytes(2, "little")
        return head + b"".join(segments) + sum_of(content)

    assert read(message(b"a", b"", b"bcd"), 4) == b"abcd"
    assert refused(message(b"a", b"bcd") + message(b"x"), 4) == "InvalidHeaderValue"
    swapped = bytearray(message(b"a", b"b"))
    swapped[13], swapped[13 + AROUND_SEGMENT + 1] = 2, 1
    assert refused(bytes(swapped), 2) == "InvalidStructuredMessage"


def sum_of(content: bytes) -> bytes:
    return base64.b64decode(crc64_of(content))


@given(st.integers(1, 10_000), st.integers(0, 20_000))
def test_lengths_that_cannot_be_are_refused_before_a_byte_moves(content: int, length: int) -> None:
    around = length - content - AROUND
    if around > 0 and around % AROUND_SEGMENT == 0:
        assert count_segments(length, content) * AROUND_SEGMENT == around
        return
    with pytest.raises(BlobError) as caught:
        count_segments(length, content)
    assert caught.value.code == "InvalidHeaderValue"


def test_there_are_at_most_as_many_segments_as_the_format_can_count() -> None:
    most = AROUND + AROUND_SEGMENT * MAX_SEGMENTS
    assert count_segments(most + 5, 5) == MAX_SEGMENTS
    with pytest.raises(BlobError):
        count_segments(most + AROUND_SEGMENT + 5, 5)


def test_an_empty_piece_asks_the_sink_whether_to_go_on() -> None:
    taken = Taken()
    reader = Message(AROUND + AROUND_SEGMENT + 1, 1, taken)
    reader.feed(b"")
    assert (taken.asked, taken.content) == (1, b"")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({BODY: KIND, CONTENT_LENGTH: "7"}, 7),
        ({BODY: "xsm/1.0;properties=CRC64", CONTENT_LENGTH: "7"}, 7),
        ({BODY: KIND}, "MissingRequiredHeader"),
        ({BODY: KIND, CONTENT_LENGTH: "-7"}, "InvalidHeaderValue"),
        ({BODY: "XSM/2.0; properties=crc64", CONTENT_LENGTH: "7"}, "InvalidHeaderValue"),
        ({BODY: "XSM/1.0", CONTENT_LENGTH: "7"}, "InvalidHeaderValue"),
    ],
)
def test_the_headers_say_what_it_carries(headers: dict[str, str], expected: int | str | None) -> None:
    if not isinstance(expected, str):
        assert content_length(Headers(headers)) == expected
        return
    with pytest.raises(BlobError) as caught:
        content_length(Headers(headers))
    assert caught.value.code == expected
