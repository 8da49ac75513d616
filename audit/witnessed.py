"""The log held against its witness: the walk of `audit.verify` with checkpoints that the log's keeper cannot change.

Finds what no walk of the log alone can: a log rewritten from scratch with our own keys, a rolled-back database, a
missing tail, a forked log. Where the witness has the leaves as well, it says which leaf is the first that differs.
Every kept checkpoint is held against the leaves, not the newest alone: whoever had the keys and the bucket may have
had the newest ones kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, select

from audit.checkpoint import Verifier
from audit.entry import CanonicalError, parse_leaf
from audit.tables import audit_entries
from audit.tiles import TILE_WIDTH, TileError, TileMissingError, TileSource, decode_entries, entries_path
from audit.verify import Verdict, verify_database
from audit.witness import Witness, checkpoint_path

_AT_ONCE = 16  # requests to a bucket; a note is a few hundred bytes and a round trip


@dataclass(frozen=True, slots=True)
class WitnessVerdict:
    """`walk` is of the log and the kept checkpoints; the rest says what the difference is, where there is one."""

    walk: Verdict
    kept: int
    """The size of the newest checkpoint kept; 0 if none is."""
    missing: range
    """Leaves that the witness has and the log lacks: its tail."""
    first_other: int | None
    """The first leaf that is another than the witness keeps."""
    disturbed: tuple[str, ...]
    """What somebody did to the witness."""

    @property
    def good(self) -> bool:
        return self.walk.good and not self.missing and self.first_other is None and not self.disturbed

    def sentences(self) -> Iterator[str]:
        """What is wrong, for people, the most telling first."""
        if self.first_other is not None:
            yield f"leaf {self.first_other} is another than the one witnessed: the log was rewritten from there on"
        if self.missing:
            first, last = self.missing.start, self.missing.stop - 1
            yield f"leaves {first} to {last} stand in the witness and not in the log: its tail is missing"
        yield from (problem.what for problem in self.walk.problems)
        yield from self.disturbed


def verify_witnessed(
    connection: Connection, verifier: Verifier, tiles: TileSource | None, witness: Witness, since: int = 0
) -> WitnessVerdict:
    """Walk the log and hold every checkpoint kept from size `since` on against it.

    `connection` has read nothing yet in its transaction, so a log that grows meanwhile is no false alarm.
    """
    notes = dict(kept_notes(witness, since))
    walk = verify_database(connection, verifier, tiles, list(notes.values()))
    kept = max(notes, default=0)
    other = None
    if not walk.good and kept:
        other = _first_other(connection, witness, min(walk.leaves, kept), kept)
    return WitnessVerdict(
        walk=walk,
        kept=kept,
        missing=range(walk.leaves, max(walk.leaves, kept)),
        first_other=other,
        disturbed=tuple(witness.disturbed()),
    )


def kept_notes(witness: Witness, since: int = 0) -> Iterator[tuple[int, str]]:
    """The checkpoints kept from size `since` on, smallest first, as they were signed."""

    def read(size: int) -> tuple[int, str]:
        return size, witness.get(checkpoint_path(size)).decode(errors="replace")

    sizes = witness.sizes(since)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(sizes, 1000)):
            yield from pool.map(read, some)


def witnessed_leaves(witness: Witness, start: int, size: int) -> Iterator[bytes]:
    """The leaves from `start` on, as kept under the checkpoint at `size`; ends where something is missing."""
    for first in range(start - start % TILE_WIDTH, size, TILE_WIDTH):
        path = entries_path(first // TILE_WIDTH, min(TILE_WIDTH, size - first))
        try:
            yield from decode_entries(witness.get(path))[max(0, start - first) :]
        except (TileMissingError, TileError):
            return


def lost_actions(witness: Witness, missing: range) -> dict[str, int]:
    """What happened in the missing tail, and how often."""
    counts: dict[str, int] = {}
    for leaf in witnessed_leaves(witness, missing.start, missing.stop):
        try:
            action = parse_leaf(leaf)["action"]
        except CanonicalError:
            continue
        counts[action] = counts.get(action, 0) + 1
    return counts


def _first_other(connection: Connection, witness: Witness, end: int, kept: int) -> int | None:
    ours = _leaves(connection, end)
    theirs = witnessed_leaves(witness, 0, kept)
    for index, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            return index
    return None


def _leaves(connection: Connection, end: int) -> Iterator[bytes]:
    index = audit_entries.c.leaf_index
    page = select(audit_entries.c.leaf)
    for start in range(0, end, 1000):
        rows = page.where(index >= start, index < min(end, start + 1000)).order_by(index)
        yield from connection.execute(rows).scalars()
