"""The fields of a 7z's header: numbers, a run's coders, and what is said of files (7zFormat.txt of the LZMA SDK).

Every number is held to the bytes that are there, every count to the limits before anything is made of it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from retention.archive.model import ArchiveDamaged, ArchiveTooLarge

END, _EMPTY, _EMPTY_FILE, _NAMES, _MODIFIED, _ATTRIBUTES = 0, 14, 15, 17, 20, 21
SIZE, CRC = 9, 10
_COUNTED = frozenset((SIZE, CRC, _EMPTY, _EMPTY_FILE, _NAMES, _MODIFIED, _ATTRIBUTES))
NOT_KNOWN = 1 << 32
"""Stands for a checksum that is not given."""
_MOST_CODERS = 8


class Reader:
    """The header's bytes, read forwards. ArchiveDamaged past their end."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.at, self._most = data, 0, most

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        if size > len(self.data) - self.at:
            raise ArchiveDamaged("its 7z header ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        """Read a byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """Read a number: the ones that its first byte begins with say how many bytes follow, the lowest first."""
        first = self.byte()
        more = 8 - (first ^ 0xFF).bit_length()
        low = int.from_bytes(self.take(more), "little")
        return low + ((first & (0x7F >> more)) << (8 * more) if more < 8 else 0)

    def count(self) -> int:
        """Read a number of things. ArchiveTooLarge above the limit."""
        count = self.number()
        if count > self._most:
            raise ArchiveTooLarge(f"its header lists {count} things; the limit is {self._most}")
        return count

    def numbers(self, count: int) -> array[int]:
        """Read so many numbers."""
        return array("Q", (self.number() for _ in range(count)))

    def bits(self, count: int) -> bytes:
        """Read so many bits, the highest of each byte first."""
        return self.take((count + 7) // 8)

    def known(self, count: int) -> bytes:
        """Read which of so many things have a value, as bits."""
        return b"\xff" * ((count + 7) // 8) if self.byte() else self.bits(count)

    def checksums(self, count: int) -> array[int]:
        """Read checksums; those that are not given are beyond 32 bits."""
        known = self.known(count)
        return array("Q", (self._u32() if bit(known, n) else NOT_KNOWN for n in range(count)))

    def _u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def once(self, kind: int, seen: set[int]) -> None:
        """Note a property; ArchiveDamaged if it was there before. One costs its count, and a header holds millions of
        them. What is passed over (the padding before a property) may stand several times."""
        if kind in seen:
            raise ArchiveDamaged(f"its 7z header has the property {kind} twice")
        if kind in _COUNTED:
            seen.add(kind)

    def expect(self, wanted: int) -> None:
        """Read a property's id, which must be this one."""
        if self.byte() != wanted:
            raise ArchiveDamaged("its 7z header makes no sense")


def bit(bits: bytes, number: int) -> bool:
    """Tell whether the bit of that number is set."""
    return number // 8 < len(bits) and bool(bits[number // 8] & (0x80 >> (number % 8)))


@dataclass(frozen=True, slots=True)
class Coder:
    """A coder of a folder's chain: its method's id, its properties, and the size that it gives."""

    method: bytes
    properties: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the header lists it. `folder` is None for one without bytes; `offset` counts in its folder."""

    name: bytes
    folder: int | None
    offset: int
    size: int
    crc: int | None
    is_folder: bool
    attributes: int
    modified: int | None  # 100 ns since 1601


Described = tuple[list[tuple[bytes, bytes, int, int]], list[tuple[int, int]], list[int]]


def described(reader: Reader) -> Described:
    """Read a folder's coders (method, properties, inputs, outputs), which input is which output, and which inputs are
    packed bytes."""
    coders = []
    count = reader.number()
    if not 1 <= count <= _MOST_CODERS:
        raise ArchiveDamaged(f"files in it pass {count} coders")
    for _ in range(count):
        flags = reader.byte()
        method = reader.take(flags & 0xF)
        inputs, outputs = (reader.number(), reader.number()) if flags & 0x10 else (1, 1)
        properties = reader.take(reader.number()) if flags & 0x20 else b""
        if flags & 0xC0 or not (1 <= inputs <= _MOST_CODERS and outputs == 1):
            raise ArchiveDamaged("its 7z header makes no sense")
        coders.append((method, properties, inputs, outputs))
    pairs = [(reader.number(), reader.number()) for _ in range(count - 1)]
    total = sum(inputs for _, _, inputs, _ in coders)
    free = [number for number in range(total) if number not in {into for into, _ in pairs}]
    given = total - len(pairs)
    packed = [reader.number() for _ in range(given)] if given > 1 else free
    if given < 1 or sorted(packed) != free or len({out for _, out in pairs}) != len(pairs):
        raise ArchiveDamaged("its 7z header makes no sense")
    if any(out >= count for _, out in pairs):
        raise ArchiveDamaged("its 7z header makes no sense")
    return coders, pairs, packed


def chain(
    coders: list[tuple[bytes, bytes, int, int]],
    pairs: list[tuple[int, int]],
    packed: list[int],
    sizes: array[int],
) -> tuple[Coder, ...] | None:
    """Order the coders from the packed bytes on; None where one has several inputs."""
    if len(packed) != 1 or any(inputs != 1 for _, _, inputs, _ in coders):
        return None
    after = {out: into for into, out in pairs}
    ordered: list[Coder] = []
    number = packed[0]
    while len(ordered) < len(coders):
        ordered.append(Coder(*coders[number][:2], sizes[number]))
        if number not in after:
            break
        number = after[number]
    if len(ordered) != len(coders) or number in after:
        raise ArchiveDamaged("its 7z header makes no sense")
    return tuple(ordered)


class Files:
    """What the header says of its files: places of the names, and the properties as they stand."""

    def __init__(self, reader: Reader) -> None:
        self.count = reader.count()
        self._empty = self._empty_files = b""
        self._data, self._names = reader.data, array("Q")
        self._attributes: tuple[bytes, array[int]] = (b"", array("Q"))
        self._modified: tuple[bytes, array[int]] = (b"", array("Q"))
        seen: set[int] = set()
        while (kind := reader.number()) != END:
            reader.once(kind, seen)
            end = reader.number() + reader.at
            if kind == _EMPTY:
                self._empty = reader.bits(self.count)
            elif kind == _EMPTY_FILE:
                self._empty_files = reader.bits(sum(self.is_empty(one) for one in range(self.count)))
            elif kind == _NAMES:
                self._read_names(reader)
            elif kind == _ATTRIBUTES:
                self._attributes = self._values(reader, 4)
            elif kind == _MODIFIED:
                self._modified = self._values(reader, 8)
            if reader.at > end:
                raise ArchiveDamaged("its 7z header makes no sense")
            reader.take(end - reader.at)
        self._empty_number = array("Q")
        for one in range(self.count):
            self._empty_number.append((self._empty_number[-1] if one else 0) + self.is_empty(one))

    def _read_names(self, reader: Reader) -> None:
        reader.expect(0)  # they stand here, not in another stream
        for _ in range(self.count):
            self._names.append(reader.at)
            end = self._data.find(b"\0\0", reader.at)
            while end >= 0 and (end - reader.at) % 2:
                end = self._data.find(b"\0\0", end + 1)
            if end < 0:
                raise ArchiveDamaged("its 7z header ends too early")
            reader.at = end + 2
        self._names.append(reader.at)

    def _values(self, reader: Reader, width: int) -> tuple[bytes, array[int]]:
        known = reader.known(self.count)
        reader.expect(0)
        given = (bit(known, one) for one in range(self.count))
        return known, array(
            "Q", (int.from_bytes(reader.take(width), "little") if has else 0 for has in given)
        )

    def is_empty(self, file: int) -> bool:
        """Tell whether a file has no bytes: it may be a folder."""
        return bit(self._empty, file)

    def listed(self, file: int, folder: int | None, offset: int, size: int, crc: int | None) -> Listed:
        """Return a file with what the header says of it."""
        known, modified = self._modified
        attributes = self._attributes[1]
        name = self._data[self._names[file] : self._names[file + 1] - 2] if self._names else b""
        is_folder = folder is None and not bit(self._empty_files, self._empty_number[file] - 1)
        return Listed(
            name=name,
            folder=folder,
            offset=offset,
            size=size,
            crc=crc,
            is_folder=is_folder,
            attributes=attributes[file] if attributes else 0,
            modified=modified[file] if bit(known, file) else None,
        )
