"""A 7z's list of files: the header at its end, which may be packed itself (7zFormat.txt of the LZMA SDK).

1. The header is held while the archive is read, and leased. Of folders and files only places in it and numbers are
   kept: many are no burden. A "folder" of a 7z is a run of files that are packed together, by a chain of coders.
2. Nothing here decodes: `seven_zip_archive` is asked to unpack a packed header.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from retention.archive.limits import Bounds, Lease
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge
from retention.archive.seven_zip_fields import (
    CRC,
    END,
    NOT_KNOWN,
    SIZE,
    Coder,
    Files,
    Listed,
    Reader,
    chain,
    described,
)
from retention.archive.source import Source, Window, size_of

MAGIC = b"7z\xbc\xaf\x27\x1c"
START = struct.Struct("<6s2BI2QI")  # magic, version, CRC of the rest; then offset, size and CRC of the header
_HEADER, _ARCHIVE_PROPERTIES, _MORE_STREAMS, _MAIN_STREAMS, _FILES, _PACK, _FOLDERS, _SUB_STREAMS = range(
    1, 9
)
_FOLDER, _UNPACK_SIZES, _NUMBER_IN_FOLDER = range(11, 14)
_PACKED_HEADER = 23
_MOST_LEVELS = 4
_FARTHEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Folder:
    """Files packed together. `coders`: from the packed bytes to the files; None where they are not one chain."""

    start: int
    packed_size: int
    coders: tuple[Coder, ...] | None
    methods: tuple[bytes, ...]
    size: int
    crc: int | None


@dataclass(slots=True)
class _Streams:
    """Where the folders are described, and what they hold; by the number of folder, packed stream or file in them."""

    start: int = 0
    packed_sizes: array[int] = field(default_factory=lambda: array("Q"))
    places: array[int] = field(default_factory=lambda: array("Q"))  # in the header
    first_packed: array[int] = field(default_factory=lambda: array("Q"))
    packed_places: array[int] = field(default_factory=lambda: array("Q"))  # in the archive
    first_size: array[int] = field(default_factory=lambda: array("Q"))
    unpacked_sizes: array[int] = field(default_factory=lambda: array("Q"))  # of each coder
    folder_crcs: array[int] = field(default_factory=lambda: array("Q"))
    in_folder: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))  # of each file
    crcs: array[int] = field(default_factory=lambda: array("Q"))


class Directory:
    """The list of a 7z's files. `unpack` makes the bytes of a packed header's folder."""

    def __init__(self, source: Source, bounds: Bounds, unpack: Callable[[Folder], bytes]) -> None:
        self._bounds = bounds
        self._lease: Lease | None = None
        self._reader = Reader(b"", 0)
        self._streams = _Streams()
        self._files: Files | None = None
        data = self._stored(source)
        for _ in range(_MOST_LEVELS):
            self._hold(data)
            kind = self._reader.byte() if data else END
            if kind != _PACKED_HEADER:
                break
            self._read_streams()
            if len(self._streams.places) != 1:
                raise ArchiveDamaged("its packed header is not one")
            data = unpack(self.folder(0))
        else:
            raise ArchiveDamaged("its header is packed too often")
        if kind == _HEADER:
            self._read_header()
        elif data:
            raise ArchiveDamaged("its 7z header makes no sense")

    def _stored(self, source: Source) -> bytes:
        head = Window(source, 0, START.size).read(START.size)
        _, _, _, checksum, offset, size, header_crc = START.unpack(head)
        if zlib.crc32(head[12:]) != checksum:
            raise ArchiveDamaged("its 7z start does not match its checksum (CRC-32)")
        if START.size + offset + size > size_of(source):
            raise ArchiveDamaged(
                "its list of files, at the end, is cut off; or it is the first of several volumes"
            )
        if size > self._bounds.limits.max_index_bytes:
            raise ArchiveTooLarge(
                f"its header has {size} bytes; the limit is {self._bounds.limits.max_index_bytes}"
            )
        data = Window(source, START.size + offset, size).read(size)
        if zlib.crc32(data) != header_crc:
            raise ArchiveDamaged("its header does not match its checksum (CRC-32)")
        return data

    def _hold(self, data: bytes) -> None:
        self._lease = None
        self._lease = self._bounds.memory.need(3 * len(data), "its list of files") if data else None
        self._reader = Reader(data, self._bounds.limits.max_entries)
        self._streams = _Streams()

    def _read_header(self) -> None:
        reader = self._reader
        kind = reader.byte()
        if kind == _ARCHIVE_PROPERTIES:
            while reader.number() != END:
                reader.take(reader.number())
            kind = reader.byte()
        if kind == _MORE_STREAMS:
            self._read_streams()
            kind = reader.byte()
        self._streams = _Streams()
        if kind == _MAIN_STREAMS:
            self._read_streams()
            kind = reader.byte()
        if kind == _FILES:
            self._files = Files(reader)
        elif kind != END:
            raise ArchiveDamaged("its 7z header makes no sense")

    def _read_streams(self) -> None:
        reader, streams = self._reader, self._streams
        kind = reader.byte()
        if kind == _PACK:
            self._read_packed()
            kind = reader.byte()
        if kind == _FOLDERS:
            self._read_folders()
            kind = reader.byte()
        streams.in_folder = array("Q", [1]) * len(streams.places)
        if kind == _SUB_STREAMS:
            kind = self._read_sub_streams()
        else:
            self._split(None)
        if kind != END:
            raise ArchiveDamaged("its 7z header makes no sense")

    def _read_packed(self) -> None:
        reader, streams = self._reader, self._streams
        streams.start = START.size + reader.number()
        count = reader.count()
        seen: set[int] = set()
        while (kind := reader.byte()) != END:
            reader.once(kind, seen)
            if kind == SIZE:
                streams.packed_sizes = reader.numbers(count)
            elif kind == CRC:
                reader.checksums(count)
            else:
                raise ArchiveDamaged("its 7z header makes no sense")

    def _read_folders(self) -> None:
        reader, streams = self._reader, self._streams
        reader.expect(_FOLDER)
        count = reader.count()
        reader.expect(0)  # described here, not in another stream
        packed = sizes = 0
        place = streams.start
        for _ in range(count):
            streams.places.append(reader.at)
            streams.first_packed.append(packed)
            streams.packed_places.append(place)
            streams.first_size.append(sizes)
            coders, _, inputs = described(reader)
            place += sum(streams.packed_sizes[packed : packed + len(inputs)])
            if place > _FARTHEST:
                raise ArchiveDamaged("its 7z header makes no sense")
            packed, sizes = packed + len(inputs), sizes + sum(outputs for _, _, _, outputs in coders)
        reader.expect(_UNPACK_SIZES)
        streams.unpacked_sizes = reader.numbers(sizes)
        streams.folder_crcs = array("Q", [NOT_KNOWN]) * count
        seen: set[int] = set()
        while (kind := reader.byte()) != END:
            reader.once(kind, seen)
            if kind != CRC:
                raise ArchiveDamaged("its 7z header makes no sense")
            streams.folder_crcs = reader.checksums(count)

    def _read_sub_streams(self) -> int:
        reader, streams = self._reader, self._streams
        kind = reader.byte()
        if kind == _NUMBER_IN_FOLDER:
            streams.in_folder = array("Q", (reader.count() for _ in streams.places))
            if sum(streams.in_folder) > self._bounds.limits.max_entries:
                raise ArchiveTooLarge(f"it holds more than {self._bounds.limits.max_entries} files")
            kind = reader.byte()
        self._split(reader if kind == SIZE else None)
        if kind == SIZE:
            kind = reader.byte()
        if kind == CRC:
            self._read_crcs()
            kind = reader.byte()
        if kind != END:
            raise ArchiveDamaged("its 7z header makes no sense")
        return reader.byte()

    def _split(self, reader: Reader | None) -> None:
        """Find each file's size: the last of a folder has the rest."""
        streams = self._streams
        for number, count in enumerate(streams.in_folder):
            left = self.folder(number).size
            for _ in range(count - 1):
                size = reader.number() if reader else 0
                left -= size
                streams.sizes.append(size)
            if left < 0:
                raise ArchiveDamaged("its files have more bytes than they are packed from")
            if count:
                streams.sizes.append(left)
        streams.crcs = array("Q")
        for number, count in enumerate(streams.in_folder):
            streams.crcs.extend([streams.folder_crcs[number] if count == 1 else NOT_KNOWN] * count)

    def _read_crcs(self) -> None:
        """Read the checksums of the files whose folder's checksum is not theirs."""
        crcs = self._streams.crcs
        wanted = [number for number, crc in enumerate(crcs) if crc == NOT_KNOWN]
        for number, crc in zip(wanted, self._reader.checksums(len(wanted)), strict=True):
            crcs[number] = crc

    @property
    def folders(self) -> int:
        """How many folders there are."""
        return len(self._streams.places)

    def folder(self, number: int) -> Folder:
        """Return the folder of that number."""
        streams = self._streams
        reader = Reader(self._reader.data, self._bounds.limits.max_entries)
        reader.at = streams.places[number]
        coders, pairs, inputs = described(reader)
        outputs = sum(one[3] for one in coders)
        first = streams.first_size[number]
        sizes = streams.unpacked_sizes[first : first + outputs]
        if len(sizes) != outputs:
            raise ArchiveDamaged("its 7z header makes no sense")
        packed = streams.first_packed[number]
        if packed + len(inputs) > len(streams.packed_sizes):
            raise ArchiveDamaged("a packed stream in it has no size")
        last = [index for index in range(outputs) if index not in {out for _, out in pairs}]
        crc = streams.folder_crcs[number]
        return Folder(
            start=streams.packed_places[number],
            packed_size=streams.packed_sizes[packed],
            coders=chain(coders, pairs, inputs, sizes),
            methods=tuple(method for method, *_ in coders),
            size=sizes[last[0]],
            crc=None if crc == NOT_KNOWN else crc,
        )

    def __iter__(self) -> Iterator[Listed]:
        """Yield the files in their order."""
        if self._files is None:
            return
        streams, folder, inside, offset, number = self._streams, 0, 0, 0, 0
        for file in range(self._files.count):
            if self._files.is_empty(file):
                yield self._files.listed(file, None, 0, 0, None)
                continue
            while folder < self.folders and inside >= streams.in_folder[folder]:
                folder, inside, offset = folder + 1, 0, 0
            if folder == self.folders:
                raise ArchiveDamaged("it lists more files than it holds")
            size, crc = streams.sizes[number], streams.crcs[number]
            yield self._files.listed(file, folder, offset, size, None if crc == NOT_KNOWN else crc)
            inside, offset, number = inside + 1, offset + size, number + 1
