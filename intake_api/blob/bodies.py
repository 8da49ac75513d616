"""Request bodies: into a block, into memory if small, or discarded; and their checksums.

A sender's checksum is verified before the block counts. CRC64 is the Blob service's (reflected polynomial
0x9A6C9329AC4BC9B5, known as CRC-64/NVME), by a library that takes 20 microseconds a megabyte and does not hold the
interpreter meanwhile. So it is always calculated and returned, and once more for each segment of a structured body. MD5
costs more than all else together, and is calculated only if the sender gave one.
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
    """A body's checksum: the one that its sender declares, and the one calculated."""

    def __init__(self, headers: Headers) -> None:
        self._md5 = digest_header(headers, "Content-MD5", 16, "InvalidMd5")
        self._crc64 = digest_header(headers, "x-ms-content-crc64", 8, "InvalidHeaderValue")
        if [self._md5 is not None, self._crc64 is not None, structured.BODY in headers].count(True) > 1:
            raise BlobError("InvalidInput", Reason="the request has several checksums: send only one")
        self._hash = None if self._md5 is None else hashlib.md5(usedforsecurity=False)
        self._crc = 0

    def feed(self, piece: bytes) -> None:
        if self._hash is not None:
            self._hash.update(piece)
        else:
            self._crc = crc64nvme(piece, self._crc)

    def check(self) -> dict[str, str]:
        """Return the response header with the sum; raise BlobError if it differs from the declared one."""
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
    """A sink that adds each piece to the sum, then passes it on."""

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
    """A body as the request's headers declare it; `length` is that of its content, at most `most`."""

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
        """Pass the content to the sink, and return the headers with its sum. BlobError unless all came and matches."""
        if self._structured:
            message = structured.Message(self._carried, self.length, sink)
            self._pump(stream, message, stall_seconds)
            return {"x-ms-content-crc64": _base64(message.finish()), structured.BODY: structured.KIND}
        self._pump(stream, _Summed(self._sums, sink), stall_seconds)
        return self._sums.check()

    def _pump(self, stream: Body, sink: Sink, stall_seconds: float) -> None:
        result = pump(stream, self._carried, sink, stall_seconds)
        if result.stalled or result.cut:
            raise BlobError("OperationTimedOut", Reason=f"only {result.taken} of {self._carried} bytes came")


def gather(stream: Body, headers: Headers, most: int, stall_seconds: float) -> bytes:
    """Read a small body whole."""
    gathered = _Gathered()
    Announced(headers, most).take(stream, gathered, stall_seconds)
    return bytes(gathered.content)
