"""Reconciliation after a restore: records checked against the log's mirrors, key and object store (P7).

It runs at the start of a service, before anything is sequenced, and by command, in this order. Each step is derived
from state, so the next start makes up for a crash anywhere:
1. tiles older than the database: the storage account was restored. * An entry says so, and they are written again from
   the leaves (`audit.log.tail_recovery`).
2. a published or witnessed checkpoint of a longer log: the database was rolled back. * In one commit an entry says so,
   every live grant ends (engineers grant themselves access anew), and what the tail says ended ends in the records too
   (`replay`); * bundles that the tail says are erasing are erased again; only then is the tail adopted. So a database
   that knows its whole log lacks no end (`log_gate`). A mirror with another history stops the service: nothing is
   adopted or signed over it. Particulars that the log says were redacted, but the records still hold, are redacted
   again.
3. the records are compared with the log and the stores (`custody.compare_records`), in steps: at a start beside all
   other work, by command to its end.

Nothing is sequenced before 1 and 2, which take as long as the log's lost tail. If the mirror does not respond, they are
done with what was published, then MirrorUnavailableError is raised and nothing is sequenced. `without_witness` goes on
to 3 all the same; `waive_witness` lets reading go on for a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select, true

from audit.entry import Action, Detail, Entry, Outcome
from audit.log.tables import CHANGING_ACCESS, audit_entries
from audit.log.tail_recovery import missing_tiles, read_tail, recorded_size, recover_tail, repair_tiles
from audit.mirror.copying import Copy, longest_copy, newest_kept, published_checkpoint
from audit.mirror.store import MirrorStore, MirrorUnavailableError
from audit.times import rfc3339
from audit.tlog.checkpoint import Verifier
from retention.custody.access.manage_grants import bind_anew, end_grants
from retention.custody.compare_records import (
    RESTORED,
    STEP,
    Differences,
    compare,
    erase_again,
    in_batches,
    without_record,
)
from retention.custody.context import Custody, entry
from retention.custody.erasure.proof import METHOD
from retention.custody.log_gate import live_waiver
from retention.custody.redaction import redact_again
from retention.domain.actor import CLOCK, Actor
from retention.domain.faults import Invalid, Unavailable
from retention.domain.grants import check_reason
from retention.jobs.replay import REPLAYED, replay
from retention.records.queries import newest_leaf
from retention.records.unit_of_work import Transaction

LONGEST_WAIVER = timedelta(hours=72)
UNRECORDED = "unrecorded"
_GONE = (Action.BUNDLE_ERASING, Action.BUNDLE_ERASED)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The findings of a reconciliation, and what it did about them."""

    adopted: int = 0
    """Number of entries put back into the log."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Acts missing from the database's records, counted by action."""
    repeated: Mapping[str, int] = field(default_factory=dict)
    """Acts of the lost tail that were repeated in the records, counted by action."""
    grants_ended: int = 0
    erasing: tuple[str, ...] = ()
    """Bundles whose erasure began again."""
    keyless: tuple[str, ...] = ()
    """Bundles on record whose data key is missing but was not destroyed: unreadable, look for the key store."""
    unrecorded: tuple[str, ...] = ()
    """Stored bundles without a record."""
    tiles_rebuilt: int = 0
    """Number of entries whose tiles were missing, and were written again from the database."""


def reconcile(
    custody: Custody, log_key: Verifier, witness: MirrorStore, *, without_witness: bool = False
) -> Reconciliation:
    """Bring records, log and stores into agreement; the same errors as `catch_up`."""
    return compare_to_the_end(custody, catch_up(custody, log_key, witness, without_witness=without_witness))


def catch_up(
    custody: Custody, log_key: Verifier, witness: MirrorStore, *, without_witness: bool = False
) -> Reconciliation:
    """Bring tiles and records up to the longest copy of the log: all that sequencing has to wait for.

    ForkedError, NotOurTailError: two histories; somebody must look. MirrorUnavailableError: the mirror did not respond,
    and the records agree only with what was published.
    """
    rebuilt = _repair_tiles(custody, log_key)
    kept, away = None, None
    try:
        kept = newest_kept(witness, log_key)
    except MirrorUnavailableError as error:
        away = error
    copy = longest_copy(custody.tiles, published_checkpoint(custody.tiles, log_key), witness, kept)
    tail = _adopt_tail(custody, copy)
    redact_again(custody)
    if away is not None and not without_witness:
        raise away
    if away is None:
        _end_waiver(custody)
    return dataclasses.replace(tail, tiles_rebuilt=rebuilt)


def compare_to_the_end(custody: Custody, caught_up: Reconciliation) -> Reconciliation:
    """Compare the records with log and stores in one go; return all findings together."""
    found = Differences(erasing=list(caught_up.erasing))
    for _ in compare(custody, found):
        pass
    return dataclasses.replace(
        caught_up,
        erasing=tuple(found.erasing),
        keyless=tuple(found.keyless),
        unrecorded=tuple(sorted(found.unrecorded)),
    )


def waive_witness(custody: Custody, actor: Actor, reason: str, lasts: timedelta) -> datetime:
    """Let reading go on for a time although the mirror does not respond; return until when. The entry tells every
    process.

    Invalid: no real reason, or not a possible time.
    """
    now = custody.clock.now()
    if denied := check_reason(reason):
        raise Invalid(denied.message, {"reason": denied.message})
    if not timedelta(0) < lasts <= LONGEST_WAIVER:
        raise Invalid(
            f"the witness cannot be waived for {lasts}",
            {"hours": f"must be more than 0, at most {LONGEST_WAIVER // timedelta(hours=1)}"},
        )
    details: dict[str, Detail] = {
        "size": recorded_size(custody.records.engine),
        "until": rfc3339(now + lasts),
    }
    waived = entry(actor, Action.WITNESS_WAIVED, now, details=details, particulars={"reason": reason.strip()})
    custody.records.write(lambda tx: tx.audit(waived))
    return now + lasts


def _repair_tiles(custody: Custody, log_key: Verifier) -> int:
    """Write the tiles missing from the log's store again; return how many entries they hold."""
    engine, tiles = custody.records.engine, custody.tiles
    missing = missing_tiles(engine, tiles, log_key)
    if missing is None:
        return 0
    details: dict[str, Detail] = {"from": missing.start, "to": missing.newest.size}
    rebuilt = entry(CLOCK, Action.TILES_REBUILT, custody.clock.now(), details=details)

    def enter(tx: Transaction) -> None:
        newest = newest_leaf(tx, Action.TILES_REBUILT)
        if newest is None or newest.get("details") != details:  # not again for a try after a crash
            tx.audit(rebuilt)

    custody.records.write(enter)
    repair_tiles(engine, tiles, missing)
    return missing.newest.size - missing.start


def _end_waiver(custody: Custody) -> None:
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        if live_waiver(tx, now) is not None:
            tx.audit(entry(CLOCK, Action.WITNESS_RESUMED, now))

    with custody.records.read() as reads:
        waived = live_waiver(reads, now)
    if waived is not None:
        custody.records.write(work)


def _adopt_tail(custody: Custody, copy: Copy | None) -> Reconciliation:
    engine, now = custody.records.engine, custody.clock.now()
    size = recorded_size(engine)
    if copy is None or copy.checkpoint.size <= size:
        return Reconciliation()
    wanted = {*REPLAYED, Action.APPROVAL_ASKED, *_GONE, *CHANGING_ACCESS}
    tail = read_tail(engine, copy.source, copy.checkpoint, wanted)
    touched = {leaf["case"] for leaf in tail if leaf["action"] in CHANGING_ACCESS and "case" in leaf}

    def repeat(tx: Transaction) -> tuple[int, dict[str, int]]:
        bind_anew(tx, custody.binding, CLOCK, touched, now)  # checked now, bound as the replay leaves it
        again = replay(tx, custody.binding, tail)
        done = [f"{times} {action}" for action, times in sorted(again.items())]
        details: dict[str, Detail] = {"from": size, "to": copy.checkpoint.size, "repeated": done}
        tx.audit(entry(CLOCK, Action.LOG_ADOPTED, now, details=details))
        return end_grants(tx, custody.binding, CLOCK, true(), RESTORED, now), again

    ended, again = custody.records.write(repeat)
    gone = (leaf["bundle"] for leaf in tail if leaf["action"] in _GONE and leaf["outcome"] == Outcome.SUCCESS)
    erasing = erase_again(custody, dict.fromkeys(gone))
    with custody.records.read() as reads:
        last_row = reads.execute(select(func.max(audit_entries.c.row))).scalar() or 0
    adopted = recover_tail(engine, copy.source, copy.checkpoint, now)
    put_back = audit_entries.c.row > last_row, audit_entries.c.leaf_index < copy.checkpoint.size
    counted = (
        select(audit_entries.c.action, func.count().label("times"))
        .where(*put_back)
        .group_by(audit_entries.c.action)
    )
    with custody.records.read() as reads:
        lost = {row.action: row.times - again.get(row.action, 0) for row in reads.execute(counted)}
    return Reconciliation(
        adopted=adopted,
        lost={action: times for action, times in lost.items() if times},
        repeated=again,
        grants_ended=ended,
        erasing=tuple(erasing),
    )


def erase_unrecorded(custody: Custody, actor: Actor, found: Iterable[str]) -> int:
    """Erase those of these bundles that still have no record, with an entry each, so that none stays overdue (P4).
    Return how many."""
    erased = [
        bundle_id
        for some in in_batches(found, STEP)
        for bundle_id in sorted(without_record(custody, some))
        if custody.keys.remains(bundle_id) or custody.objects.remains(bundle_id)
    ]
    for bundle_id in erased:
        custody.keys.destroy(bundle_id)
        custody.objects.destroy(bundle_id)
        if custody.keys.remains(bundle_id) or custody.objects.remains(bundle_id):
            raise Unavailable(
                f"keys or objects of bundle {bundle_id} are still there after deletion; try again",
                reason="remains",
            )
        noted = _erased_entry(custody, actor, bundle_id)
        custody.records.write(lambda tx, noted=noted: tx.audit(noted))  # type: ignore[misc]
    return len(erased)


def _erased_entry(custody: Custody, actor: Actor, bundle_id: str) -> Entry:
    """Make the entry of its erasure. Its tenant and case are still in the log, whose tail was adopted."""
    columns = select(audit_entries.c.tenant, audit_entries.c.case_id)
    last = columns.where(audit_entries.c.bundle == bundle_id).order_by(audit_entries.c.row.desc()).limit(1)
    with custody.records.read() as reads:
        whose = reads.execute(last).first()
    tenant, case = whose or (None, None)
    details = {"cause": UNRECORDED, "method": METHOD}
    now = custody.clock.now()
    return entry(
        actor, Action.BUNDLE_ERASED, now, tenant=tenant, case=case, bundle=bundle_id, details=details
    )
