"""The entry of an opening: read back before the first byte, and followed into the signed tree (P3).

Rules:
- After the commit another transaction reads it back: leaf, particulars, salt and every column must be as written, and
  no later act of the log may contradict what the opening is based on. Otherwise nothing is opened.
- A writer of the database could delete it again before the sequencer runs. So each process remembers the entries it
  committed until it finds them under a signed checkpoint, in tiles that the database's writer cannot reach. A vanished
  entry is written again, as it was; a changed one cannot be, and the entry of its loss says what it had been.
- Reading back is not a second durable write.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from audit.entry import Action, Entry, Outcome
from audit.log import append
from audit.log.tables import audit_entries
from audit.mirror.copying import published_checkpoint
from audit.tlog.checkpoint import NoteError, Verifier
from audit.tlog.merkle import leaf_hash
from audit.tlog.tile_store import TILE_WIDTH, TileError, TileMissingError, TileReader, TileStore
from retention.custody.access.bound_access import NEWEST_ACT, NEWEST_PLACE, Altered, refuse_earlier
from retention.domain.actor import CLOCK
from retention.domain.faults import Unavailable
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import Binding
from retention.records.tables import case_access
from retention.records.unit_of_work import Records

LOG = logging.getLogger(__name__)
NOT_KEPT = "entry-not-kept"
AT_ONCE = 200
_BOUND = case_access.c.case_id == bindparam("case")
# One statement: it stands between the commit and the first byte of every read.
_CONFIRM = select(
    *(audit_entries.c[name] for name in append.WRITTEN),
    select(case_access.c.version).where(_BOUND).scalar_subquery().label("version"),
    select(case_access.c.entry_id).where(_BOUND).scalar_subquery().label("bound_by"),
    NEWEST_ACT.scalar_subquery().label("newest_act"),
    NEWEST_PLACE.scalar_subquery().label("newest_place"),
).where(audit_entries.c.entry_id == bindparam("id"))
_STANDING = select(audit_entries.c.entry_id, audit_entries.c.leaf_index, audit_entries.c.leaf)


class EntryNotKept(Unavailable):
    """An opening's entry that is not as it was written: nothing is opened."""

    def __init__(self) -> None:
        super().__init__(
            "the log did not keep the entry of this opening as it was written; nothing is opened until an "
            "administrator has looked: see `casevault doctor`",
            reason=NOT_KEPT,
        )


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses found among the opening entries."""

    again: int = 0
    """Number that had vanished, and were written again."""
    changed: int = 0

    @property
    def any(self) -> bool:
        return bool(self.again or self.changed)


class Openings:
    """The opening entries of this process that are not known to be in the signed tree. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Entry] = {}
        self.lost = 0
        """Number found vanished or changed since the process began."""

    def __len__(self) -> int:
        return len(self._waiting)

    def follow(self, opened: Entry) -> None:
        """Remember the entry until `look` finds it in the tree."""
        with self._lock:
            self._waiting[opened.id] = opened

    def look(self, records: Records, tiles: TileStore, log_key: Verifier) -> Losses:
        """Check the remembered entries against the log; write those again that have vanished."""
        with self._lock:
            waiting = dict(self._waiting)
        found = [self._look(records, some, _Tree(tiles, log_key)) for some in _batches(waiting)]
        return Losses(sum(each.again for each in found), sum(each.changed for each in found))

    def _look(self, records: Records, some: Mapping[str, Entry], tree: _Tree) -> Losses:
        with records.read() as reads:
            rows = reads.execute(_STANDING.where(audit_entries.c.entry_id.in_(some))).all()
        standing = {row.entry_id: row for row in rows}
        gone = [opened for id_, opened in some.items() if id_ not in standing]
        changed = [some[row.entry_id] for row in rows if bytes(row.leaf) != some[row.entry_id].leaf()]
        held = [
            row.entry_id
            for row in rows
            if row.leaf_index is not None and tree.holds(row.leaf_index, some[row.entry_id].leaf())
        ]
        if gone or changed:
            LOG.critical(
                "the log lost entries of openings: %s vanished, %s were changed",
                [one.id for one in gone],
                [one.id for one in changed],
            )
            losses = [_loss(one, "vanished") for one in gone] + [_loss(one, "changed") for one in changed]
            records.write(lambda tx: tx.audit(*gone, *losses))
        with self._lock:
            self.lost += len(gone) + len(changed)
            for id_ in [*held, *(one.id for one in changed)]:
                self._waiting.pop(id_, None)
        return Losses(len(gone), len(changed))


class _Tree:
    """The log's leaves under its newest published checkpoint, read when first needed."""

    def __init__(self, tiles: TileStore, log_key: Verifier) -> None:
        self._tiles, self._log_key = tiles, log_key
        self._reader: tuple[int, TileReader] | None = None

    def holds(self, index: int, leaf: bytes) -> bool:
        """Return True if the tree has this leaf at `index`; False while it is not signed so far."""
        try:
            size, reader = self._reader or self._open()
            if index >= size:
                return False
            return reader.hashes(0, index // TILE_WIDTH)[index % TILE_WIDTH] == leaf_hash(leaf)
        except (TileMissingError, TileError, NoteError):
            return False

    def _open(self) -> tuple[int, TileReader]:
        published = published_checkpoint(self._tiles, self._log_key)
        size = 0 if published is None else published.size
        self._reader = size, TileReader(self._tiles, size)
        return self._reader


def confirm(records: Records, binding: Binding, opened: Entry, case_id: str, version: int) -> None:
    """Check that the committed entry is as written, and that the log knows of no later act than the one that bound the
    case at `version`. EntryNotKept; Altered."""
    with records.read() as reads:
        values = {"id": opened.id, "case": case_id, "bundle": opened.bundle}
        row = reads.execute(_CONFIRM, values).first()
    if row is None or tuple(row[: len(append.WRITTEN)]) != append.row_of(opened):
        LOG.critical("the entry %s is not as it was written", opened.id)
        raise EntryNotKept
    if row.newest_place not in (None, case_id):
        raise Altered(f"bundle {opened.bundle} was put back where it had been before")
    refuse_earlier(binding, case_id, version, row.version, row.newest_act == row.bound_by)


def stands(reads: Any, opened: Entry) -> bool:
    """Return True while the entry is in the log as written; redaction removes its particulars only."""
    row = reads.execute(_STANDING.where(audit_entries.c.entry_id == opened.id)).first()
    return row is not None and bytes(row.leaf) == opened.leaf()


def _loss(opened: Entry, how: str) -> Entry:
    return Entry(
        id=new_id(Kind.ENTRY),
        at=opened.at,
        action=Action.ENTRY_LOST,
        outcome=Outcome.FAILED,
        reason=how,
        actor=CLOCK.id,
        actor_kind=CLOCK.kind,
        tenant=opened.tenant,
        case=opened.case,
        bundle=opened.bundle,
        subject=opened.id,
        details={
            "action": opened.action.value,
            "actor": opened.actor,
            "grant": opened.subject or "",
            "leaf": leaf_hash(opened.leaf()).hex(),
        },
    )


def _batches(waiting: Mapping[str, Entry]) -> Iterator[Mapping[str, Entry]]:
    ids = list(waiting)
    for start in range(0, len(ids), AT_ONCE):
        yield {id_: waiting[id_] for id_ in ids[start : start + AT_ONCE]}
