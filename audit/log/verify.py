"""The walker: checks that the log is what was signed, and names the first bad leaf and its fault.

It reads in one pass and in constant memory, and checks, in the order of the leaves:
1. leaf indexes are contiguous from 0, up to the largest signed size;
2. each leaf is in canonical form;
3. each row's columns agree with its leaf;
4. particulars, unless redacted, are those the leaf binds;
5. each checkpoint (on record, published, witnessed) is signed by the given key, its root follows from the leaves,
   and the recorded ones grow with time;
6. each tile holds what the leaves lead to;
7. the sequencer's frontier is that of the leaves.
A key holder who rewrites the whole log passes all of them: only checkpoints kept elsewhere (`witnessed`) show that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from audit.entry import CanonicalError
from audit.leaf_reader import LeafReader, are_plain
from audit.log.row_check import CHECKED, RowCheck
from audit.log.tables import audit_checkpoints, audit_entries, audit_tree, fetch_tuples
from audit.tlog.checkpoint import Checkpoint, NoteError, Verifier, open_checkpoint
from audit.tlog.rebuild import Findings, Problem, Rebuild
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    TileError,
    TileMissingError,
    TileSource,
    decode_entries,
    entries_path,
)

_READ_AT_ONCE = 4 * TILE_WIDTH
Tell = Callable[[int, int], None]
"""Told, again and again, how many leaves have been read, and how many there are."""


def untold(_read: int, _leaves: int) -> None:
    """Tell nobody how far a walk is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a walk: how much was read, and what was wrong, in the order of the log."""

    leaves: int
    checkpoints: int
    problems: tuple[Problem, ...]
    redacted: int = 0
    """How many entries are redacted; known where the rows are read."""

    @property
    def good(self) -> bool:
        return not self.problems


class LogBrokenError(RuntimeError):
    """A log that does not hold together; the text says where."""


class _Signed(NamedTuple):
    size: int
    root: bytes
    name: str
    has_tiles: bool


def verify_database(
    connection: Connection,
    verifier: Verifier,
    tiles: TileSource | None = None,
    witnessed: Sequence[str] = (),
    tell: Tell = untold,
) -> Verdict:
    """Walk the rows, and the tiles if given. `connection` must have read nothing yet in its transaction.

    A log that grows meanwhile is read up to its size at the start.
    """
    findings = Findings()
    # First: a checkpoint read after the rows could cover leaves added in between.
    published = None if tiles is None else _read_published(tiles)
    tree = connection.execute(select(audit_tree)).first()
    recorded = connection.execute(select(func.max(audit_checkpoints.c.size))).scalar() or 0
    outside = [_open(note, "the witnessed checkpoint", verifier, findings) for note in witnessed]
    if tiles is not None and (recorded or published is not None):
        outside.append(_open_published(published, verifier, findings))
    known = sorted(signed for signed in outside if signed is not None)
    signed = merge(_recorded(connection, recorded, verifier, findings), known)
    end = max(recorded, tree.size if tree is not None else 0)
    leaves = _rows(connection, end, findings)
    return _walk(leaves, end, signed, Rebuild(tiles, recorded, findings), tree, findings, tell)


def verify_folder(
    tiles: TileSource, verifier: Verifier, witnessed: Sequence[str] = (), tell: Tell = untold
) -> Verdict:
    """Walk a mirror: its entries, its tiles, its checkpoint. Needs no database."""
    findings = Findings()
    published = _open_published(_read_published(tiles), verifier, findings)
    size = 0 if published is None else published.size
    outside = [_open(note, "the witnessed checkpoint", verifier, findings) for note in witnessed]
    signed = sorted(signed for signed in (published, *outside) if signed is not None)
    leaves = _mirrored(tiles, size, findings)
    rebuild = Rebuild(tiles, size, findings, has_entries=True)
    return _walk(leaves, size, iter(signed), rebuild, None, findings, tell)


def _walk(
    runs: Iterator[list[bytes]],
    end: int,
    signed: Iterator[_Signed],
    rebuild: Rebuild,
    tree: Row[Any] | None,
    findings: Findings,
    tell: Tell,
) -> Verdict:
    """Walk leaves and signed roots side by side, both in order of size; there must be `end` leaves."""
    held, leaves = 0, _Leaves(runs, rebuild, tree, findings, lambda read: tell(read, end))
    for due in signed:
        end = max(end, due.size)
        leaves.add_until(due.size)
        if rebuild.size == due.size:
            _hold(due, rebuild)
        held += 1
    leaves.add_until(None)
    rebuild.settle(agrees=False)
    if rebuild.size < end:  # 1
        what = f"leaf {rebuild.size} is missing: {end} leaves were sequenced"
        findings.add(rebuild.size, rebuild.size, what)
    return Verdict(rebuild.size, held, findings.in_order(), findings.redacted)


class _Leaves:
    """The leaves on their way into the tree that is rebuilt, which stops at the sequencer's frontier to compare it."""

    def __init__(
        self,
        runs: Iterator[list[bytes]],
        rebuild: Rebuild,
        tree: Row[Any] | None,
        findings: Findings,
        tell: Callable[[int], None],
    ) -> None:
        self._runs, self._rebuild, self._tree, self._findings = runs, rebuild, tree, findings
        self._tell = tell
        self._run: list[bytes] = []

    def add_until(self, size: int | None) -> None:
        """Add leaves until the tree has this size, or all that there are."""
        tree = self._tree
        if tree is not None and self._rebuild.size < tree.size and (size is None or tree.size <= size):
            self._add(tree.size)
            if (
                self._rebuild.size == tree.size
                and self._rebuild.agrees
                and tree.frontier != self._rebuild.frontier()  # 7
            ):
                what = "the sequencer's frontier does not follow from the leaves"
                self._findings.add(tree.size, None, what)
        self._add(size)

    def _add(self, size: int | None) -> None:
        while size is None or self._rebuild.size < size:
            if not self._run:
                self._run = next(self._runs, [])
                if not self._run:
                    return
            fitting = len(self._run) if size is None else size - self._rebuild.size
            self._rebuild.add(self._run[:fitting])
            self._run = self._run[fitting:]
            self._tell(self._rebuild.size)


def _hold(due: _Signed, rebuild: Rebuild) -> None:  # 5, 6
    if due.has_tiles:
        rebuild.check_partial_tiles()
    rebuild.hold_to(due.root, due.name)


def _rows(connection: Connection, end: int, findings: Findings) -> Iterator[list[bytes]]:
    """Yield the leaves on record by pages, each row checked on its own; ends at the first gap."""
    index = audit_entries.c.leaf_index
    check, expected = RowCheck(), 0
    while expected < end:
        page = select(*CHECKED).where(index >= expected, index < end).order_by(index).limit(_READ_AT_ONCE)
        rows = fetch_tuples(connection, page)
        whole = next((at for at, row in enumerate(rows) if row[0] != expected + at), len(rows))
        rows = rows[:whole]
        findings.redacted += sum(row[5] is not None for row in rows)
        for at, what in check.problems(rows):
            findings.add(expected + at, expected + at, f"leaf {expected + at}: {what}")
        if not rows:
            return
        # SQLite allows text here.
        yield [row[1] if isinstance(row[1], bytes) else str(row[1]).encode() for row in rows]
        expected += len(rows)


def _recorded(connection: Connection, end: int, verifier: Verifier, findings: Findings) -> Iterator[_Signed]:
    """Yield the checkpoints on record by size; bad ones are reported and left out."""
    table = audit_checkpoints.c
    size, at_us = -1, None
    while True:
        page = select(audit_checkpoints).where(table.size > size, table.size <= end).order_by(table.size)
        rows = connection.execute(page.limit(_READ_AT_ONCE)).all()
        for row in rows:
            if at_us is not None and row.at_us < at_us:
                findings.add(row.size, None, f"the checkpoint at {row.size} is older than a smaller one")
            size, at_us = row.size, row.at_us
            signed = _open(row.note, "the checkpoint", verifier, findings, place=size)
            if signed is not None and signed.size == size:
                yield signed._replace(has_tiles=True)
            elif signed is not None:
                what = f"the checkpoint on record at {size} is signed for a size of {signed.size}"
                findings.add(size, None, what)
        if not rows:
            return


def signed_leaves(tiles: TileSource, verifier: Verifier) -> Iterator[tuple[int, bytes]]:
    """Yield every leaf under the published checkpoint with its index, from the tiles alone; none if none was published.

    Believe them only at the end: LogBrokenError when the checkpoint is not signed or does not follow from the leaves.
    """
    findings = Findings()
    note = _read_published(tiles)
    published = None if note is None else _open_published(note, verifier, findings)
    rebuild = Rebuild(None, 0, findings)
    for leaves in _mirrored(tiles, published.size if published else 0, findings):
        first = rebuild.size
        rebuild.add(leaves)
        yield from enumerate(leaves, first)
    if published is not None and rebuild.root() != published.root:
        findings.add(rebuild.size, None, "the published checkpoint does not follow from the leaves")
    if problems := findings.in_order():
        raise LogBrokenError(problems[0].what)


def _read_published(tiles: TileSource) -> str | None:
    try:
        return tiles.get(CHECKPOINT_PATH).decode(errors="replace")  # bytes that are not UTF-8 will not verify
    except TileMissingError:
        return None


def _open_published(note: str | None, verifier: Verifier, findings: Findings) -> _Signed | None:
    if note is None:
        findings.add(0, None, "the published checkpoint is missing")
        return None
    signed = _open(note, "the published checkpoint", verifier, findings)
    return None if signed is None else signed._replace(has_tiles=True)


def _open(note: str, name: str, verifier: Verifier, findings: Findings, place: int = 0) -> _Signed | None:
    try:
        checkpoint: Checkpoint = open_checkpoint(str(note), verifier)
    except NoteError as error:
        at = f" at {place}" if place else ""
        findings.add(place, None, f"{name}{at} does not verify: {error}")
        return None
    return _Signed(checkpoint.size, checkpoint.root, name, has_tiles=False)


def _mirrored(tiles: TileSource, size: int, findings: Findings) -> Iterator[list[bytes]]:
    """Yield the leaves in a mirror's entries tiles, a tile at a time."""
    reader = LeafReader()
    for start in range(0, size, TILE_WIDTH):
        width = min(TILE_WIDTH, size - start)
        path = entries_path(start // TILE_WIDTH, width)
        try:
            leaves = decode_entries(tiles.get(path))
        except TileMissingError:
            findings.add(start, start, f"{path} is missing")
            return
        except TileError as error:
            findings.add(start, start, f"{path} is damaged: {error}")
            return
        plain = are_plain(leaves)
        for at, leaf in enumerate(leaves[:width]):
            try:
                if not plain or reader.known(leaf) is None:
                    reader.learn(leaf)
            except CanonicalError as error:
                findings.add(start + at, start + at, f"leaf {start + at}: malformed: {error}")
        yield leaves[:width]
        if len(leaves) != width:
            findings.add(start, start, f"{path} holds {len(leaves)} leaves instead of {width}")
            return
