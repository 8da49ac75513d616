"""Cab: its files, and their bytes by decoding the run of files that they are packed in (MS-CAB).

1. The list of files stands at the beginning and is read as it is asked for. A "folder" of a cab is a run of files that
   are packed together in blocks of 32 KiB; one folder's decoder is kept at a time.
2. MSZIP is deflate whose window goes on from block to block: what a block may look back to is kept, so there are seek
   points. LZX is decoded in a child, from the beginning. Quantum is listed and not read.
3. Each block's checksum is checked where there is one.
4. A file that lies in several cabs of a set is listed, with the reason why it cannot be read.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from retention.archive.codings import lzx_frames
from retention.archive.inflate import Decoder, decoding, exactly, plain
from retention.archive.limits import KIB, Bounds, Lease
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, FileKind, Reason
from retention.archive.names import decoded
from retention.archive.seekable import Unpacked
from retention.archive.source import READ_AHEAD, Member, Source, Window, dos_time, whole

MAGIC = b"MSCF"
HEADER = struct.Struct("<4s5I2B5H")
_FOLDER, _FILE, _BLOCK, _RESERVED = (
    struct.Struct("<I2H"),
    struct.Struct("<2I4H"),
    struct.Struct("<I2H"),
    struct.Struct("<H2B"),
)
_BEFORE, _AFTER, _RESERVES = 1, 2, 4
_NOT_PACKED, _MSZIP, _QUANTUM, _LZX = range(4)
_ELSEWHERE = 0xFFFD  # and above: the file goes on from, or in, another cab
_NAME_IS_UTF8 = 0x80
_LONGEST_NAME = 256
_WINDOW = 32 * KIB
_SIGNATURE = b"CK"


@dataclass(frozen=True, slots=True)
class _Folder:
    start: int
    blocks: int
    packing: int
    reserved: int  # bytes of each block that are somebody else's

    @property
    def reason(self) -> Reason | None:
        known = self.packing & 0xF in (_NOT_PACKED, _MSZIP, _LZX)
        return None if known else Reason.METHOD


class _Blocks:
    """A folder being decoded, forwards only, block by block."""

    def __init__(self, source: Source, folder: _Folder, bounds: Bounds) -> None:
        self._source, self._folder, self._bounds = source, folder, bounds
        self._at, self._left = folder.start, folder.blocks
        self._before, self._rest = b"", b""
        self._lzx: Decoder | None = None
        self._lease: Lease | None = None
        if folder.packing & 0xF == _LZX:
            self._lzx, held = lzx_frames(folder.packing >> 8 & 0x1F, bounds)
            self._lease = bounds.memory.need(held, "its decoder")

    @property
    def held(self) -> int:
        """What a copy holds, in bytes; 0 where there can be none."""
        return 2 * _WINDOW if self._lzx is None else 0

    def copy(self) -> _Blocks:
        """Return another that goes on from the same place. Only where `held` is not 0."""
        other = _Blocks.__new__(_Blocks)
        other.__dict__.update(self.__dict__)
        return other

    def release(self) -> None:
        """Let go of the decoder: nothing more will be read. Repeating it does nothing."""
        self._lzx, self._left, self._rest = None, 0, b""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def more(self, at_most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end. ArchiveDamaged if a block does not decode."""
        while not self._rest and self._left:
            self._rest = self._next()
        out, self._rest = self._rest[:at_most], self._rest[at_most:]
        return out

    def _next(self) -> bytes:
        window = whole(self._source)
        window.seek(self._at)
        raw = io.BufferedReader(window, READ_AHEAD)
        head = raw.read(_BLOCK.size + self._folder.reserved)
        if len(head) < _BLOCK.size + self._folder.reserved:
            raise ArchiveDamaged("a block of a cab is cut off")
        checksum, packed, size = _BLOCK.unpack_from(head)
        data = raw.read(packed)
        if len(data) < packed or size > _WINDOW:
            raise ArchiveDamaged("a block of a cab is cut off")
        if checksum and checksum != _checksum(data, _checksum(head[4:], 0)):
            raise ArchiveDamaged("a block of a cab does not match its checksum")
        self._at += len(head) + packed
        self._left -= 1
        out = self._decoded(data, size)
        if len(out) != size:
            raise ArchiveDamaged("a block of a cab is not of the size that it declares")
        self._bounds.work.spend(len(out) + packed // 8)
        return out

    def _decoded(self, data: bytes, size: int) -> bytes:
        if self._folder.packing & 0xF == _NOT_PACKED:
            return data
        with decoding():
            if self._lzx is not None:
                return self._lzx.decompress(size.to_bytes(2, "little") + data, size)
            if not data.startswith(_SIGNATURE):
                raise zlib.error
            decoder = zlib.decompressobj(-zlib.MAX_WBITS, self._before)
            out = decoder.decompress(data[len(_SIGNATURE) :], size + 1)
        self._before = (self._before + out)[-_WINDOW:]
        return out


def _checksum(data: bytes, seed: int) -> int:
    """Return MS-CAB's checksum: all 32-bit words, combined by XOR; of the last bytes the first is the highest."""
    whole_words, odd = len(data) // 4 * 4, len(data) % 4
    folded = int.from_bytes(data[:whole_words], "little")
    width = 32
    while width < 8 * whole_words:
        width *= 2
    while width > 32:
        width //= 2
        folded = folded >> width ^ folded & ((1 << width) - 1)
    return seed ^ folded ^ int.from_bytes(data[len(data) - odd :], "big")


class _Archive:
    def __init__(self, source: Source, bounds: Bounds) -> None:
        self._source, self._bounds = source, bounds
        self._open: tuple[int, Source] | None = None
        raw = io.BufferedReader(whole(source), READ_AHEAD)
        head = raw.read(HEADER.size)
        if len(head) < HEADER.size:
            raise ArchiveDamaged("its cab header is cut off")
        fields = HEADER.unpack(head)
        self._files_at, folders, self._count, flags = fields[4], fields[8], fields[9], fields[10]
        in_header = in_folder = in_block = 0
        if flags & _RESERVES:
            in_header, in_folder, in_block = _RESERVED.unpack(_exactly(raw, _RESERVED.size))
            _exactly(raw, in_header)
        for name in (_BEFORE, _BEFORE, _AFTER, _AFTER):  # of the cab before or after, and of its disk
            if flags & name:
                _name(raw)
        self._folders = []
        for _ in range(folders):
            start, blocks, packing = _FOLDER.unpack_from(_exactly(raw, _FOLDER.size + in_folder))
            self._folders.append(_Folder(start, blocks, packing, in_block))

    def members(self) -> Iterator[Member]:
        sizes = [0] * len(self._folders)
        for size, offset, folder, *_ in self._files():
            if folder < len(sizes):
                sizes[folder] = max(sizes[folder], offset + size)
        for size, offset, folder, date, time, attributes, name in self._files():
            yield self._member(name, attributes, (date, time), (folder, offset, size), sizes)

    def _files(self) -> Iterator[tuple[int, int, int, int, int, int, bytes]]:
        window = whole(self._source)
        window.seek(self._files_at)
        raw = io.BufferedReader(window, READ_AHEAD)
        for _ in range(self._count):
            size, offset, folder, date, time, attributes = _FILE.unpack(_exactly(raw, _FILE.size))
            yield size, offset, folder, date, time, attributes, _name(raw)

    def _member(
        self,
        raw_name: bytes,
        attributes: int,
        when: tuple[int, int],
        place: tuple[int, int, int],
        sizes: list[int],
    ) -> Member:
        folder, _, size = place
        name, guessed = decoded(raw_name, "cp1252")
        return Member(
            name=name,
            kind=FileKind.FILE,
            size=size,
            packed_size=None,
            modified=dos_time(*when),
            reason=self._reason(folder),
            chunks=lambda: exactly(plain(self._bytes_of(place, sizes)), size),
            source=lambda: self._bytes_of(place, sizes),
            guessed=guessed,
        )

    def _reason(self, folder: int) -> Reason | None:
        if folder >= _ELSEWHERE:
            return Reason.OTHER_VOLUME
        return self._folders[folder].reason if folder < len(self._folders) else Reason.CUT

    def _bytes_of(self, place: tuple[int, int, int], sizes: list[int]) -> Window:
        number, offset, size = place
        if self._open is None or self._open[0] != number:
            self._open = None  # its decoder is freed before the next begins
            self._open = number, _unpacked(self._source, self._folders[number], sizes[number], self._bounds)
        return Window(self._open[1], offset, size)


def _unpacked(source: Source, folder: _Folder, size: int, bounds: Bounds) -> Source:
    return Unpacked(lambda: _Blocks(source, folder, bounds), size, bounds)


def _exactly(raw: IO[bytes], size: int) -> bytes:
    data = raw.read(size)
    if len(data) < size:
        raise ArchiveDamaged("its list of files is cut off")
    return data


def _name(raw: IO[bytes]) -> bytes:
    """Read a name to the zero byte that ends it."""
    name = bytearray()
    while byte := _exactly(raw, 1).strip(b"\0"):
        name += byte
        if len(name) > _LONGEST_NAME:
            raise ArchiveTooLarge(f"a name in it is longer than {_LONGEST_NAME} bytes")
    return bytes(name)


def members(source: Source, bounds: Bounds) -> Iterator[Member]:
    """Yield every file, in the cab's order."""
    return _Archive(source, bounds).members()
