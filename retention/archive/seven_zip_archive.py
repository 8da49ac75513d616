"""7z: its files (`seven_zip_directory`), and their bytes by decoding the run of files that they are packed in.

1. Of a run ("folder", often all files of one kind) only the beginning can be entered: a file costs what stands before
   it. Read in their order, each run is decoded once. One run's decoder is kept at a time.
2. A chain of coders is decoders one behind the other. The filters for programs (BCJ) and Delta are liblzma's, given
   their bytes as LZMA2 that packs nothing.
3. An encrypted run, and one by a coder that is not known here, is listed with that reason.
"""

from __future__ import annotations

import lzma
import stat
import zlib
from collections.abc import Callable, Iterator

from retention.archive import codings
from retention.archive.inflate import Coding, Decoder, Forward, crc_checked, exactly, plain
from retention.archive.limits import KIB, Bounds
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge, FileKind, FileNotReadable, Reason
from retention.archive.seekable import Unpacked
from retention.archive.seven_zip_directory import Directory, Folder
from retention.archive.seven_zip_fields import Coder, Listed
from retention.archive.source import Member, Source, Window, since_1601, size_of, whole

_COPY, _AES = b"\x00", b"\x06\xf1\x07\x01"
_FILTERS: dict[bytes, int] = {
    b"\x03": lzma.FILTER_DELTA,
    **dict.fromkeys((b"\x04", b"\x03\x03\x01\x03"), lzma.FILTER_X86),
    **dict.fromkeys((b"\x05", b"\x03\x03\x02\x05"), lzma.FILTER_POWERPC),
    **dict.fromkeys((b"\x06", b"\x03\x03\x04\x01"), lzma.FILTER_IA64),
    **dict.fromkeys((b"\x07", b"\x03\x03\x05\x01"), lzma.FILTER_ARM),
    **dict.fromkeys((b"\x08", b"\x03\x03\x07\x01"), lzma.FILTER_ARMTHUMB),
    **dict.fromkeys((b"\x09", b"\x03\x03\x08\x05"), lzma.FILTER_SPARC),
}
_PLAIN_CODINGS = {
    b"\x04\x01\x08": codings.RAW_DEFLATE,
    b"\x04\x01\x09": codings.DEFLATE64,
    b"\x04\x02\x02": codings.BZIP2,
    b"\x04\xf7\x11\x01": codings.ZSTD,
}
_WITH_PROPERTIES: dict[bytes, tuple[str, int, Callable[[bytes, int | None, Bounds], tuple[Decoder, int]]]] = {
    b"\x03\x01\x01": ("LZMA", 5, codings.lzma_decoder),
    b"\x21": ("LZMA2", 1, codings.lzma2_decoder),
    b"\x03\x04\x01": ("PPMd", 5, codings.ppmd_decoder),
}
"""By method: what it is, the length of its properties, and what makes its decoder of them."""
_BEHIND = {"PPMd": codings.PPMD_BEHIND}
_UNIX_MODE, _DOS_FOLDER, _REPARSE_POINT = 0x8000, 0x10, 0x400
_KINDS = {stat.S_IFLNK: FileKind.LINK, stat.S_IFDIR: FileKind.FOLDER} | dict.fromkeys(
    (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK), FileKind.DEVICE
)
_LONGEST_CHAIN = 4  # each coder may take a child: more than 7-Zip ever chains is somebody's trick
_LZMA2_PIECE = 64 * KIB
_LZMA2_FIRST, _LZMA2_NEXT, _LZMA2_END = b"\x01", b"\x02", b"\x00"


class _Filter:
    """A filter of liblzma with the interface of a decoder. It gives as many bytes as it takes: `size`."""

    needs_input = True

    def __init__(self, filter_id: int, properties: bytes, size: int) -> None:
        chosen: dict[str, int] = {"id": filter_id}
        if filter_id == lzma.FILTER_DELTA:
            chosen["dist"] = properties[0] + 1 if properties else 1
        packing = {"id": lzma.FILTER_LZMA2, "dict_size": 4096}
        self._lzma = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen, packing])
        self._left, self._control = size, _LZMA2_FIRST

    @property
    def eof(self) -> bool:
        return self._lzma.eof

    @property
    def unused_data(self) -> bytes:
        return b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = data[: self._left]
        self._left -= len(data)
        packed = bytearray()
        for start in range(0, len(data), _LZMA2_PIECE):
            piece = data[start : start + _LZMA2_PIECE]
            packed += self._control + (len(piece) - 1).to_bytes(2, "big") + piece
            self._control = _LZMA2_NEXT
        if data and not self._left:
            packed += _LZMA2_END
        out = self._lzma.decompress(bytes(packed), max_length)
        self.needs_input = self._lzma.needs_input and not self._lzma.eof
        return out


def _coding(coder: Coder) -> Coding | None:
    """Return how a coder's bytes are decoded; None for one that is not known."""
    if coder.method in _FILTERS:
        return _filtering(_FILTERS[coder.method], coder)
    if coder.method in _WITH_PROPERTIES:
        what, length, make = _WITH_PROPERTIES[coder.method]
        properties = coder.properties
        return (
            Coding(
                lambda packed, size, bounds: make(properties, size, bounds),
                what,
                behind=_BEHIND.get(what, b""),
            )
            if len(properties) == length
            else None
        )
    return _PLAIN_CODINGS.get(coder.method)


def _filtering(filter_id: int, coder: Coder) -> Coding | None:
    is_delta = filter_id == lzma.FILTER_DELTA
    if len(coder.properties) > (1 if is_delta else 0):  # a start other than 0
        return None
    return Coding(
        lambda packed, size, bounds: (_Filter(filter_id, coder.properties, coder.size), 4 * _LZMA2_PIECE),
        "filtered bytes",
    )


def _reason(folder: Folder, end: int) -> Reason | None:
    """Return why the files of a run cannot be read. `end`: of the archive."""
    if folder.start + folder.packed_size > end:
        return Reason.CUT
    if _AES in folder.methods:
        return Reason.ENCRYPTED
    if folder.coders is None or len(folder.coders) > _LONGEST_CHAIN:
        return Reason.METHOD
    if any(one.method != _COPY and _coding(one) is None for one in folder.coders):
        return Reason.METHOD
    return None


class _Archive:
    def __init__(self, source: Source, bounds: Bounds) -> None:
        self._source, self._bounds = source, bounds
        self._end = size_of(source)
        self._open: tuple[int, Source] | None = None
        self._directory = Directory(source, bounds, self._header)

    def members(self) -> Iterator[Member]:
        last, reason = -1, None
        for file in self._directory:
            if file.folder is not None and file.folder != last:
                last, reason = file.folder, _reason(self._directory.folder(file.folder), self._end)
            yield self._member(file, reason if file.folder is not None else None)

    def _member(self, file: Listed, reason: Reason | None) -> Member:
        return Member(
            name=file.name.decode("utf-16-le", "surrogatepass") + "/" * file.is_folder,
            kind=_kind(file),
            size=file.size,
            packed_size=None,
            modified=since_1601(file.modified) if file.modified else None,
            reason=reason,
            chunks=lambda: self._chunks(file),
            source=lambda: self._bytes_of(file),
        )

    def _chunks(self, file: Listed) -> Iterator[bytes]:
        chunks = exactly(plain(self._bytes_of(file)), file.size)
        return chunks if file.crc is None else crc_checked(chunks, file.crc)

    def _bytes_of(self, file: Listed) -> Window:
        if file.folder is None:
            return Window(self._source, 0, 0)
        if self._open is None or self._open[0] != file.folder:
            self._open = None  # its decoders are freed before the next begin
            self._open = file.folder, self._unpacked(self._directory.folder(file.folder))
        return Window(self._open[1], file.offset, file.size)

    def _unpacked(self, folder: Folder) -> Source:
        source: Source = Window(self._source, folder.start, folder.packed_size)
        for coder in folder.coders or ():
            coding = _coding(coder)
            if coding is not None:
                source = _stage(source, coding, coder.size, self._bounds)
        return source

    def _header(self, folder: Folder) -> bytes:
        """Unpack a packed header."""
        reason = _reason(folder, self._end)
        if reason is not None:
            raise FileNotReadable(reason)
        most = self._bounds.limits.max_index_bytes
        if folder.size > most:
            raise ArchiveTooLarge(f"its header has {folder.size} bytes; the limit is {most}")
        data = Window(self._unpacked(folder), 0, folder.size).read(folder.size)
        if len(data) != folder.size or (folder.crc is not None and zlib.crc32(data) != folder.crc):
            raise ArchiveDamaged("its packed header does not match its checksum (CRC-32)")
        return data


def _stage(source: Source, coding: Coding, size: int, bounds: Bounds) -> Source:
    packed = whole(source)
    return Unpacked(lambda: Forward(packed, coding, size, bounds), size, bounds)


def _kind(file: Listed) -> FileKind:
    """Tell the kind by the Unix mode if any, else by the Windows attributes."""
    if file.is_folder or file.attributes & _DOS_FOLDER:
        return FileKind.FOLDER
    if file.attributes & _REPARSE_POINT:
        return FileKind.LINK
    mode = file.attributes >> 16 if file.attributes & _UNIX_MODE else 0
    return _KINDS.get(stat.S_IFMT(mode), FileKind.FILE)


def members(source: Source, bounds: Bounds) -> Iterator[Member]:
    """Yield every file, in the header's order."""
    return _Archive(source, bounds).members()
