"""Decoding in bounded steps: every decoder is asked for at most a chunk, however much the input could become.

- zipfile's own reader bounds deflate only: one 256 KiB read of bzip2 or LZMA may become gigabytes in its memory. So
  every packed file is decoded here.
- A `Forward` is a packed run being decoded, forwards only. Where the decoder can be copied, so can the Forward: that is
  a seek point. Several share one packed source, so each goes to its own place before it reads.
- What a decoder needs of memory is leased before it decodes a byte.
- A decoder that is not Python's own runs in a child process (`retention.sandbox`), with the same interface.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from retention.archive.limits import KIB, Bounds, Lease
from retention.archive.model import ArchiveBusy, ArchiveDamaged, ArchiveTooLarge
from retention.archive.source import CHUNK, Window
from retention.sandbox.children import ChildFailed, Refused, SandboxBusy

PIECE = 64 * KIB
"""Packed bytes that a decoder is given at once."""
DEFLATE_STATE = 48 * KIB
"""What a copy of zlib's decoder holds: the window of 32 KiB, and its tables."""
_DECODER_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, Refused)


class Decoder(Protocol):
    """The interface that bz2, lzma and a task in a child share."""

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
    declared size, and says how much memory it needs. `magic`: several may stand joined end to end, each begun by one
    of these. `behind`: bytes that the decoder is given after the last ones, as it says no sooner what those become."""

    make: Callable[[Window, int | None, Bounds], tuple[Decoder, int]]
    what: str
    magic: tuple[bytes, ...] = ()
    behind: bytes = b""


@contextmanager
def decoding() -> Iterator[None]:
    """Turn any failure of a decoder into one clear error. Nothing but the decoder may be asked within."""
    try:
        yield
    except SandboxBusy as error:
        raise ArchiveBusy from error
    except ChildFailed as error:
        raise (ArchiveTooLarge if error.excess else ArchiveDamaged)(f"its decoder failed: {error}") from error
    except _DECODER_ERRORS as error:
        if "Memory usage limit" in str(error):  # a later block of an xz file
            raise ArchiveTooLarge(
                "a block in it needs a larger dictionary than its first block says"
            ) from error
        raise ArchiveDamaged("its packed bytes cannot be decoded") from error


class _Gone:
    """Stands where a decoder was that could not be followed by the next one."""

    eof, needs_input, unused_data = False, False, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        raise ValueError("there is no decoder")


class Onward(Protocol):
    """Something being decoded, forwards only. Where `held` is not 0 it can be copied; a copy holds so many bytes."""

    @property
    def held(self) -> int: ...

    def copy(self) -> Onward: ...

    def release(self) -> None: ...

    def more(self, at_most: int) -> bytes: ...


class Forward:
    """A packed run being decoded, forwards only."""

    def __init__(self, packed: Window, coding: Coding, size: int | None, bounds: Bounds) -> None:
        self._packed, self._coding, self._size, self._bounds = packed, coding, size, bounds
        self._joined = 1
        self._feed, self._behind = b"", coding.behind
        packed.seek(0)
        self._decoder: Decoder = self._begin()
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
                if not self._coding.magic:  # in a zip the declared size and the checksum judge
                    return b""
                raise ArchiveDamaged(f"the {self._coding.what} ends before its content does")
            with decoding():
                out = self._decoder.decompress(data, at_most)
            self._bounds.work.spend(len(out) + len(data) // 8)  # input may be made to give nothing
        return out

    def _input(self) -> bytes:
        data, self._feed = self._feed or self._read(), b""
        if not data:
            data, self._behind = self._behind, b""
        return data

    def _read(self) -> bytes:
        self._packed.seek(self._taken)
        data = self._packed.read(PIECE)
        self._taken += len(data)
        return data

    def _next(self) -> bool:
        """Begin the next of several joined end to end, with nothing but zeros (tape blocks) between."""
        if not self._coding.magic:
            return False
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            data = self._read()
            if not data:
                return False
            rest = data.lstrip(b"\0")
        if not any(magic.startswith(rest[: len(magic)]) for magic in self._coding.magic):
            raise ArchiveDamaged(
                f"bytes that are not {self._coding.what} follow the end of the {self._coding.what}"
            )
        self._joined += 1
        if self._joined > self._bounds.limits.max_entries:
            raise ArchiveTooLarge(f"it is joined from more than {self._bounds.limits.max_entries} parts")
        self._decoder, self._lease = _Gone(), None  # before the next one begins: two would need twice as much
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
