"""Request bodies: into a block, into memory when they are small, or away.

What a sender summed is checked before the block counts. CRC64 is that of the service (reflected polynomial
0x9A6C9329AC4BC9B5, known as CRC-64/NVME), by a library that takes 20 microseconds a megabyte and does not hold the
interpreter meanwhile; so it is summed always, and told, and once more for each segment of a structured body. MD5 costs
more than all else together and is summed when asked.
"""

from __future__ import annotations

import base64
import hashlib

from awscrt.checksums import crc64nvme  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers

from intake_api.blob import structured
from intake_api.blob.blob_errors import BlobError
from intake_api.blob.headers import content_length, digest_header
from intake_api.http.pump import Body, Sink, pump


class Sums:
    """What the sender says that the body sums up to, and what it does."""

    def __init__(self, headers: Headers) -> None:
        self._md5 = digest_header(headers, "Content-MD5", 16, "InvalidMd5")
        self._crc64 = digest_header(headers, "x-ms-content-crc64", 8, "InvalidHeaderValue")
        if [self._md5 is not None, self._crc64 is not None, structured.BODY in headers].count(True) > 1:
            raise BlobError("InvalidInput", Reason="send one checksum, not two")
        self._hash = None if self._md5 is None else hashlib.md5(usedforsecurity=False)
        self._crc = 0

    def feed(self, piece: bytes) -> None:
        if self._hash is not None:
            self._hash.update(piece)
        else:
            self._crc = crc64nvme(piece, self._crc)

    def check(self) -> dict[str, str]:
        """The header that tells the sum; a sum that differs is an error."""
        if self._hash is not None:
            digest = self._hash.digest()
            if digest != self._md5:
                raise BlobError("Md5Mismatch", ServerCalculatedMd5=_base64(digest))
            return {"Content-MD5": _base64(digest)}
        crc = self._crc.to_bytes(8, "little")
        if self._crc64 not in (None, crc):
            raise BlobError("Crc64Mismatch", ServerCalculatedCrc64=_base64(crc))
        return {"x-ms-content-crc64": _base64(crc)}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


class _Summed:
    """Sums a piece up, then passes it on."""

    def __init__(self, sums: Sums, sink: Sink) -> None:
        self._sums, self._sink = sums, sink

    def feed(self, piece: bytes) -> None:
        self._sums.feed(piece)
        self._sink.feed(piece)


class _Gathered:
    def __init__(self) -> None:
        self.content = bytearray()

    def feed(self, piece: bytes) -> None:
        self.content += piece


class Announced:
    """A body as the request's headers announce it; `length` is that of its content, `most` at most."""

    def __init__(self, headers: Headers, most: int) -> None:
        content = structured.content_length(headers)
        self._sums = Sums(headers)
        self._structured = content is not None
        self._carried = content_length(headers, most + (structured.MOST_AROUND if self._structured else 0))
        self.length = self._carried if content is None else content
        if self._structured:
            structured.count_segments(self._carried, self.length)
        if self.length > most:
            raise BlobError("RequestBodyTooLarge", MaxLimit=str(most))

    def take(self, stream: Body, sink: Sink, stall_seconds: float) -> dict[str, str]:
        """Pass the content to the sink; the headers that tell its sum. An error unless all came, as summed."""
        if self._structured:
            message = structured.Message(self._carried, self.length, sink)
            self._pump(stream, message, stall_seconds)
            return {"x-ms-content-crc64": _base64(message.finish()), structured.BODY: structured.KIND}
        self._pump(stream, _Summed(self._sums, sink), stall_seconds)
        return self._sums.check()

    def _pump(self, stream: Body, sink: Sink, stall_seconds: float) -> None:
        result = pump(stream, self._carried, sink, stall_seconds)
        if result.stalled or result.cut:
            raise BlobError("OperationTimedOut", Reason=f"{result.taken} of {self._carried} bytes came")


def gather(stream: Body, headers: Headers, most: int, stall_seconds: float) -> bytes:
    """A small body, whole."""
    gathered = _Gathered()
    Announced(headers, most).take(stream, gathered, stall_seconds)
    return bytes(gathered.content)
