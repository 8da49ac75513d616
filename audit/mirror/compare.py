"""The log compared with its mirror: the walk of `audit.log.verify`, with checkpoints that the log's keeper cannot
change.

Finds what no walk of the log alone can: a log rewritten from scratch with our own keys, a rolled-back database, a
missing tail, a forked log. Where the mirror has the leaves as well, it names the first leaf that differs.

- Every kept checkpoint is compared with the leaves, not the newest alone: somebody with the keys and the bucket could
  have had the newest ones kept.
- A kept checkpoint that is not signed by the log's key, or for another size than its name says, proves nothing: it is
  reported, not believed.
- The kept checkpoints are read before the log, so a log that grows meanwhile raises no false alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import Protocol

from sqlalchemy import Connection, select

from audit.entry import CanonicalError, parse_leaf
from audit.log.tables import audit_entries
from audit.log.verify import Tell, Verdict, untold, verify_database, verify_folder
from audit.mirror.store import MirrorStore, checkpoint_path
from audit.tlog.checkpoint import NoteError, Verifier, open_checkpoint
from audit.tlog.merkle import leaf_hash
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    TileError,
    TileMissingError,
    TileSource,
    decode_entries,
    entries_path,
)

_AT_ONCE = 16  # requests to a bucket; a note is a few hundred bytes and a round trip
_PAGE = 1000


class Log(Protocol):
    """A log, as far as its reader can see it."""

    def walk(self, notes: Sequence[str]) -> Verdict:
        """Read the whole log and compare these checkpoints with it."""

    def hashes(self) -> Iterable[bytes]:
        """Yield the hashes of its leaves, in order."""


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """The log on record, with its tiles. `connection` must have read nothing yet in its transaction."""

    connection: Connection
    verifier: Verifier
    tiles: TileSource | None
    tell: Tell = untold

    def walk(self, notes: Sequence[str]) -> Verdict:
        return verify_database(self.connection, self.verifier, self.tiles, notes, self.tell)

    def hashes(self) -> Iterator[bytes]:
        index = audit_entries.c.leaf_index
        for start in count(0, _PAGE):
            page = select(audit_entries.c.leaf).where(index >= start, index < start + _PAGE).order_by(index)
            leaves = self.connection.execute(page).scalars().all()
            for leaf in leaves:
                yield leaf_hash(leaf if isinstance(leaf, bytes) else str(leaf).encode())
            if len(leaves) < _PAGE:
                return


@dataclass(frozen=True, slots=True)
class MirroredLog:
    """The log in its published tiles, or in a mirror's: needs no database."""

    tiles: TileSource
    verifier: Verifier
    tell: Tell = untold

    def walk(self, notes: Sequence[str]) -> Verdict:
        return verify_folder(self.tiles, self.verifier, notes, self.tell)

    def hashes(self) -> Iterator[bytes]:
        try:
            size = open_checkpoint(self.tiles.get(CHECKPOINT_PATH).decode(), self.verifier).size
        except (TileMissingError, ValueError):
            return
        yield from map(leaf_hash, mirrored_leaves(self.tiles, 0, size))


@dataclass(frozen=True, slots=True)
class Kept:
    """The kept checkpoints of this log, by size, and a sentence on each that is not one."""

    notes: Mapping[int, str]
    strange: tuple[str, ...]

    @property
    def newest(self) -> int:
        """The size of the newest; 0 if there is none."""
        return max(self.notes, default=0)


@dataclass(frozen=True, slots=True)
class MirrorVerdict:
    """The result of a comparison: the `walk` of the log and the kept checkpoints, and the difference, if any."""

    walk: Verdict
    held: int
    """How many kept checkpoints were compared with the log."""
    kept: int
    """The size of the newest of them; 0 if there is none."""
    missing: range
    """Leaves that the mirror has and the log lacks: its tail."""
    lost: Mapping[str, int]
    """The actions of the missing tail, with their counts."""
    first_other: int | None
    """The first leaf that differs from the mirror's."""
    disturbed: tuple[str, ...]
    """What somebody did to the mirror."""

    @property
    def good(self) -> bool:
        return self.walk.good and not self.missing and self.first_other is None and not self.disturbed

    def sentences(self) -> Iterator[str]:
        """Say what is wrong, for people, the most telling first."""
        if self.first_other is not None:
            yield f"leaf {self.first_other} differs from the one witnessed: the log was rewritten from there on"
        if self.missing:
            first, last = self.missing.start, self.missing.stop - 1
            told = ", ".join(f"{times} {action}" for action, times in sorted(self.lost.items()))
            yield (
                f"leaves {first} to {last} are in the witness but not in the log: its tail is missing"
                + (f" ({told})" if told else "")
            )
        yield from (problem.what for problem in self.walk.problems)
        yield from self.disturbed


def hold_to_witness(log: Log, witness: MirrorStore, kept: Kept) -> MirrorVerdict:
    """Walk the log with the mirror's checkpoints, which must have been read first; say where they differ."""
    walked = log.walk(list(kept.notes.values()))
    missing = range(walked.leaves, max(walked.leaves, kept.newest))
    return MirrorVerdict(
        walk=walked,
        held=len(kept.notes),
        kept=kept.newest,
        missing=missing,
        lost=lost_actions(witness, missing),
        first_other=None if walked.good else _first_different(log, witness, kept.newest),
        disturbed=(*kept.strange, *witness.disturbed()),
    )


def read_kept(witness: MirrorStore, verifier: Verifier) -> Kept:
    """Read the checkpoints that the mirror keeps."""
    own, strange = {}, []
    for size, note in _notes(witness):
        try:
            signed = open_checkpoint(note, verifier).size
        except NoteError as error:
            strange.append(f"{checkpoint_path(size)} in the witness does not verify: {error}")
            continue
        if signed == size:
            own[size] = note
        else:
            strange.append(f"{checkpoint_path(size)} in the witness is signed for a size of {signed}")
    return Kept(own, tuple(strange))


def _notes(witness: MirrorStore) -> Iterator[tuple[int, str]]:

    def read(size: int) -> tuple[int, str]:
        return size, witness.get(checkpoint_path(size)).decode(errors="replace")

    sizes = witness.sizes()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(sizes, 1000)):
            yield from pool.map(read, some)


def mirrored_leaves(source: TileSource, start: int, size: int) -> Iterator[bytes]:
    """Yield the leaves from `start` on, under the checkpoint at `size`; ends where something is missing."""
    for first in range(start - start % TILE_WIDTH, size, TILE_WIDTH):
        path = entries_path(first // TILE_WIDTH, min(TILE_WIDTH, size - first))
        try:
            yield from decode_entries(source.get(path))[max(0, start - first) :]
        except (TileMissingError, TileError):
            return


def lost_actions(witness: MirrorStore, missing: range) -> dict[str, int]:
    """Count the actions of the missing tail."""
    counts: dict[str, int] = {}
    for leaf in mirrored_leaves(witness, missing.start, missing.stop) if missing else ():
        try:
            action = parse_leaf(leaf)["action"]
        except CanonicalError:
            continue
        counts[action] = counts.get(action, 0) + 1
    return counts


def _first_different(log: Log, witness: MirrorStore, kept: int) -> int | None:
    theirs = map(leaf_hash, mirrored_leaves(witness, 0, kept))
    for index, (our, their) in enumerate(zip(log.hashes(), theirs, strict=False)):
        if our != their:
            return index
    return None
