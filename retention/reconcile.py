"""After a restore: the records are held against the log's mirrors, the key store and the object store (P7).

At the start of a service, before anything is sequenced, and by command. In this order; each step is derived from
state, so a crash anywhere is made good by the next start:
1. a published or witnessed checkpoint of a longer log: the database was rolled back. * An entry says so and every live
   grant ends (a revocation may have been lost; an engineer grants themselves access anew), then the tail is adopted.
   A mirror that tells another history stops the service: nothing is adopted or signed over it.
2. a bundle that the log says is erasing or erased, or whose data key is destroyed, and whose record says alive:
   * its erasure is begun again with the cause `restored`; the sweep carries it to its end, ahead of scheduled work.
3. what the log says was redacted and the records hold still: redacted again.
4. bundles of which keys or objects are found and no record: reported, in an entry too. They came after the back-up.
   `erase_unrecorded` ends them; their records are lost, so nothing else can be done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from sqlalchemy import func, select, true

from audit.adopt import adopt, check_beginning, recorded_size
from audit.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.entry import Action, Detail, Entry, Outcome
from audit.merkle import root
from audit.mirror import ForkedError, newest_kept
from audit.tables import audit_entries
from audit.tiles import CHECKPOINT_PATH, TileMissingError, TileReader, TileSource
from audit.witness import Witness, WitnessTiles
from retention.actor import CLOCK, Actor
from retention.bundle import LIVE, BundleState
from retention.custody.context import Custody, entry
from retention.custody.ending import end_grants
from retention.custody.erasing import BUNDLE, start
from retention.custody.proving import METHOD
from retention.custody.redacting import redact_again
from retention.errors import Unavailable
from retention.objects.errors import KeyDestroyed, KeyMissing
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction

RESTORED, UNRECORDED = "restored", "unrecorded"
_AT_ONCE = 200
_PAGE = 5000
_NAMED = 100  # ids in one entry: a leaf is bounded
_GONE = (Action.BUNDLE_ERASING, Action.BUNDLE_ERASED)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found and begun."""

    adopted: int = 0
    """Entries put back into the log."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Acts whose records the database lacks: how many of each action."""
    grants_ended: int = 0
    erasing: tuple[str, ...] = ()
    """Bundles whose erasure was begun again."""
    keyless: tuple[str, ...] = ()
    """Bundles on record that have no data key, and whose key nobody destroyed: unreadable, look for the key store."""
    unrecorded: tuple[str, ...] = ()
    """Bundles that are stored and have no record."""


class _Mirror(NamedTuple):
    source: TileSource
    checkpoint: Checkpoint


def reconcile(custody: Custody, log_key: Verifier, witness: Witness) -> Reconciliation:
    """Bring records and log into agreement. ForkedError, NotOurTailError: two histories; somebody must look."""
    adopted, lost, ended = _adopt_tail(custody, log_key, witness)
    erasing = _erase_again(custody, _gone_by_log(custody))
    destroyed, keyless = _gone_by_key(custody)
    erasing += _erase_again(custody, destroyed)
    redact_again(custody)
    unrecorded = sorted(_unrecorded(custody))
    found = Reconciliation(adopted, lost, ended, tuple(erasing), tuple(keyless), tuple(unrecorded))
    if erasing or keyless or unrecorded:
        details: dict[str, Detail] = {
            "erasing": len(erasing),
            "keyless": keyless[:_NAMED],
            "unrecorded": unrecorded[:_NAMED],
            "unrecorded_count": len(unrecorded),
        }
        now = custody.clock.now()
        noted = entry(CLOCK, Action.RECORDS_RECONCILED, now, details=details)
        custody.records.write(lambda tx: tx.audit(noted))
    return found


def _adopt_tail(custody: Custody, log_key: Verifier, witness: Witness) -> tuple[int, dict[str, int], int]:
    longest = _longest(custody.tiles, witness, log_key)  # read before the database, which may grow meanwhile
    engine, now = custody.records.engine, custody.clock.now()
    size = recorded_size(engine)
    if longest is None or longest.checkpoint.size <= size:
        return 0, {}, 0
    check_beginning(engine, longest.source, longest.checkpoint)
    details = {"from": size, "to": longest.checkpoint.size}

    def announce(tx: Transaction) -> int:
        tx.audit(entry(CLOCK, Action.LOG_ADOPTED, now, details=details))
        return end_grants(tx, CLOCK, true(), RESTORED, now)

    ended = custody.records.write(announce)
    with custody.records.read() as reads:
        last_row = reads.execute(select(func.max(audit_entries.c.row))).scalar() or 0
    adopted = adopt(engine, longest.source, longest.checkpoint, now)
    put_back = audit_entries.c.row > last_row, audit_entries.c.leaf_index < longest.checkpoint.size
    counted = (
        select(audit_entries.c.action, func.count().label("times"))
        .where(*put_back)
        .group_by(audit_entries.c.action)
    )
    with custody.records.read() as reads:
        lost = {row.action: row.times for row in reads.execute(counted)}
    return adopted, lost, ended


def _longest(tiles: TileSource, witness: Witness, log_key: Verifier) -> _Mirror | None:
    """The longer of the published and the witnessed log; ForkedError if one is not the beginning of the other."""
    kept = newest_kept(witness, log_key)
    try:
        published = open_checkpoint(tiles.get(CHECKPOINT_PATH).decode(errors="replace"), log_key)
    except TileMissingError:
        published = None
    witnessed = None if kept is None else _Mirror(WitnessTiles(witness, kept.size), kept)
    if kept is None or published is None:
        return witnessed if published is None else _Mirror(tiles, published)
    local = _Mirror(tiles, published)
    shorter, longer = sorted((witnessed or local, local), key=lambda mirror: mirror.checkpoint.size)
    at = shorter.checkpoint.size
    if root(at, TileReader(longer.source, longer.checkpoint.size).get_node) != shorter.checkpoint.root:
        raise ForkedError(f"the published log and the one in {witness.place} differ before entry {at}")
    return longer if longer.checkpoint.size > at else local


def _gone_by_log(custody: Custody) -> list[str]:
    said = audit_entries.c.action.in_(_GONE), audit_entries.c.outcome == Outcome.SUCCESS
    erased = select(audit_entries.c.row).where(audit_entries.c.bundle == bundles.c.id, *said).exists()
    with custody.records.read() as reads:
        return list(reads.execute(select(bundles.c.id).where(bundles.c.state.in_(LIVE), erased)).scalars())


def _gone_by_key(custody: Custody) -> tuple[list[str], list[str]]:
    """Live bundles whose key was destroyed; those that never had one and should."""
    present = set(custody.keys.list_bundles())
    destroyed, keyless = [], []
    for bundle_id, state in _live(custody):
        if bundle_id in present:
            continue
        try:
            custody.keys.get(bundle_id)
        except KeyDestroyed:
            destroyed.append(bundle_id)
        except KeyMissing:
            if state != BundleState.RECEIVING:  # before its first byte an upload has none
                keyless.append(bundle_id)
    return destroyed, keyless


def _live(custody: Custody) -> Iterator[tuple[str, str]]:
    """Id and state of every bundle that is alive on record, a page at a time."""
    page = select(bundles.c.id, bundles.c.state).where(bundles.c.state.in_(LIVE)).order_by(bundles.c.id)
    last = ""
    while True:
        with custody.records.read() as reads:
            rows = reads.execute(page.where(bundles.c.id > last).limit(_PAGE)).all()
        if not rows:
            return
        yield from ((row.id, row.state) for row in rows)
        last = rows[-1].id


def _erase_again(custody: Custody, found: Iterable[str]) -> list[str]:
    begun: list[str] = []
    for some in _batches(found):

        def work(tx: Transaction, some: list[str] = some) -> list[str]:
            held = tx.execute(select(bundles).where(bundles.c.id.in_(some), bundles.c.state.in_(LIVE))).all()
            for row in held:
                start(tx, CLOCK, [row], row.tenant_id, row.case_id, BUNDLE, RESTORED, custody.clock.now())
            return [row.id for row in held]

        begun += custody.records.write(work)
    return begun


def _unrecorded(custody: Custody) -> Iterator[str]:
    # What is stored is listed first: whatever comes meanwhile has its record before its first object.
    stored = {*custody.objects.list_bundles(), *custody.keys.list_bundles()}
    for some in _batches(stored):
        with custody.records.read() as reads:
            known = set(reads.execute(select(bundles.c.id).where(bundles.c.id.in_(some))).scalars())
        yield from set(some) - known


def erase_unrecorded(custody: Custody, actor: Actor, found: Iterable[str]) -> int:
    """Erase these bundles, if they still have no record; how many. Each is an entry: none stays overdue (P4)."""
    still = set(_unrecorded(custody))
    erased = [bundle_id for bundle_id in found if bundle_id in still]
    for bundle_id in erased:
        custody.keys.destroy(bundle_id)
        custody.objects.destroy(bundle_id)
        if custody.keys.remains(bundle_id) or custody.objects.remains(bundle_id):
            raise Unavailable(f"something of {bundle_id} is still there after deletion", reason="remains")
        noted = _erased_entry(custody, actor, bundle_id)
        custody.records.write(lambda tx, noted=noted: tx.audit(noted))  # type: ignore[misc]
    return len(erased)


def _erased_entry(custody: Custody, actor: Actor, bundle_id: str) -> Entry:
    """Whose it was, the log still says: its tail was adopted."""
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


def _batches(found: Iterable[str]) -> Iterator[list[str]]:
    left = iter(found)
    while some := list(islice(left, _AT_ONCE)):
        yield some
