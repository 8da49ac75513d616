"""Archives for these tests: real ones by the standard library, hostile ones by hand."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from backports import zstd

from retention.archive import ArchivedFile, Limits, list_files, open_file

SMALL = Limits()


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(files: Mapping[str, bytes], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tgz_of(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar_of(files), mtime=0)


MAKERS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": zip_of,
    "tar": tar_of,
    "tar.gz": tgz_of,
    "tar.bz2": lambda files: bz2.compress(tar_of(files)),
    "tar.xz": lambda files: lzma.compress(tar_of(files), preset=1),
    "tar.lzma": lambda files: lzma.compress(tar_of(files), lzma.FORMAT_ALONE, preset=1),
    "tar.zst": lambda files: zstd.compress(tar_of(files)),
}


def listing(
    data: bytes, limits: Limits = SMALL, inside: str = "", name: str = "bundle"
) -> list[ArchivedFile]:
    return list(list_files(io.BytesIO(data), name, limits, inside=inside))


def content(data: bytes, path: str, limits: Limits = SMALL) -> bytes:
    return b"".join(open_file(io.BytesIO(data), "bundle", path, limits).chunks)


def read_until_refused(chunks: Iterator[bytes], sizes: list[int]) -> None:
    """Notes what was handed out before the error."""
    for chunk in chunks:
        sizes.append(len(chunk))


def raw_deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@dataclass
class Entry:
    """One hand-made zip entry; `offset` and the sizes may lie."""

    name: bytes
    packed: bytes
    size: int
    crc: int
    method: int = zipfile.ZIP_DEFLATED
    flags: int = 0
    mode: int = 0
    extra: bytes = b""
    offset: int | None = None
    packed_size: int | None = None

    def _fields(self) -> bytes:
        packed_size = len(self.packed) if self.packed_size is None else self.packed_size
        return struct.pack("<5H3I", 20, self.flags, self.method, 0, 0x5A21, self.crc, packed_size, self.size)

    def local(self) -> bytes:
        return b"PK\3\4" + self._fields() + struct.pack("<2H", len(self.name), 0) + self.name

    def central(self, offset: int) -> bytes:
        tail = struct.pack("<5H2I", len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, offset)
        return b"PK\1\2\x14\0" + self._fields() + tail + self.name + self.extra


def whole_entry(name: bytes, data: bytes, **more: object) -> Entry:
    return Entry(name, raw_deflated(data), len(data), zlib.crc32(data), **more)  # type: ignore[arg-type]


def hand_made(entries: list[Entry]) -> bytes:
    body, directory = b"", b""
    for entry in entries:
        offset = len(body)
        body += entry.local() + entry.packed
        directory += entry.central(offset if entry.offset is None else entry.offset)
    return sealed_zip(body, directory, len(entries))


def sealed_zip(body: bytes, directory: bytes, count: int) -> bytes:
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


class CountingSource(io.BytesIO):
    """Remembers which ranges were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def readinto(self, buffer: object, /) -> int:
        start = self.tell()
        got = super().readinto(buffer)  # type: ignore[arg-type]
        self.ranges.append((start, start + got))
        return got

    @property
    def lowest(self) -> int:
        return min(start for start, end in self.ranges if end > start)

    @property
    def highest(self) -> int:
        return max(end for _, end in self.ranges)

    @property
    def total(self) -> int:
        return sum(end - start for start, end in self.ranges)
