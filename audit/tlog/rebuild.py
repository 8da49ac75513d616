"""The tree rebuilt from the leaves, and compared with tiles and signed roots.

Shares no code with the sequencer's tree: no frontier, no proofs, no stored node is ever believed. It keeps one
unfinished tile a level, so its memory does not grow with the log.

When a leaf and a tile differ, the next signed root decides which is wrong: if it follows from the leaves, the tile is
damaged; if not, the leaf is not the one that was signed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from audit.tlog.tile_store import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileMissingError,
    TileSource,
    entries_path,
    tile_path,
)

_MOST_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault, and its leaf, where one can be named."""

    leaf_index: int | None
    what: str


class Findings:
    """Problems by place in the log. The first hundred are kept: a log in ruins must not fill the memory."""

    def __init__(self) -> None:
        self._found: list[tuple[int, Problem]] = []
        self.redacted = 0

    def add(self, place: int, leaf_index: int | None, what: str) -> None:
        if len(self._found) < _MOST_FINDINGS:
            self._found.append((place, Problem(leaf_index, what)))

    def in_order(self) -> tuple[Problem, ...]:
        return tuple(problem for _, problem in sorted(self._found, key=lambda found: found[0]))


class Rebuild:
    """A tree being rebuilt. `published`: the size up to which tiles must exist; `tiles`: None to compare with none."""

    def __init__(self, tiles: TileSource | None, published: int, findings: Findings) -> None:
        self.size = 0
        self._tiles = tiles
        self._published = published
        self._findings = findings
        self._rows: list[list[bytes]] = []  # the unfinished tile of each level
        self._leaves: list[bytes] = []  # the unfinished entries tile
        self._checked: set[str] = set()  # the partial tiles last seen
        self._suspects: dict[int, str] = {}  # leaf index -> the tile it differs from
        self._last_different = -1
        self.agrees = True  # with the last signed root
        self._agreed_at = 0

    def add(self, leaf: bytes) -> None:
        self.size += 1
        self._leaves.append(leaf)
        self._push(0, hashlib.sha256(b"\x00" + leaf).digest())

    def root(self) -> bytes:
        """Compute the root: each unfinished tile, from the lowest level up, gives the last node of the next."""
        tail: list[bytes] = []
        for row in self._rows:
            level = row + tail
            tail = [_fold(level)] if level else []
        return tail[0] if tail else hashlib.sha256().digest()

    def frontier(self) -> bytes:
        """Encode the size and the complete subtrees, largest first, as the sequencer keeps them."""
        peaks: list[bytes] = []
        for row in reversed(self._rows):
            start = 0
            for height in reversed(range(TILE_HEIGHT)):
                if len(row) & 1 << height:
                    peaks.append(_fold(row[start : start + (1 << height)]))
                    start += 1 << height
        return self.size.to_bytes(8, "big") + b"".join(peaks)

    def hold_to(self, root: bytes, name: str) -> None:
        """Check that a signed root at this size follows from the leaves; settle which of leaf and tile is wrong."""
        agrees = self.root() == root
        if not agrees and self.agrees:  # once is enough: every later root follows from the same leaf
            only = self._agreed_at if self.size - self._agreed_at == 1 else None
            self._findings.add(
                self.size,
                only,
                f"{name} at {self.size} does not follow from the leaves: one of "
                f"{self._agreed_at} to {self.size - 1} is not what was signed",
            )
        self.settle(agrees)
        self.agrees = agrees
        if agrees:
            self._agreed_at = self.size

    def settle(self, agrees: bool) -> None:
        for leaf, path in self._suspects.items():
            what = (
                f"{path} is damaged: its leaf {leaf} is not the one that was signed"
                if agrees
                else f"leaf {leaf} is not the one that was signed: {path} has another"
            )
            self._findings.add(leaf, leaf, what)
        self._suspects.clear()

    def check_partial_tiles(self) -> None:
        """Check the partial tiles of a published checkpoint at this size."""
        checked: set[str] = set()
        for level, row in enumerate(self._rows):
            if row:
                number = self.size >> TILE_HEIGHT * (level + 1)
                checked.add(self._check(level, number, row))
        self._checked = checked

    def _push(self, level: int, hash_: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        row.append(hash_)
        if len(row) < TILE_WIDTH:
            return
        number = (self.size >> TILE_HEIGHT * (level + 1)) - 1
        if self.size <= self._published:
            self._check(level, number, row)
        if level == 0:
            self._leaves = []
        self._rows[level] = []
        self._push(level + 1, _fold(row))

    def _check(self, level: int, number: int, row: Sequence[bytes]) -> str:
        path = tile_path(level, number, len(row))
        if self._tiles is not None and path not in self._checked:
            self._compare(self._tiles, path, level, number, row)
            if level == 0:
                entries = [struct.pack(">H", len(leaf)) + leaf for leaf in self._leaves]
                self._compare(self._tiles, entries_path(number, len(row)), level, number, entries)
        return path

    def _compare(
        self, tiles: TileSource, path: str, level: int, number: int, chunks: Sequence[bytes]
    ) -> None:
        first = number * TILE_WIDTH
        try:
            data = tiles.get(path)
        except TileMissingError:
            leaf = first << TILE_HEIGHT * level
            self._findings.add(leaf, leaf, f"{path} is missing")
            return
        at = _first_difference(chunks, data)
        if at is not None:
            self._differs(path, level, first + at)

    def _differs(self, path: str, level: int, index: int) -> None:
        leaf = index << TILE_HEIGHT * level
        if level == 0:
            if leaf > self._last_different and len(self._suspects) < _MOST_FINDINGS:
                self._suspects[leaf] = path
                self._last_different = leaf
        elif self._last_different < leaf:  # otherwise it follows from a leaf already named
            last = ((index + 1) << TILE_HEIGHT * level) - 1
            self._findings.add(leaf, leaf, f"{path} does not follow from the leaves {leaf} to {last}")


def _fold(row: Sequence[bytes]) -> bytes:
    """Compute the root over a row of nodes: pairs level by level, an odd last one moves up unchanged."""
    while len(row) > 1:
        pairs = [hashlib.sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = pairs + list(row[-1:]) if len(row) % 2 else pairs
    return row[0]


def _first_difference(chunks: Sequence[bytes], data: bytes) -> int | None:
    """Find the first chunk that `data` does not repeat in place; the last one if only more follows."""
    at = 0
    for number, chunk in enumerate(chunks):
        if data[at : at + len(chunk)] != chunk:
            return number
        at += len(chunk)
    return None if at == len(data) else len(chunks) - 1
