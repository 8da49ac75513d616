"""Request bodies: into a block, into memory when they are small, or away.

What a sender summed is checked before the block counts. CRC64 is that of the service (reflected polynomial
0x9A6C9329AC4BC9B5, known as CRC-64/NVME), by a library that takes 20 microseconds a megabyte and does not hold the
interpreter meanwhile; so it is summed always, and told. MD5 costs more than all else together and is summed when asked.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from awscrt.checksums import crc64nvme  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers

from intake_api.blob.errors import BlobError
from intake_api.blob.headers import digest_header
from intake_api.pump import Body, pump
from retention.errors import CustodyError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MOST_DISCARDED = 64 << 20


class Sink(Protocol):
    """Takes a body's pieces."""

    def feed(self, piece: bytes) -> None: ...


class Sums:
    """What the sender says that the body sums up to, and what it does."""

    def __init__(self, headers: Headers) -> None:
        self._md5 = digest_header(headers, "Content-MD5", 16, "InvalidMd5")
        self._crc64 = digest_header(headers, "x-ms-content-crc64", 8, "InvalidHeaderValue")
        if self._md5 is not None and self._crc64 is not None:
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


class _Dropped:
    def feed(self, piece: bytes) -> None:
        pass


def take(stream: Body, length: int, sums: Sums, sink: Sink, stall_seconds: float) -> dict[str, str]:
    """Pass `length` bytes to the sink; the header that tells their sum. An error unless all came, as summed."""
    result = pump(stream, length, _Summed(sums, sink), stall_seconds)
    if result.stalled or result.cut:
        raise BlobError("OperationTimedOut", Reason=f"{result.taken} of {length} bytes came")
    return sums.check()


def gather(stream: Body, length: int, headers: Headers, stall_seconds: float) -> bytes:
    """A small body, whole."""
    gathered = _Gathered()
    take(stream, length, Sums(headers), gathered, stall_seconds)
    return bytes(gathered.content)


def discard(environ: WSGIEnvironment, most: int, stall_seconds: float) -> None:
    """Read a body that nobody wants, up to `most` bytes: a client that is still sending would not see the answer.

    One that asked first (Expect: 100-continue) sends nothing.
    """
    length = environ.get("CONTENT_LENGTH", "")
    if length.isascii() and length.isdigit() and 0 < int(length) <= most and "HTTP_EXPECT" not in environ:
        with suppress(CustodyError):  # too many wait: then it goes unheard
            pump(environ["wsgi.input"], int(length), _Dropped(), stall_seconds)


def crc64_of(content: bytes) -> str:
    """As the service writes it."""
    return _base64(crc64nvme(content).to_bytes(8, "little"))
