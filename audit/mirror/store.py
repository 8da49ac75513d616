"""A mirror: a place outside the log that keeps its signed checkpoints and tiles. Pure.

It keeps what the log once said, so that the log cannot say otherwise later; messages call it the witness, as pages for
users do. What is kept, under names of one log:
- `checkpoint/000/000/000/000/020/852/163`: signed checkpoints, one a size (here 20,852,163). The names sort by
  size, and a folder has a thousand members at most, so the newest of millions is seven listings away.
- `tile/...`: the tiles and entries under these checkpoints, named as in the log (audit.tlog.tile_store).
A checkpoint is kept after its tiles, so anybody who finds one can rebuild and check the whole log from the mirror
alone.

What it can show, as far as its keeper cannot be made to forget (the adapters say how far that is):
- a log rewritten with our own keys: a kept checkpoint does not follow from its leaves;
- a database rolled back, a missing tail: a kept checkpoint is of a longer log, and the tail's leaves are there;
- a split view: the log shows others a tree that the kept one is not part of.
What it cannot show: what was changed before it was kept (`Mirror.lag`), and what was never logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Protocol

from audit.tlog.tile_store import CHECKPOINT_PATH, TileSource

CHECKPOINTS = "checkpoint/"
MAX_SIZE = 2**63 - 1
_GROUPS = 7
_NAME = re.compile(CHECKPOINTS + "/".join(["([0-9]{3})"] * _GROUPS), re.ASCII)


class MirrorError(Exception):
    """A mirror that cannot be used as it should be; the text says what to do."""


class MirrorUnavailableError(MirrorError):
    """A mirror that does not respond now: the operation may have happened or not, and can be tried again."""


class MirrorConflictError(MirrorError):
    """A mirror that keeps other bytes under this name: there are two histories."""


class MirrorStore(TileSource, Protocol):
    """The contract of a mirror, held by tests/contracts/witness_contract.py.

    - First come: the first bytes kept under a path are what `get` returns for ever, whatever came later.
    - Errors: `MirrorUnavailableError`, and those named at the methods. `get` raises `TileMissingError`.
    - Safe from many threads and processes at once.
    """

    @property
    def place(self) -> str:
        """The place of the mirror, for people."""

    def keep(self, path: str, data: bytes) -> None:
        """Keep bytes, durable and locked on return. The same bytes again change nothing; others are a conflict."""

    def sizes(self, start: int = 0) -> Iterator[int]:
        """Yield the sizes of the kept checkpoints, from `start` on, ascending."""

    def newest(self) -> int | None:
        """Return the largest of them, if any."""

    def time(self) -> datetime | None:
        """Return the time by the mirror's own clock; None if it has none but this machine's."""

    def disturbed(self) -> Iterator[str]:
        """Find attempts to overwrite or delete what is kept, a sentence each. Reads through everything."""

    def inspect(self) -> list[str]:
        """Say what is wrong with the place and which setting to change, a sentence each; empty when it is reliable."""


class MirrorTiles:
    """A mirror's tiles, read as a log that ends at one of its checkpoints."""

    def __init__(self, witness: MirrorStore, size: int) -> None:
        self._witness = witness
        self._checkpoint = checkpoint_path(size)

    def get(self, path: str) -> bytes:
        return self._witness.get(self._checkpoint if path == CHECKPOINT_PATH else path)


def checkpoint_path(size: int) -> str:
    """Return the path of the checkpoint of a log of `size` entries."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"{size} is not the size of a log: it must be 0 to {MAX_SIZE}")
    digits = f"{size:0{3 * _GROUPS}d}"
    return CHECKPOINTS + "/".join(digits[at : at + 3] for at in range(0, len(digits), 3))


def size_in(path: str) -> int | None:
    """Return the size that a checkpoint's path names; None for any other path."""
    found = _NAME.fullmatch(path)
    return int("".join(found.groups())) if found else None


def kept_sizes(
    children: Callable[[str], Iterable[str]], start: int = 0, *, largest_first: bool = False
) -> Iterator[int]:
    """Yield the kept sizes from `start` on, in order. `children(folder)`: the names in it, a folder's with a slash."""
    lowest = checkpoint_path(start)

    def walk(folder: str) -> Iterator[int]:
        for name in sorted(children(folder), reverse=largest_first):
            path = folder + name
            if path < lowest[: len(path)]:
                continue
            size = size_in(path)
            if path.endswith("/"):
                yield from walk(path)
            elif size is not None:
                yield size

    return walk(CHECKPOINTS)
