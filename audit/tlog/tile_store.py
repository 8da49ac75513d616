"""The tree as static files: C2SP tlog-tiles. What a mirror copies and an outsider verifies.

- `tile/<L>/<N>`: 256 hashes of the tree's level 8 * L, from number 256 * N on; `.p/<W>` after it is a partial
  tile, its first W hashes. `tile/entries/<N>[.p/<W>]`: the leaves, each after its length (uint16, big-endian).
  N is written in groups of three digits, all but the last with an x: 1234067 is x001/x234/067.
- A path's bytes never change, for a leaf never changes; writing them again writes the same. Only `checkpoint` and
  `checkpoint.cosigned` change. `checkpoint` is written last: whoever reads it finds every tile it needs.
- `refuse_change` is what every store holds its writers to, also one that was suspended and lost its lock meanwhile:
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
    """The store has nothing at this path."""


class TileError(ValueError):
    """A tile's bytes are not in the form of a tile."""


class TileConflictError(RuntimeError):
    """What is stored must not give way to what was to be put: `refuse_change`."""


class TilesUnavailableError(RuntimeError):
    """The store does not answer, or refuses; the text says why. May be tried again."""


class TileSource(Protocol):
    """Where tiles are read: the log's own store, a mirror, a witness.

    `get` returns the bytes at a path, or raises `TileMissingError`; any other error may be tried again.
    """

    def get(self, path: str) -> bytes: ...


class TileStore(TileSource, Protocol):
    """Where tiles live: written by one sequencer, read by anybody.

    - `put` has made the bytes durable when it returns, and replaces the whole object at once: a reader sees the
      bytes before or the bytes after. Repeating it changes nothing. `TileConflictError` changes nothing; if it raises
      anything else, they may be there or not.
    - `get` returns the last bytes put.
    """

    def put(self, path: str, data: bytes) -> None: ...

    def check(self) -> None:
        """`TilesUnavailableError` unless the checkpoint can be read (there may be none yet) and, in a local folder, a
        tile be written."""


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    return f"tile/{level}/{_number(index)}{_partial(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    return f"tile/entries/{_number(index)}{_partial(width)}"


def refuse_change(
    path: str, stored: bytes | None, data: bytes, published: Callable[[], bytes | None]
) -> None:
    """TileConflictError when `data` must not take the place of `stored`; `published` gives the checkpoint."""
    if stored is None or stored == data:
        return
    if path in NOTES:
        if _claimed(stored) > _claimed(data):
            raise TileConflictError(
                f"a {path} of {_claimed(stored)} entries is there, one of {_claimed(data)} was put"
            )
        return
    size, note = leaves_under(path), published()
    if size is not None and note is not None and size <= _claimed(note):
        raise TileConflictError(f"{path} is under the published checkpoint: its bytes never change")


def leaves_under(path: str) -> int | None:
    """How many leaves the smallest tree has that has this tile; None for what is no tile."""
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
        raise TileConflictError("what is stored, or was put, as a checkpoint is none") from None


def touched(old: int, new: int) -> list[tuple[int, int]]:
    """Number and width of each tile of a level that growing from `old` to `new` hashes writes."""
    numbers = range(old // TILE_WIDTH, -(-new // TILE_WIDTH)) if new > old else range(0)
    return [(number, min(TILE_WIDTH, new - number * TILE_WIDTH)) for number in numbers]


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The node over a power of two of nodes: what a full tile is one level above."""
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def encode_entries(leaves: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(leaf)) + leaf for leaf in leaves)


def decode_entries(data: bytes) -> list[bytes]:
    leaves, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise TileError("an entries tile ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        leaf = data[at : at + length]
        if len(leaf) != length:
            raise TileError("an entries tile ends within a leaf")
        leaves.append(leaf)
        at += length
    return leaves


class TileReader:
    """`get_node` for a tree of `size` leaves, whose checkpoint is published, over its tiles."""

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
        """The hashes of one tile, as many as this tree has."""
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
    """The root of the tree of this size, when all tiles at its right edge are there; TileMissingError otherwise.

    A store that was restored from before lacks just these: the edge of each tree is newer than any tree before it.
    """
    if size:
        number = (size - 1) // TILE_WIDTH
        store.get(entries_path(number, size - number * TILE_WIDTH))
    return root(size, TileReader(store, size).get_node)


def lacks_edge(store: TileSource, size: int) -> bool:
    """Whether a tile at the right edge of the tree of this size is missing."""
    try:
        read_edge(store, size)
    except TileMissingError:
        return True
    return False


_PROBE = 1 << 14
"""Bytes of a full tile with its entries, about."""


class LocalTileStore:
    """Tiles in a folder, readable by its owner only, and written by nobody once they are there.

    One writer at a time looks and writes: a file lock on the folder. The notes, which change, may be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, path: str, data: bytes) -> None:
        with self._alone():
            refuse_change(path, self._stored(path), data, lambda: self._stored(CHECKPOINT_PATH))
            replace_file(self._folder / path, data, 0o600 if path in NOTES else 0o400)

    def _stored(self, path: str) -> bytes | None:
        try:
            return self.get(path)
        except TileMissingError:
            return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody writes or publishes between the look at what is there and the write."""
        make_folder(self._folder)
        with alone_in(self._folder):
            yield

    def check(self) -> None:
        probe = self._folder / f".probe-{os.urandom(8).hex()}"
        try:
            make_folder(self._folder)
            self._stored(CHECKPOINT_PATH)
            probe.write_bytes(bytes(_PROBE))  # its bytes too: a full disk still makes names
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
        raise ValueError(f"a tile is 1 to {TILE_WIDTH} wide")
    return "" if width == TILE_WIDTH else f".p/{width}"
