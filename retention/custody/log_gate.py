"""The gate: nothing is opened until the records are known to be as new as the log (P6).

A database restored from a back-up gives back what was revoked since, and cannot know it: only copies outside it can
tell. Rules:
- No plaintext leaves while a copy of the log has more entries than the database has numbered. The copies are the
  published checkpoint, read again every FRESH_SECONDS, and the mirror, asked once in each process. Reconciling ends in
  the records what the log says ended BEFORE it puts the log's tail back: a database as long as its copies lacks no end.
- Every transaction that opens a bundle must hold as much of the log as the process has ever seen, so a database
  restored under a running process is found.
- A mirror that has not responded in this process shuts reading. An administrator can waive it, for a time, by an entry
  (`witness.waived`) that every process finds in the log. It counts until its time is over or the mirror has responded
  to a process that reconciles (`witness.resumed`), whichever is first; nobody can waive what the published log knows.
- Destruction by a deadline asks here as well (`sweep.begin_due`). Intake, erasure on demand, and the log and its
  reading do not.

Cost of a read: one look-up in `audit_tree`, in the transaction that reads anyway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from sqlalchemy import select

from audit.entry import Action
from audit.log.sequencer import TreeDamagedError
from audit.log.tables import audit_checkpoints, audit_tree
from audit.mirror.copying import ForkedError, longest_copy, newest_kept, published_checkpoint
from audit.mirror.store import MirrorError, MirrorStore, MirrorUnavailableError
from audit.times import parse_rfc3339
from audit.tlog.checkpoint import Checkpoint, NoteError, Verifier, open_checkpoint
from audit.tlog.tile_store import TileSource, TilesUnavailableError
from retention.domain.faults import Unavailable
from retention.records.queries import newest_leaf
from retention.records.unit_of_work import Reads, Records

LOG_BEHIND = "log-behind"
SHUT = frozenset({LOG_BEHIND, "witness-away", "log-forked", "log-damaged", "log-store", "log-copies"})
"""Reasons why nothing is opened, or destroyed by a deadline; docs/restore.md says what to do."""
FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 5.0
_SIZE = select(audit_tree.c.size)


class Gate(Protocol):
    """The gate that `open` asks. It raises `Unavailable`, with the cause as its reason, while nothing can be opened."""

    def ask(self, now: datetime) -> int:
        """Return how many entries the database must hold. Call it before the transaction: it can take a while."""

    def check(self, reads: Reads, least: int) -> None:
        """Check the records of this transaction against the number that `ask` returned before it."""


class LogGate:
    """The gate of a process. Thread-safe."""

    def __init__(
        self,
        records: Records,
        tiles: TileSource,
        witness: MirrorStore,
        log_key: Verifier,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records, self._tiles, self._witness, self._log_key = records, tiles, witness, log_key
        self._monotonic = monotonic
        self._asking = threading.Lock()
        self._asked_at: float | None = None
        self._shut: Unavailable | None = None
        self._least = 0
        self._heard = False  # the mirror has responded, and no copy differs from another
        self._was_open = False

    def ask(self, now: datetime) -> int:
        if not self._is_fresh():
            if not self._asking.acquire(timeout=PATIENCE_SECONDS):
                raise Unavailable(
                    f"the copies of the log have not responded within {PATIENCE_SECONDS:.0f} s; try again",
                    reason="log-copies",
                )
            try:
                if not self._is_fresh():
                    self._shut = self._look(now)
                    self._asked_at = self._monotonic()
            finally:
                self._asking.release()
        shut = self._shut
        if shut is not None:
            raise Unavailable(shut.message, reason=shut.reason)
        return self._least

    def check(self, reads: Reads, least: int) -> None:
        size = reads.execute(_SIZE).scalar() or 0
        if size < least:
            raise Unavailable(
                f"the records hold {size} entries of a log of {least}: a back-up was restored. Nothing is opened until "
                "they are reconciled; the clock does it, or `casevault reconcile`",
                reason=LOG_BEHIND,
            )
        if size > self._least:
            self._least = size

    def _is_fresh(self) -> bool:
        return self._asked_at is not None and self._monotonic() - self._asked_at < FRESH_SECONDS

    def _look(self, now: datetime) -> Unavailable | None:
        """Return why nothing can be opened, whatever the records hold; None if something can."""
        try:
            published = self._published()
            waits = self._hear(published)
            self._hold_record_to(published)
        except (TilesUnavailableError, OSError):
            if self._was_open:
                return None  # what was known still holds
            return Unavailable("the log's store is not responding; try again later", reason="log-store")
        except (NoteError, MirrorError, TreeDamagedError) as error:
            return _unusable(f"a copy of the log cannot be used: {type(error).__name__}", "log-damaged")
        except ForkedError:
            return _unusable("two histories of the log were signed", "log-forked")
        if waits and not self._is_waived(now):
            return Unavailable(
                "the log's witness has not answered yet, so nobody can tell whether the records are the newest. "
                "Nothing is opened until it does, or an administrator decides: `casevault reconcile --without-witness`",
                reason="witness-away",
            )
        self._was_open = True
        return None

    def _published(self) -> Checkpoint | None:
        published = published_checkpoint(self._tiles, self._log_key)
        if published is not None:
            self._least = max(self._least, published.size)
        return published

    def _hear(self, published: Checkpoint | None) -> bool:
        """Ask the mirror, unless it has responded to this process before; return True if it is unreachable."""
        if self._heard:
            return False
        try:
            kept = newest_kept(self._witness, self._log_key)
        except MirrorUnavailableError:
            return True
        self._least = max(self._least, 0 if kept is None else kept.size)
        longest_copy(self._tiles, published, self._witness, kept)
        self._heard = True
        return False

    def _hold_record_to(self, published: Checkpoint | None) -> None:
        """Raise ForkedError if the database signed another log of this size. `check` finds one that knows less."""
        if published is None:
            return
        signed = select(audit_checkpoints.c.note).where(audit_checkpoints.c.size == published.size)
        with self._records.read() as reads:
            note = reads.execute(signed).scalar()
        if note is not None and open_checkpoint(note, self._log_key).root != published.root:
            raise ForkedError(f"the published log of {published.size} entries is not the one on record")

    def _is_waived(self, now: datetime) -> bool:
        with self._records.read() as reads:
            return live_waiver(reads, now) is not None


def check_now(gate: Gate, records: Records, now: datetime) -> int:
    """Return how many entries the records and their copies agree on; Unavailable while nothing can be opened."""
    least = gate.ask(now)
    with records.read() as reads:
        gate.check(reads, least)
    return least


def live_waiver(reads: Reads, now: datetime) -> datetime | None:
    """Return until when an administrator's waiver of the mirror counts; None if there is none, or it is over."""
    fields = newest_leaf(reads, Action.WITNESS_WAIVED, Action.WITNESS_RESUMED)
    if fields is None or fields["action"] != Action.WITNESS_WAIVED:
        return None
    begun, until = parse_rfc3339(fields["at"]), parse_rfc3339(fields["details"]["until"])
    size: int = reads.execute(_SIZE).scalar() or 0
    return until if begun <= now < until and fields["details"]["size"] <= size else None


def _unusable(what: str, reason: str) -> Unavailable:
    return Unavailable(f"{what}: an administrator must look; the clock's log says which", reason=reason)
