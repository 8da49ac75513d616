"""Inflating in bounded steps: every decoder is asked for at most a chunk, however much the input could become.

zipfile's own reader bounds deflate only: one 256 KiB read of bzip2 or LZMA may become gigabytes in its memory. So zip
members are inflated here, like gzip.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, Budget, Limits
from retention.archive.source import CHUNK

_DECODER_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
_LZMA_HEADER = 9  # version 2, properties' length 2, then lc/lp/pb 1 and dictionary size 4 (APPNOTE 5.8.8)


class Packed(Protocol):
    """A source of packed bytes."""

    def read(self, size: int, /) -> bytes: ...


class Decoder(Protocol):
    """The interface that bz2 and lzma share."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Deflate:
    """zlib with that interface: zlib hands unread input back, so it is kept here."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._tail + data, max_length)
        self._tail = self._zlib.unconsumed_tail
        # A full output may have left more inside zlib even when no input is left.
        self.needs_input = not self._tail and len(out) < max_length
        return out


def raw_deflate(packed: Packed, size: int, limits: Limits) -> Decoder:
    """Make a decoder of deflate in a zip."""
    return Deflate(-zlib.MAX_WBITS)


def bzip2(packed: Packed, size: int, limits: Limits) -> Decoder:
    """Make a decoder of bzip2."""
    return bz2.BZ2Decompressor()


def raw_lzma(packed: Packed, size: int, limits: Limits) -> Decoder:
    """Make a decoder of LZMA in a zip. Its dictionary size is the archive's claim: the file's size is always enough."""
    header = packed.read(_LZMA_HEADER)
    if len(header) < _LZMA_HEADER or header[2:4] != b"\x05\x00" or header[4] >= 9 * 5 * 5:
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    dictionary = min(int.from_bytes(header[5:9], "little"), size)
    if dictionary > limits.max_dictionary_bytes:
        raise ArchiveTooLarge(
            f"a file needs an LZMA dictionary above the limit of {limits.max_dictionary_bytes} bytes"
        )
    rest, lc = divmod(header[4], 9)
    pb, lp = divmod(rest, 5)
    if lc + lp > 4:
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    properties = {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties])


def step(decoder: Decoder, data: bytes, at_most: int) -> bytes:
    """Decode at most `at_most` bytes; ArchiveDamaged if that fails."""
    try:
        return decoder.decompress(data, at_most)
    except _DECODER_ERRORS as error:
        raise ArchiveDamaged("its packed bytes cannot be inflated") from error


def inflated(packed: Packed, decoder: Decoder, budget: Budget) -> Iterator[bytes]:
    """Inflate the packed bytes until the decoder or they end."""
    while not decoder.eof:
        data = packed.read(CHUNK) if decoder.needs_input else b""
        if decoder.needs_input and not data:
            return
        if out := step(decoder, data, CHUNK):
            budget.spend(len(out))
            yield out


def plain(packed: Packed) -> Iterator[bytes]:
    """Yield stored bytes, a chunk at a time."""
    while data := packed.read(CHUNK):
        yield data


def exactly(chunks: Iterator[bytes], size: int, *, ends_itself: bool = True) -> Iterator[bytes]:
    """Pass chunks on; raise as soon as they exceed the declared size, or if they end before it.

    LZMA in a zip need not mark its end (`ends_itself` False): then the declared size is the end.
    """
    left = size
    while left or ends_itself:
        chunk = next(chunks, b"")
        if not chunk:
            break
        chunk = chunk if ends_itself else chunk[:left]
        if len(chunk) > left:
            raise ArchiveDamaged(f"a file inflates past its declared size of {size} bytes")
        left -= len(chunk)
        yield chunk
    if left:
        raise ArchiveDamaged(f"a file is shorter than its declared size of {size} bytes")


def crc_checked(chunks: Iterator[bytes], expected: int) -> Iterator[bytes]:
    """Pass chunks on; ArchiveDamaged at the end if their CRC-32 differs."""
    crc = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if crc != expected:
        raise ArchiveDamaged("a file's bytes do not match its checksum (CRC-32)")


class GzipStream(io.RawIOBase):
    """An inflated gzip file, read forwards only; zlib checks each member's CRC and length (RFC 1952)."""

    def __init__(self, packed: Packed, limits: Limits, budget: Budget) -> None:
        super().__init__()
        self._packed, self._limits, self._budget = packed, limits, budget
        self._decoder = Deflate(zlib.MAX_WBITS | 16)
        self._feed = b""
        self._members = 1
        self._taken = self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True  # forwards: tarfile does so from header to header

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        skip = offset if whence == io.SEEK_CUR else offset - self._position
        if skip < 0 or whence == io.SEEK_END:
            raise io.UnsupportedOperation("a gzip stream can only be read forwards")
        while skip and (out := self._more(min(skip, CHUNK))):
            skip -= len(out)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        out = self._more(len(buffer)) if len(buffer) else b""
        buffer[: len(out)] = out
        return len(out)

    def _more(self, at_most: int) -> bytes:
        """Return the next bytes, or none at the end."""
        out = b""
        while not out:
            if self._decoder.eof and not self._next_member():
                return b""
            out = step(self._decoder, self._input() if self._decoder.needs_input else b"", at_most)
        self._position += len(out)
        self._budget.spend(len(out))
        if self._limits.bomb_like(self._position, self._taken):
            raise ArchiveTooLarge(
                f"it expands more than {self._limits.max_ratio}-fold, the limit for logs; it looks like a "
                "decompression bomb"
            )
        return out

    def _input(self) -> bytes:
        data, self._feed = self._feed or self._read(), b""
        if not data:
            raise ArchiveDamaged("the gzip ends before its content does")
        return data

    def _read(self) -> bytes:
        data = self._packed.read(CHUNK)
        self._taken += len(data)
        return data

    def _next_member(self) -> bool:
        """Start the next of several gzip files joined end to end, with nothing but zeros (tape blocks) between."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            data = self._read()
            if not data:
                return False
            rest = data.lstrip(b"\0")
        if not rest.startswith(b"\x1f"):
            raise ArchiveDamaged("bytes that are not gzip follow the end of the gzip")
        self._members += 1
        if self._members > self._limits.max_entries:
            raise ArchiveTooLarge(f"it is joined from more than {self._limits.max_entries} gzip files")
        self._decoder, self._feed = Deflate(zlib.MAX_WBITS | 16), rest
        return True


DecoderFor = Callable[[Packed, int, Limits], Decoder]
