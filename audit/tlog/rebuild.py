"""The tree rebuilt from the leaves, and compared with tiles and signed roots.

Shares no code with the sequencer's tree: no frontier, no proofs, no stored node is ever believed. It keeps one
unfinished tile a level, so its memory does not grow with the log.

When a leaf and a tile differ, the next signed root decides which is wrong: if it follows from the leaves, the tile is
damaged; if not, the leaf is not the one that was signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from audit.entry import MAX_LEAF_BYTES
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


class _Tile:
    """The unfinished tile of a level: its row of hashes, and above it what complete pairs lead to, height by height.

    Nothing is hashed before it is needed, and nothing twice.
    """

    def __init__(self) -> None:
        self.row: list[bytes] = []
        self._above: list[list[bytes]] = [[] for _ in range(TILE_HEIGHT)]

    def peaks(self) -> Iterator[bytes]:
        """Yield the complete subtrees in the row, largest first."""
        self._climb()
        heights = [self.row, *self._above]
        yield from (heights[at][-1] for at in reversed(range(TILE_HEIGHT)) if len(self.row) & 1 << at)

    def root(self) -> bytes:
        """Return the node over a full row."""
        self._climb()
        return self._above[-1][0]

    def _climb(self) -> None:
        below = self.row
        for nodes in self._above:
            pairs = below[2 * len(nodes) : len(below) - len(below) % 2]
            if not pairs:
                return
            nodes += [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(pairs[::2], pairs[1::2], strict=True)
            ]
            below = nodes


class Rebuild:
    """A tree being rebuilt. `published`: the size up to which tiles must exist; `tiles`: None to compare with none;
    `has_entries`: the leaves come from the tiles of entries, which are not read again."""

    def __init__(
        self, tiles: TileSource | None, published: int, findings: Findings, *, has_entries: bool = False
    ) -> None:
        self.size = 0
        self._tiles = tiles
        self._published = published
        self._findings = findings
        self._has_entries = has_entries
        self._levels: list[_Tile] = []
        self._leaves: list[bytes] = []  # the unfinished entries tile
        self._checked: set[str] = set()  # the partial tiles last seen
        self._suspects: dict[int, str] = {}  # leaf index -> the tile it differs from
        self._last_different = -1
        self.agrees = True  # with the last signed root
        self._agreed_at = 0

    def add(self, leaves: Sequence[bytes]) -> None:
        """Add the next leaves."""
        at = 0
        while at < len(leaves):
            fitting = leaves[at : at + TILE_WIDTH - self.size % TILE_WIDTH]
            at += len(fitting)
            self.size += len(fitting)
            self._leaves += fitting
            self._push(0, [sha256(b"\x00" + leaf).digest() for leaf in fitting])

    def root(self) -> bytes:
        """Compute the root: the smallest complete subtree joins the next larger one, and so on."""
        peaks = self._peaks()
        if not peaks:
            return sha256().digest()
        found = peaks.pop()
        while peaks:
            found = sha256(b"\x01" + peaks.pop() + found).digest()
        return found

    def frontier(self) -> bytes:
        """Encode the size and the complete subtrees, largest first, as the sequencer keeps them."""
        return self.size.to_bytes(8, "big") + b"".join(self._peaks())

    def _peaks(self) -> list[bytes]:
        return [peak for tile in reversed(self._levels) for peak in tile.peaks()]

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
        for level, tile in enumerate(self._levels):
            if tile.row:
                number = self.size >> TILE_HEIGHT * (level + 1)
                checked.add(self._check(level, number, tile.row))
        self._checked = checked

    def _push(self, level: int, hashes: Sequence[bytes]) -> None:
        """Add hashes to a level's tile, which has room for them."""
        if level == len(self._levels):
            self._levels.append(_Tile())
        tile = self._levels[level]
        tile.row += hashes
        if len(tile.row) < TILE_WIDTH:
            return
        number = (self.size >> TILE_HEIGHT * (level + 1)) - 1
        if self.size <= self._published:
            self._check(level, number, tile.row)
        if level == 0:
            self._leaves = []
        self._levels[level] = _Tile()
        self._push(level + 1, [tile.root()])

    def _check(self, level: int, number: int, row: Sequence[bytes]) -> str:
        path = tile_path(level, number, len(row))
        if self._tiles is not None and path not in self._checked:
            self._compare(self._tiles, path, level, number, row)
            if level == 0 and not self._has_entries:
                entries = [_after_length(leaf) for leaf in self._leaves]
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


def _after_length(leaf: bytes) -> bytes:
    """Write a leaf as a tile of entries has it; one that is too long for a tile is in none."""
    return (len(leaf).to_bytes(2, "big") if len(leaf) <= MAX_LEAF_BYTES else b"") + leaf


def _first_difference(chunks: Sequence[bytes], data: bytes) -> int | None:
    """Find the first chunk that `data` does not repeat in place; the last one if only more follows."""
    if b"".join(chunks) == data:
        return None
    at = 0
    for number, chunk in enumerate(chunks):
        if data[at : at + len(chunk)] != chunk:
            return number
        at += len(chunk)
    return None if at == len(data) else len(chunks) - 1
