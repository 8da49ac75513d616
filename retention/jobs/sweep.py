"""The sweep: the clock's work on bundles (P4, P9), derived from state, never from messages.

Rules:
- Of several sweepers at once, one begins erasures and the others leave that to it; all carry out begun ones.
- It is bounded and resumable: every call does at most as much as it is told to, and the next goes on from the records.
  Running it twice, late, or in several places at once changes nothing but the time it takes.
- The time that counts is the one on which two clocks agree (`retention.domain.trusted_time`): a clock that jumped
  destroys nothing.
- No deadline counts while the records may be older than the log (`retention.custody.log_gate`): a reopening, a claim or
  the answer to a request may be missing, and destroyed data does not come back. On-demand erasures go on.
- The index finds what may be due; `retention.domain.deadline` decides again from the history before anything is erased.
- On-demand erasures go ahead of scheduled ones. Failed work waits for its next try (`custody.work_state`) behind all
  that was never tried, so however much fails, nothing else is stopped.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, islice
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select

from audit.entry import Action
from retention.custody import resending
from retention.custody.access.manage_approvals import have_lapsed, lapse_some
from retention.custody.context import Custody, about_bundle, entry
from retention.custody.erasure import erasure_steps
from retention.custody.erasure.erasure_steps import BUNDLE, erase_bundle, start
from retention.custody.failed_work import has_come, note_failure
from retention.custody.log_gate import SHUT
from retention.custody.uploads.completion import finish_upload, give_up_upload, verify_bundle
from retention.custody.uploads.read_back_claim import ClaimLost, claim, is_free
from retention.domain.actor import CLOCK
from retention.domain.bundle import BundleState
from retention.domain.deadline import Erase, Reason, decide
from retention.domain.faults import CustodyError, Unavailable
from retention.envelope.format import EnvelopeError
from retention.objects.store_errors import KeyDestroyed, PartMissing, StoreError
from retention.records.queries import bundle_history, refresh_due
from retention.records.retry import Trouble
from retention.records.sqlite_engine import truncate_wal
from retention.records.tables import (
    FAILING,
    RECEIVED,
    UNCOMMITTED,
    UNUSED,
    WAITING,
    bundles,
    concatenations,
    erasure_bundles,
    erasures,
)
from retention.records.unit_of_work import Transaction, Turn

LOG = logging.getLogger(__name__)
BATCH = 200
"""Number of bundles looked at in one step."""
BEGUN_AT_ONCE = 8
"""Number of erasures begun in one transaction, so that other writers get their turn between them. All bundles that are
due with one case are one erasure."""
SMALLER = 8
SPREAD = 16
_DRAW = random.SystemRandom()
AT_ONCE = 8
GIVE_UP = 5
"""Number of tries, minutes apart by then, that must fail to find a part of an upload before it counts as lost."""
_UNFINISHED = and_(
    UNCOMMITTED,
    or_(
        bundles.c.state == BundleState.STAGING,
        bundles.c.deferred,
        bundles.c.offset < bundles.c.size,
    ),
)
_UNUSED = and_(
    UNUSED,
    # The used ones are erased with their final upload.
    ~select(concatenations.c.number).where(concatenations.c.partial_id == bundles.c.id).exists(),
)
_STOPPED = (StoreError, EnvelopeError, CustodyError, OSError)


@dataclass(slots=True)
class SweepReport:
    """The counts of one sweep."""

    begun: int = 0
    expired: int = 0
    erased: int = 0
    failed: int = 0
    verified: int = 0


def begin_due(custody: Custody, limit: int = BATCH) -> int:
    """Begin the erasure of up to `limit` bundles whose deadline has come; return how many.

    0 if another sweeper is doing so, or while the records may be older than the log.
    """
    now, sure = custody.clock.now(), custody.clock.sure()
    over = bundles.c.due_at <= sure, WAITING
    if not _any(custody, *over):
        return 0

    def work(tx: Transaction, limit: int) -> int:
        search = select(bundles).where(*over).order_by(bundles.c.due_at, bundles.c.id).limit(limit)
        due: list[tuple[Row[Any], Reason]] = []
        while not due and (found := tx.execute(search).all()):
            due, wrong = _decide_some(tx, found, sure)
            # Correct the index where it was wrong, so that a page of such rows never hides those after it.
            if wrong:
                refresh_due(tx, bundles.c.id.in_(wrong))
        erasure_steps.begin(tx, custody.binding, due, now)
        return len(due)

    return _by_newest_records(custody, work, limit)


def _decide_some(
    tx: Transaction, found: Sequence[Row[Any]], sure: datetime
) -> tuple[list[tuple[Row[Any], Reason]], list[str]]:
    """Decide on the bundles found, in order, until BEGUN_AT_ONCE erasures are full: return those that are due, with the
    reason, and the ids of those that are not."""
    due: list[tuple[Row[Any], Reason]] = []
    wrong: list[str] = []
    erased: set[str] = set()
    for bundle in found:
        said = decide(bundle_history(tx, bundle), sure)
        if not isinstance(said, Erase):
            wrong.append(bundle.id)
            continue
        whole = said.reason is Reason.CASE_CLOSED
        erased.add(bundle.case_id if whole else bundle.id)
        if len(erased) > BEGUN_AT_ONCE:
            break
        due.append((bundle, said.reason))
    return due, wrong


def begin_expired(custody: Custody, limit: int = BATCH) -> int:
    """Begin the erasure of up to `limit` uploads that nobody finished in time; return how many, as in `begin_due`."""
    now, sure = custody.clock.now(), custody.clock.sure()
    kinds = [(late, bundles.c.expires_at <= sure) for late in (_UNFINISHED, _UNUSED)]  # each has its index
    if not any(_any(custody, *late) for late in kinds):
        return 0

    def work(tx: Transaction, limit: int) -> int:
        found: list[Row[Any]] = []
        for late in kinds:
            some = select(bundles).where(*late).order_by(bundles.c.expires_at)
            found += tx.execute(some.limit(min(limit, BEGUN_AT_ONCE) - len(found))).all()
        for bundle in found:
            tx.audit(
                entry(
                    CLOCK,
                    Action.UPLOAD_EXPIRED,
                    now,
                    **about_bundle(bundle),
                    details={"kept": bundle.offset, "size": bundle.size},
                )
            )
            cause = "upload-expired"
            start(tx, CLOCK, [bundle], bundle.tenant_id, bundle.case_id, BUNDLE, cause, now, on_demand=False)
        return len(found)

    return _by_newest_records(custody, work, limit)


def lapse_requests(custody: Custody) -> int:
    """Enter the requests for approval that waited too long; return how many, as in `begin_due`."""
    now = custody.clock.now()

    def work(tx: Transaction, limit: int) -> int:
        return lapse_some(tx, custody.binding, now, limit)

    with custody.records.read() as reads:
        if reads.execute(have_lapsed(now).limit(1)).first() is None:
            return 0
    count = 0
    while some := _by_newest_records(custody, work, BATCH):
        count += some
    return count


def _any(custody: Custody, *which: Any) -> bool:
    """Tell whether there is such a bundle, without the lock that writers wait for: mostly there is none."""
    with custody.records.read() as reads:
        return reads.execute(select(bundles.c.id).where(*which).limit(1)).first() is not None


def _by_newest_records(custody: Custody, work: Callable[[Transaction, int], int], limit: int) -> int:
    """Run `work` in turn; do nothing, and return 0, while the records may be older than the log."""
    try:
        least = custody.gate.ask(custody.clock.now())

        def checked(tx: Transaction, limit: int) -> int:
            custody.gate.check(tx, least)
            return work(tx, limit)

        return _in_turn(custody, checked, limit)
    except Unavailable as shut:
        if shut.reason not in SHUT:
            raise
        LOG.warning("nothing is done by its deadline for now (%s): %s", shut.reason, shut.message)
        return 0


def _in_turn(custody: Custody, work: Callable[[Transaction, int], int], limit: int) -> int:
    """Run `work`, unless another sweeper runs it: two would only undo each other.

    Callers change what it reads. A batch that always loses to them is retried in smaller ones, down to one bundle.
    """
    while True:

        def some(tx: Transaction, limit: int = limit) -> int:
            return work(tx, limit) if tx.take_turn(Turn.SWEEP) else 0

        try:
            return custody.records.write(some)
        except Unavailable as error:
            if error.reason != Trouble.CONTENDED.value or limit == 1:
                raise
            limit = max(1, limit // SMALLER)


def pending_erasures(custody: Custody, limit: int) -> list[tuple[str, str]]:
    """Return up to `limit` (erasure id, bundle id) to be erased that never failed: on-demand first, then by age."""
    # Under an erasure that is not proven a bundle is erasing or erased. To ask for `erasing` would have SQLite gather
    # and sort all that is pending for each page; so it walks the erasures in their order.
    untried = bundles.c.state != BundleState.ERASED, bundles.c.failures == 0
    going = and_(erasures.c.proven_at.is_(None), *untried)
    joined = (
        select(erasures.c.id, bundles.c.id.label("bundle_id"))
        .join_from(erasures, erasure_bundles)
        .join(bundles, bundles.c.id == erasure_bundles.c.bundle_id)
        .where(going)
    )
    with custody.records.read() as reads:
        ordered = joined.order_by(
            erasures.c.on_demand.desc(), erasures.c.requested_at, erasures.c.id, bundles.c.id
        ).limit(limit)
        return [(row.id, row.bundle_id) for row in reads.execute(ordered)]


def failed_erasures(custody: Custody, limit: int, *, early: bool = False) -> list[str]:
    """Return up to `limit` bundles whose erasure failed and whose next try has come, longest waiting first; with
    `early`, those whose next try has not come yet."""
    now, at = custody.clock.now(), bundles.c.next_try_at
    due = FAILING, bundles.c.state == BundleState.ERASING, at > now if early else has_come(now)
    ordered = select(bundles.c.id).where(*due).order_by(at, bundles.c.id)
    with custody.records.read() as reads:
        return list(reads.execute(ordered.limit(limit)).scalars())


def erase_pending(custody: Custody, report: SweepReport, limit: int) -> int:
    """Carry out begun erasures until `limit` were tried, at most AT_ONCE more; return how many.

    Those that failed before are taken AT_ONCE at a time, beside pages of those that did not: whatever they wait for, a
    newly requested erasure waits for at most one of them.
    """
    tried = 0
    while tried < limit:
        page = [bundle_id for _erasure_id, bundle_id in pending_erasures(custody, min(BATCH, limit - tried))]
        page = list(dict.fromkeys(page))  # a bundle can be under several erasures
        page += failed_erasures(custody, min(AT_ONCE, limit - tried))
        if not page:
            break
        _erase_at_once(custody, page, report)
        tried += len(page)
    return tried


def _erase_at_once(custody: Custody, bundle_ids: Sequence[str], report: SweepReport) -> None:
    """Erase these, AT_ONCE at a time: they share their waits for the disk (group commit)."""

    def one(bundle_id: str) -> SweepReport:
        own = SweepReport()
        erase_one(custody, bundle_id, own)
        return own

    with ThreadPoolExecutor(min(AT_ONCE, len(bundle_ids)), "eraser") as pool:
        for each in pool.map(one, bundle_ids):
            report.erased += each.erased
            report.failed += each.failed


def erase_one(custody: Custody, bundle_id: str, report: SweepReport) -> bool:
    """Erase one bundle; a failure is noted (`custody.work_state`) and tried again later."""
    try:
        with custody.observer.work("erase"):
            erase_bundle(custody, bundle_id)
    except _STOPPED as error:
        report.failed += 1
        LOG.warning("erasing %s failed and will be tried again: %s", bundle_id, type(error).__name__)
        note_failure(custody, Action.BUNDLE_ERASED, bundle_id, BundleState.ERASING, error)
        return False
    report.erased += 1
    return True


def verify_received(custody: Custody, report: SweepReport, limit: int, *, early: bool = False) -> None:
    """Finish uploads whose last request died at the very end, and read back received bundles, each under a claim: up to
    `limit` of each, and as many again that failed before and whose next try has come (with `early`: or not yet).

    An unreadable bundle keeps no other waiting.
    """
    finish_received(custody, report, limit, early=early)
    for waiting in waiting_for_read_back(custody, limit, early=early):
        taken = (bundle_id for bundle_id in waiting if read_back_one(custody, bundle_id, report))
        deque(islice(taken, limit), maxlen=0)


def finish_received(custody: Custody, report: SweepReport, limit: int, *, early: bool = False) -> None:
    """Finish up to `limit` uploads whose last request died at the very end, and as many again that failed before."""
    whole = bundles.c.offset == bundles.c.size, ~bundles.c.deferred
    full = and_(UNCOMMITTED, bundles.c.state == BundleState.RECEIVING, *whole)
    fresh, again = _some(custody, full, bundles.c.expires_at, limit, early)
    for bundle_id in (*_DRAW.sample(fresh, min(limit, len(fresh))), *again):
        error = _tried(report, f"completing {bundle_id}", partial(finish_upload, custody, CLOCK, bundle_id))
        if error is not None:
            _not_finished(custody, bundle_id, error)


def waiting_for_read_back(
    custody: Custody, limit: int, *, early: bool = False
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the received bundles that nobody is reading back: SPREAD times `limit` of those that have waited longest,
    shuffled so that several clocks seldom try the same one, and up to `limit` that are to be tried again."""
    received = and_(RECEIVED, ~bundles.c.partial, is_free(custody.clock.now()))
    fresh, again = _some(custody, received, bundles.c.received_at, limit, early)
    return _DRAW.sample(fresh, len(fresh)), again


def read_back_one(custody: Custody, bundle_id: str, report: SweepReport) -> bool:
    """Claim a received bundle and read it back; return False if another reader has it, or it is no longer needed."""
    held = claim(custody, bundle_id)
    if held is None:
        return False
    try:
        with custody.observer.work("read-back"):
            error = _tried(
                report, f"reading {bundle_id} back", partial(verify_bundle, custody, bundle_id, held.keep)
            )
    except ClaimLost:
        LOG.warning(
            "the claim to read %s back was lost to another reader, after too long a silence", bundle_id
        )
        return False
    except BaseException:
        with suppress(Exception):  # the first error is raised; the claim ends by itself
            held.let_go()
        raise
    if error is None:
        report.verified += 1
    else:
        note_failure(custody, Action.BUNDLE_VERIFIED, bundle_id, BundleState.RECEIVED, error)
    return True


def _not_finished(custody: Custody, bundle_id: str, error: Exception) -> None:
    failures = note_failure(custody, Action.BUNDLE_RECEIVED, bundle_id, BundleState.RECEIVING, error)
    if isinstance(error, PartMissing | KeyDestroyed) and failures >= GIVE_UP:
        give_up_upload(custody, bundle_id)


def _some(
    custody: Custody, which: Any, age: ColumnElement[Any], limit: int, early: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the oldest of `which` that never failed, SPREAD times `limit`, and up to `limit` to be tried again."""
    untried = select(bundles.c.id).where(which, bundles.c.failures == 0).order_by(age)
    failed = and_(which, FAILING) if early else and_(which, FAILING, has_come(custody.clock.now()))
    again = select(bundles.c.id).where(failed).order_by(bundles.c.next_try_at)
    with custody.records.read() as reads:
        found: Sequence[str] = reads.execute(untried.limit(limit * SPREAD)).scalars().all()
        more: Sequence[str] = reads.execute(again.limit(limit)).scalars().all()
    return found, more


def _tried(report: SweepReport, what: str, work: Callable[[], object]) -> Exception | None:
    """Do the work; return the error if it failed, and count it."""
    try:
        work()
    except _STOPPED as error:
        report.failed += 1
        LOG.warning("%s failed and will be tried again: %s", what, type(error).__name__)
        return error
    return None


def remove_orphans(custody: Custody) -> int:
    """Remove the parts of dead writers, and all that is left of erased bundles: a part that became durable meanwhile,
    keys and parts of a store that was unreachable or restored. Return how many objects were removed. It looks at every
    bundle, so the start of a service is often enough.

    Bundles without a record are left alone: a restored database has forgotten them (`retention.jobs.reconcile`).
    """
    removed = custody.objects.discard_abandoned()
    found = chain(custody.keys.list_bundles(), custody.objects.list_bundles())
    while some := list(islice(found, BATCH)):
        with custody.records.read() as reads:
            erased = bundles.c.id.in_(some), bundles.c.state == BundleState.ERASED
            gone = reads.execute(select(bundles.c.id).where(*erased)).scalars().all()
        for bundle_id in gone:
            custody.keys.destroy(bundle_id)
            removed += custody.objects.destroy(bundle_id)
    return removed


def erase_due(custody: Custody, limit: int = 10_000) -> SweepReport:
    """Begin what is due or expired and carry out erasures, up to `limit` of each."""
    report = SweepReport()
    erase_pending(custody, report, limit)  # on-demand work does not wait for the search
    while report.begun < limit and (begun := begin_due(custody, min(BATCH, limit - report.begun))):
        report.begun += begun
    while report.expired < limit and (begun := begin_expired(custody)):
        report.expired += begun
    if report.begun or report.expired:
        erase_pending(custody, report, limit)
    resending.forget(custody)
    lapse_requests(custody)
    return report


def sweep(custody: Custody, limit: int = 10_000) -> SweepReport:
    """Run one round of everything, on request: erase what is due (up to `limit`), and read back what was received.
    Failed work is tried now, without waiting for its next try."""
    waiting = failed_erasures(custody, limit, early=True)
    report = erase_due(custody, limit)
    if waiting:
        _erase_at_once(custody, waiting, report)
    if report.erased:
        truncate_wal(custody.records.engine)  # erased facts leave the write-ahead log too (P7)
    verify_received(custody, report, limit=8, early=True)
    return report
