"""How much of an archive is believed. An archive is written by others: every size in it is a claim until counted.

Memory for one call stays below about: 5 x max_directory_bytes (measured: 65 MiB for 90,000 entries with long names),
max_nested_bytes x (max_depth - 1), max_dictionary_bytes, and a few chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

from retention.archive.errors import ArchiveTooLarge

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    max_entries: int = 100_000
    max_directory_bytes: int = 16 * MIB  # a zip's central directory
    max_header_bytes: int = 32 * KIB  # one tar member's extended headers
    max_name: int = 1024
    max_depth: int = 3  # archives opened to reach a file; the bundle itself is the first
    max_inflated_bytes: int = 32 * GIB  # in one call, all levels together; also the largest single file
    max_ratio: int = 200
    ratio_free_bytes: int = (
        64 * MIB
    )  # below this the ratio is not held against a file: empty logs pack very well
    max_nested_bytes: int = (
        64 * MIB
    )  # a nested archive that is packed is inflated into memory, never onto a disk (P1)
    max_dictionary_bytes: int = 64 * MIB  # LZMA's window

    def bomb_like(self, inflated: int, packed: int) -> bool:
        return inflated > self.ratio_free_bytes and inflated > self.max_ratio * packed


class Budget:
    """Counts what one call inflates, at every level, and stops it at the limit."""

    def __init__(self, limits: Limits) -> None:
        self._left = limits.max_inflated_bytes

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ArchiveTooLarge("it inflates past the limit for one reading")
