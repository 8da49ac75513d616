"""Decoding in bounded steps: every decoder is asked for at most a chunk, however much the input could become.

- zipfile's own reader bounds deflate only: one 256 KiB read of bzip2 or LZMA may become gigabytes in its memory. So
  every packed file is decoded here.
- A `Forward` is a packed run being decoded, forwards only. Where the decoder can be copied, so can the Forward: that is
  a seek point. Several share one packed source, so each goes to its own place before it reads.
- What a decoder needs of memory is leased before it decodes a byte.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from retention.archive.limits import KIB, MIB, Bounds, Lease
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge
from retention.archive.source import CHUNK, Window

PIECE = 64 * KIB
"""Packed bytes that a decoder is given at once."""
DEFLATE_STATE = 48 * KIB
"""What a copy of zlib's decoder holds: the window of 32 KiB, and its tables."""
_BZIP2_STATE = 4 * MIB
_XZ_STREAM_HEADER, _XZ_HEADERS, _XZ_LZMA2 = 12, 12 + 1024, 0x21
_LZMA_HEADER = 9  # version 2, properties' length 2, then lc/lp/pb 1 and dictionary size 4 (APPNOTE 5.8.8)
_DECODER_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


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
    """zlib with that interface: zlib hands unread input back, so it is kept here. It can be copied."""

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

    @property
    def held(self) -> int:
        """What a copy holds, in bytes."""
        return DEFLATE_STATE + len(self._tail)

    def copy(self) -> Deflate:
        """Return a decoder that goes on from the same place."""
        other = Deflate.__new__(Deflate)
        other._zlib, other._tail, other.needs_input = self._zlib.copy(), self._tail, self.needs_input
        return other

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._tail + data, max_length)
        self._tail = self._zlib.unconsumed_tail
        # A full output may have left more inside zlib even when no input is left.
        self.needs_input = not self._tail and len(out) < max_length
        return out


@dataclass(frozen=True, slots=True)
class Coding:
    """A way of packing. `make` makes a decoder from the packed bytes' beginning (where it may read a header) and the
    declared size, and says how much memory it needs. `magic`: several may stand joined end to end, each begun by it."""

    make: Callable[[Window, int | None, Bounds], tuple[Decoder, int]]
    what: str
    magic: bytes | None = None


def raw_deflate(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of deflate in a zip."""
    return Deflate(-zlib.MAX_WBITS), 0


def gzip(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of gzip; zlib checks each member's CRC and length (RFC 1952)."""
    return Deflate(zlib.MAX_WBITS | 16), 0


def bzip2(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of bzip2."""
    return bz2.BZ2Decompressor(), _BZIP2_STATE


def xz(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of xz, which checks each block. Its memory is bounded by what its first block says it needs."""
    start = packed.tell()
    needed = _xz_dictionary(packed.read(_XZ_HEADERS)) + MIB
    packed.seek(start)
    if needed > bounds.limits.max_dictionary + MIB:
        raise ArchiveTooLarge(
            f"a file needs a dictionary of {needed - MIB} bytes; the limit is {bounds.limits.max_dictionary}"
        )
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=needed), needed


def _xz_dictionary(head: bytes) -> int:
    """Return the dictionary of the first block, in bytes (xz file format 1.2.1, sections 3.1 and 5.3.1)."""
    try:
        if not head[_XZ_STREAM_HEADER]:  # the index: there are no blocks
            return 4096
        flags, place = head[_XZ_STREAM_HEADER + 1], _XZ_STREAM_HEADER + 2
        for given in (flags & 0x40, flags & 0x80):  # packed and decoded size
            _, place = _xz_number(head, place) if given else (0, place)
        for _ in range((flags & 3) + 1):
            kind, place = _xz_number(head, place)
            length, place = _xz_number(head, place)
            if kind == _XZ_LZMA2:
                bits = head[place] & 0x3F
                return 0xFFFF_FFFF if bits >= 40 else (2 | bits & 1) << (bits // 2 + 11)
            place += length
    except IndexError:
        pass
    raise ArchiveDamaged("an xz file's header makes no sense")


def _xz_number(head: bytes, place: int) -> tuple[int, int]:
    """Return the number at `place`, seven bits a byte, and the place behind it."""
    number = shift = 0
    while head[place] & 0x80:
        number |= (head[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return number | head[place] << shift, place + 1


def raw_lzma(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZMA in a zip. Its dictionary size is the archive's claim: the file's size is always enough."""
    header = packed.read(_LZMA_HEADER)
    if len(header) < _LZMA_HEADER or header[2:4] != b"\x05\x00":
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    return lzma_decoder(header[4:9], size, bounds)


def lzma_decoder(properties: bytes, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZMA from its five bytes of properties."""
    dictionary = bounded_dictionary(int.from_bytes(properties[1:5], "little"), size, bounds)
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    if properties[0] >= 9 * 5 * 5 or lc + lp > 4:
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    chosen = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen]), dictionary


def bounded_dictionary(claimed: int, size: int | None, bounds: Bounds) -> int:
    """Return the dictionary that is needed. ArchiveTooLarge if that is above the limit."""
    dictionary = max(claimed if size is None else min(claimed, size), 4096)
    if dictionary > bounds.limits.max_dictionary:
        raise ArchiveTooLarge(
            f"a file needs a dictionary of {dictionary} bytes; the limit is {bounds.limits.max_dictionary}"
        )
    return dictionary


def step(decoder: Decoder, data: bytes, at_most: int) -> bytes:
    """Decode at most `at_most` bytes; ArchiveDamaged if that fails."""
    try:
        return decoder.decompress(data, at_most)
    except _DECODER_ERRORS as error:
        if "Memory usage limit" in str(error):  # a later block of an xz file
            raise ArchiveTooLarge(
                "a block in it needs a larger dictionary than its first block says"
            ) from error
        raise ArchiveDamaged("its packed bytes cannot be decoded") from error


class Forward:
    """A packed run being decoded, forwards only."""

    def __init__(self, packed: Window, coding: Coding, size: int | None, bounds: Bounds) -> None:
        self._packed, self._coding, self._size, self._bounds = packed, coding, size, bounds
        self._joined = 1
        self._feed = b""
        packed.seek(0)
        self._decoder = self._begin()
        self._taken = packed.tell()

    def _begin(self) -> Decoder:
        decoder, held = self._coding.make(self._packed, self._size, self._bounds)
        self._lease: Lease | None = self._bounds.memory.need(held, "its decoder") if held else None
        return decoder

    def release(self) -> None:
        """Let go of a decoder whose memory is leased: nothing more will be read. Repeating it does nothing."""
        if self._lease is not None:
            del self._decoder
            self._lease.release()
            self._lease = None

    @property
    def held(self) -> int:
        """What a copy holds, in bytes; 0 where there can be none."""
        return self._decoder.held + len(self._feed) if isinstance(self._decoder, Deflate) else 0

    def copy(self) -> Forward:
        """Return another that goes on from the same place. Only where `held` is not 0."""
        if not isinstance(self._decoder, Deflate):
            raise TypeError(f"a decoder of {self._coding.what} cannot be copied")
        other = Forward.__new__(Forward)
        other.__dict__.update(self.__dict__)
        other._decoder = self._decoder.copy()
        return other

    def more(self, at_most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end. ArchiveDamaged if it ends too early."""
        out = b""
        while not out:
            if self._decoder.eof and not self._next():
                return b""
            needs = self._decoder.needs_input
            data = self._input() if needs else b""
            if needs and not data:
                if self._coding.magic is None:  # in a zip the declared size and the checksum judge
                    return b""
                raise ArchiveDamaged(f"the {self._coding.what} ends before its content does")
            out = step(self._decoder, data, at_most)
            self._bounds.work.spend(len(out) + len(data) // 8)  # input may be made to give nothing
        return out

    def _input(self) -> bytes:
        data, self._feed = self._feed or self._read(), b""
        return data

    def _read(self) -> bytes:
        self._packed.seek(self._taken)
        data = self._packed.read(PIECE)
        self._taken += len(data)
        return data

    def _next(self) -> bool:
        """Begin the next of several joined end to end, with nothing but zeros (tape blocks) between."""
        if self._coding.magic is None:
            return False
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            data = self._read()
            if not data:
                return False
            rest = data.lstrip(b"\0")
        if not self._coding.magic.startswith(rest[: len(self._coding.magic)]):
            raise ArchiveDamaged(
                f"bytes that are not {self._coding.what} follow the end of the {self._coding.what}"
            )
        self._joined += 1
        if self._joined > self._bounds.limits.max_entries:
            raise ArchiveTooLarge(f"it is joined from more than {self._bounds.limits.max_entries} parts")
        self._lease = None
        self._packed.seek(self._taken - len(rest))
        self._decoder = self._begin()
        self._feed = rest
        return True


def chunks_of(begin: Callable[[], Forward]) -> Iterator[bytes]:
    """Yield all of it, a chunk at a time. The decoder is made for the first."""
    forward = begin()
    while out := forward.more(CHUNK):
        yield out


def plain(packed: Window) -> Iterator[bytes]:
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
            raise ArchiveDamaged(f"a file decodes past its declared size of {size} bytes")
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


GZIP_MAGIC = b"\x1f\x8b"
GZIP = Coding(gzip, "gzip", GZIP_MAGIC)
RAW_DEFLATE = Coding(raw_deflate, "deflate")
BZIP2 = Coding(bzip2, "bzip2")
BZIP2_FILE = Coding(bzip2, "bzip2", b"BZh")
XZ = Coding(xz, "xz", b"\xfd7zXZ\x00")
RAW_LZMA = Coding(raw_lzma, "LZMA")
