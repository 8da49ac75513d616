"""The tree as static files (C2SP tlog-tiles), copied by a mirror and verified by outsiders.

- `tile/<L>/<N>`: 256 hashes of the tree's level 8 * L, from number 256 * N on; `.p/<W>` after it is a partial
  tile, its first W hashes. `tile/entries/<N>[.p/<W>]`: the leaves, each after its length (uint16, big-endian).
  N is written in groups of three digits, all but the last with an x: 1234067 is x001/x234/067.
- A path's bytes never change, because a leaf never changes; writing them again writes the same. Only `checkpoint` and
  `checkpoint.cosigned` change. `checkpoint` is written last: its reader finds every tile it needs.
- Every store holds its writers to `refuse_change`, also a writer that was suspended and lost its lock meanwhile:
  a checkpoint gives way to none of a smaller tree, and a tile under the published checkpoint to no other bytes. A tile
  above it may change: it was never signed, and a database restored to just before it was written numbers anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from audit.durable import alone_in, make_folder, replace_file
from audit.tlog.checkpoint import NoteError, claimed_size
from audit.tlog.merkle import HASH_BYTES, node_hash, root

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
CHECKPOINT_PATH = "checkpoint"
COSIGNED_PATH = "checkpoint.cosigned"
NOTES = frozenset({CHECKPOINT_PATH, COSIGNED_PATH})
_LENGTH = struct.Struct(">H")
_TILE = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


class TileMissingError(LookupError):
    """A path at which the store has nothing."""


class TileError(ValueError):
    """Bytes that are not in the form of a tile."""


class TileConflictError(RuntimeError):
    """A write that must not replace what is stored: `refuse_change`."""


class TilesUnavailableError(RuntimeError):
    """A store that does not respond, or refuses; the text says why. It can be tried again."""


class TileSource(Protocol):
    """A place to read tiles from: the log's own store, a mirror.

    `get` returns the bytes at a path, or raises `TileMissingError`; any other error may be tried again.
    """

    def get(self, path: str) -> bytes: ...


class TileStore(TileSource, Protocol):
    """A log's own store of tiles: written by one sequencer, read by anybody.

    - `put` has made the bytes durable when it returns, and replaces the whole object atomically: a reader sees the
      old bytes or the new. Repeating it changes nothing. `TileConflictError` changes nothing; after any other error
      the new bytes may be there or not.
    - `get` returns the last bytes put.
    """

    def put(self, path: str, data: bytes) -> None: ...

    def check(self) -> None:
        """Raise `TilesUnavailableError` unless the checkpoint can be read (there may be none yet) and, in a local
        folder, a tile can be written."""


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of tile `index` of a tile level, `width` hashes wide."""
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of entries tile `index`, `width` leaves wide."""
    return f"tile/entries/{_number(index)}{_partial(width)}"


def refuse_change(
    path: str, stored: bytes | None, data: bytes, published: Callable[[], bytes | None]
) -> None:
    """Raise TileConflictError when `data` must not replace `stored`; `published` gives the checkpoint."""
    if stored is None or stored == data:
        return
    if path in NOTES:
        if _claimed(stored) > _claimed(data):
            raise TileConflictError(
                f"{path} is stored with {_claimed(stored)} entries: one with {_claimed(data)} must not replace it"
            )
        return
    size, note = leaves_under(path), published()
    if size is not None and note is not None and size <= _claimed(note):
        raise TileConflictError(f"{path} is under the published checkpoint: other bytes must not replace it")


def leaves_under(path: str) -> int | None:
    """Return the size of the smallest tree with this tile; None for a path that is not a tile's."""
    match = _TILE.fullmatch(path)
    if match is None:
        return None
    level, number, width = match.groups()
    height = 0 if level == "entries" else TILE_HEIGHT * int(level)
    first = int(number.replace("x", "").replace("/", "")) * TILE_WIDTH
    return (first + int(width or TILE_WIDTH)) << height


def _claimed(note: bytes) -> int:
    try:
        return claimed_size(note.decode())
    except (NoteError, UnicodeDecodeError):
        raise TileConflictError("the stored checkpoint or the new one is not a checkpoint") from None


def touched(old: int, new: int) -> list[tuple[int, int]]:
    """List the number and width of each tile of a level written by growing from `old` to `new` hashes."""
    numbers = range(old // TILE_WIDTH, -(-new // TILE_WIDTH)) if new > old else range(0)
    return [(number, min(TILE_WIDTH, new - number * TILE_WIDTH)) for number in numbers]


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Compute the node over a power of two of nodes: for a full tile, its hash in the tile above."""
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def encode_entries(leaves: Sequence[bytes]) -> bytes:
    """Encode leaves as an entries tile."""
    return b"".join(_LENGTH.pack(len(leaf)) + leaf for leaf in leaves)


def decode_entries(data: bytes) -> list[bytes]:
    """Decode an entries tile into leaves; TileError if it is malformed."""
    leaves, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise TileError("the entries tile ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        leaf = data[at : at + length]
        if len(leaf) != length:
            raise TileError("the entries tile ends within a leaf")
        leaves.append(leaf)
        at += length
    return leaves


class TileReader:
    """A reader of nodes (`get_node`) of a tree of `size` leaves, whose checkpoint is published, from its tiles."""

    def __init__(self, store: TileSource, size: int) -> None:
        self._store = store
        self._size = size
        self._load = lru_cache(maxsize=16)(self._read)

    def get_node(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, offset = divmod(index << height, TILE_WIDTH)
        hashes = self._load(tile_level, number)[offset : offset + (1 << height)]
        if len(hashes) != 1 << height:
            raise TileError(f"node {index} of level {level} is outside a tree of {self._size}")
        return subtree_root(hashes)

    def hashes(self, level: int, number: int) -> list[bytes]:
        """Read the hashes of one tile, as many as this tree has."""
        return list(self._load(level, number))

    def _read(self, level: int, number: int) -> list[bytes]:
        width = min(TILE_WIDTH, (self._size >> (TILE_HEIGHT * level)) - number * TILE_WIDTH)
        if width < 1:
            return []
        path = tile_path(level, number, width)
        data = self._store.get(path)
        if len(data) != width * HASH_BYTES:
            raise TileError(f"{path} does not hold {width} hashes")
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def read_edge(store: TileSource, size: int) -> bytes:
    """Compute the root of the tree of this size from the tiles at its right edge; TileMissingError if one is missing.

    A store restored from a back-up lacks just these: the edge of each tree is newer than any earlier tree.
    """
    if size:
        number = (size - 1) // TILE_WIDTH
        store.get(entries_path(number, size - number * TILE_WIDTH))
    return root(size, TileReader(store, size).get_node)


def lacks_edge(store: TileSource, size: int) -> bool:
    """Tell whether a tile at the right edge of the tree of this size is missing."""
    try:
        read_edge(store, size)
    except TileMissingError:
        return True
    return False


_PROBE = 1 << 14
"""About the bytes of a full tile with its entries."""


class LocalTileStore:
    """Tiles in a folder, readable by its owner only, and read-only once written; only the notes may change.

    A file lock on the folder lets one writer at a time check and write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, path: str, data: bytes) -> None:
        with self._lock_folder():
            refuse_change(path, self._stored(path), data, lambda: self._stored(CHECKPOINT_PATH))
            replace_file(self._folder / path, data, 0o600 if path in NOTES else 0o400)

    def _stored(self, path: str) -> bytes | None:
        try:
            return self.get(path)
        except TileMissingError:
            return None

    @contextlib.contextmanager
    def _lock_folder(self) -> Iterator[None]:
        """Lock the folder: nobody else writes or publishes between the check and the write."""
        make_folder(self._folder)
        with alone_in(self._folder):
            yield

    def check(self) -> None:
        probe = self._folder / f".probe-{os.urandom(8).hex()}"
        try:
            make_folder(self._folder)
            self._stored(CHECKPOINT_PATH)
            probe.write_bytes(bytes(_PROBE))  # with bytes: a full disk still makes names
        except OSError as error:
            raise TilesUnavailableError(
                f"tiles cannot be kept in {self._folder}: {error.strerror}"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def get(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            raise TileMissingError(path) from None


def _number(index: int) -> str:
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text


def _partial(width: int) -> str:
    if not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"a tile cannot be {width} wide: it must be 1 to {TILE_WIDTH}")
    return "" if width == TILE_WIDTH else f".p/{width}"
