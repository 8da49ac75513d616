"""Structured bodies (XSM/1.0; properties=crc64): segments of content, each with its CRC64. Pure.

The format is Azure's (learn.microsoft.com/rest/api/storageservices/structured-body-format), integers little-endian:

    header   version u8 = 1 | length of the message u64 | flags u16 = 1 (crc64) | number of segments u16
    segment  number u16, from 1 on | length of its content u64 | content | CRC64 of the content
    trailer  CRC64 of all content

- The request's headers must add up before a byte of the body moves.
- Content is passed on as it comes, so a wrong sum shows only after its segment has gone by: do not keep the content
  before `finish`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from awscrt.checksums import crc64nvme  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers

from intake_api.blob.blob_errors import BlobError
from intake_api.blob.headers import whole_number
from intake_api.http.pump import Sink

BODY, CONTENT_LENGTH = "x-ms-structured-body", "x-ms-structured-content-length"
KIND = "XSM/1.0; properties=crc64"
VERSION, CRC64 = 1, 1
_HEADER, _SEGMENT, _SUM = struct.Struct("<BQHH"), struct.Struct("<HQ"), struct.Struct("<Q")
AROUND = _HEADER.size + _SUM.size
"""Bytes of a message around its segments."""
AROUND_SEGMENT = _SEGMENT.size + _SUM.size
MAX_SEGMENTS = 0xFFFF
MOST_AROUND = AROUND + MAX_SEGMENTS * AROUND_SEGMENT


def content_length(headers: Headers) -> int | None:
    """Return the content's declared length; None when the body is not structured."""
    kind = headers.get(BODY)
    if kind is None:
        return None
    if "".join(kind.split()).lower() != "".join(KIND.split()).lower():
        raise BlobError("InvalidHeaderValue", HeaderName=BODY, Reason=f"only {KIND} is supported")
    if CONTENT_LENGTH not in headers:
        raise BlobError("MissingRequiredHeader", HeaderName=CONTENT_LENGTH)
    return whole_number(headers, CONTENT_LENGTH)


def count_segments(length: int, content: int) -> int:
    """Return the number of segments of a message of `length` bytes that carries `content` bytes."""
    segments, rest = divmod(length - content - AROUND, AROUND_SEGMENT)
    if rest or not 1 <= segments <= MAX_SEGMENTS:
        reason = f"{content} bytes of content do not fit a body of {length} bytes"
        raise BlobError("InvalidHeaderValue", HeaderName=CONTENT_LENGTH, Reason=reason)
    return segments


class Message:
    """A message of `length` bytes that carries `content` bytes: takes pieces of any size, and passes the content on."""

    def __init__(self, length: int, content: int, sink: Sink) -> None:
        self._length, self._segments = length, count_segments(length, content)
        self._sink = sink
        self._number = 0
        self._to_come, self._of_segment = content, 0  # bytes of content, in all and of this segment
        self._sum, self._segment_sum = 0, 0
        self._frame = bytearray()
        self._next: Callable[[bytes], None] | None
        self._expect(self._header, _HEADER)

    def feed(self, piece: bytes) -> None:
        """Take a piece. An empty one is passed on: it asks the sink whether to continue."""
        if not piece:
            self._sink.feed(piece)
        left = memoryview(piece)
        while left:
            left = left[self._take_content(left) if self._of_segment else self._take_frame(left) :]

    def finish(self) -> bytes:
        """Return the CRC64 of all content; BlobError unless all of it has come as declared."""
        if self._next is not None:
            raise _invalid("the message ended early")
        return _SUM.pack(self._sum)

    def _take_content(self, left: memoryview) -> int:
        piece = bytes(left[: self._of_segment])
        self._segment_sum = crc64nvme(piece, self._segment_sum)
        self._sum = crc64nvme(piece, self._sum)
        self._of_segment -= len(piece)
        self._to_come -= len(piece)
        self._sink.feed(piece)
        return len(piece)

    def _take_frame(self, left: memoryview) -> int:
        if self._next is None:
            raise _invalid("the message continues after its end")
        piece = left[: self._wanted - len(self._frame)]
        self._frame += piece
        if len(self._frame) == self._wanted:
            frame = bytes(self._frame)
            self._frame.clear()
            self._next(frame)
        return len(piece)

    def _expect(self, then: Callable[[bytes], None] | None, form: struct.Struct = _SUM) -> None:
        self._next, self._wanted = then, form.size

    def _header(self, frame: bytes) -> None:
        if _HEADER.unpack(frame) != (VERSION, self._length, CRC64, self._segments):
            raise _invalid("the message's header does not match the request's headers")
        self._expect(self._begin_segment, _SEGMENT)

    def _begin_segment(self, frame: bytes) -> None:
        number, length = _SEGMENT.unpack(frame)
        last = number == self._segments
        if number != self._number + 1 or length > self._to_come or (last and length != self._to_come):
            raise _invalid(f"segment {self._number + 1} has another number or length than expected")
        self._number, self._of_segment, self._segment_sum = number, length, 0
        self._expect(self._end_segment)

    def _end_segment(self, frame: bytes) -> None:
        _check(frame, self._segment_sum)
        if self._number == self._segments:
            self._expect(self._trailer)
        else:
            self._expect(self._begin_segment, _SEGMENT)

    def _trailer(self, frame: bytes) -> None:
        _check(frame, self._sum)
        self._expect(None)


def _check(declared: bytes, calculated: int) -> None:
    if _SUM.unpack(declared) != (calculated,):
        raise BlobError("Crc64Mismatch")


def _invalid(why: str) -> BlobError:
    return BlobError("InvalidStructuredMessage", Reason=why)
