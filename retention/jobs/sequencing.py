"""The clock's steps for the log: catch up, sequence, sign receipts, detect alterations; compare; mirror and cosign
(P3, P7).

`sequence_once` is every clock's first step:
- A process brings the records up to every copy of the log once before it sequences anything, and again when the
  sequencer finds that the database or the tile store was restored under it. That is quick unless something was
  restored. The comparison with all that is stored follows in steps of `compare_once`, beside everything else.
- One process at a time catches up. The others do not wait: they sequence nothing until their turn, which finds nothing
  left to do.
- Records from before there was a key to bind them are bound once, when the log that proves them is signed.
- Anything foreign in the schema, or missing from the log's rows, is an entry, once per process and finding.
- ForkedError, NotOurTailError: two histories. Nothing is sequenced; somebody must look.
- MirrorUnavailableError: nothing is sequenced until the mirror responds. A delay can be made up for, a fork cannot.

`witness_once` copies the log to the mirror; `cosign_once` asks others to cosign it:
- Each has its own timer: both talk to others' servers, and one that hangs delays neither the other nor the signing.
- A failure here stops nothing: checkpoints wait, the lag shows it, and the next step tries again. A fork is logged as
  an error each time, for as long as it stands: it does not go away by waiting.
"""

from __future__ import annotations

import logging

from audit.entry import Action, Outcome
from audit.log.append import latest_note
from audit.log.sequencer import RolledBackError, TilesBehindError
from audit.mirror.copying import ForkedError
from audit.mirror.store import MirrorError
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.tile_store import TileMissingError
from retention.assembly import Services
from retention.custody import receipts
from retention.custody.access.first_binding import bind_from_log, is_bound_for_good, is_marked, remember_bound
from retention.custody.compare_records import Differences
from retention.custody.context import entry
from retention.custody.log_rules import tell_rules
from retention.domain.actor import CLOCK
from retention.jobs.reconcile import Reconciliation, catch_up, reconcile
from retention.records.sqlite_engine import alone

LOG = logging.getLogger(__name__)


def sequence_once(services: Services) -> Checkpoint | None:
    """Run the sequencer once, and sign receipts; None while the log is empty, or another process reconciles."""
    signing = services.signs()
    if not reconcile_once(services):
        return None
    try:
        checkpoint = signing.sequencer.run_once()
    except (RolledBackError, TilesBehindError):
        services.reconciled.clear()
        if not reconcile_once(services):
            return None
        checkpoint = signing.sequencer.run_once()
    receipts.sign_waiting(services.custody.records, signing.receipts)
    look_for_alterations(services)
    bind_once(services)
    return checkpoint


def look_for_alterations(services: Services) -> tuple[str, ...]:
    """Find anything foreign in the schema, and missing rows of the log; a new finding is an entry."""
    custody, seen = services.custody, services.alterations
    found = list(custody.schema.look(custody.records).foreign)
    with custody.records.read() as reads:
        seen.missing_rows += seen.gaps.look(reads)
    if seen.missing_rows:
        found.append(f"{seen.missing_rows} rows of the log were deleted")
    new = [one for one in found if one not in seen.told]
    if new:
        seen.told.update(new)
        LOG.critical("the database was altered: %s", "; ".join(new))
        now = custody.clock.now()
        noted = entry(
            CLOCK,
            Action.DATABASE_ALTERED,
            now,
            outcome=Outcome.FAILED,
            reason="altered",
            details={"count": len(new)},
            particulars={"findings": "; ".join(new)[:4000]},
        )
        custody.records.write(lambda tx: tx.audit(noted))
    return tuple(found)


def bind_once(services: Services) -> None:
    """Bind records from before there was a key for it; if they are bound already, leave the mark beside the tiles."""
    if services.bound.is_set():
        return
    custody = services.custody
    if is_marked(custody.records, custody.binding):
        remember_bound(custody)
    elif is_bound_for_good(custody.tiles):
        LOG.critical(
            "the records have lost the mark that they are bound: they were altered, or are an old copy"
        )
    else:
        with alone(custody.records.engine) as mine:
            if not mine or (found := bind_from_log(custody, services.log_key)) is None:
                return
        facts = {"bound": dict(found.bound), "unproven": len(found.unproven)}
        LOG.warning("bound older records from the log", extra={"facts": facts})
        for name in found.unproven:
            LOG.critical("no entry of the log proves %s: it opens nothing", name)
    services.bound.set()


def reconcile_once(services: Services) -> bool:
    """Return True once this process has brought the records up to the log, so that entries can be sequenced; False
    while another process is at it."""
    if services.reconciled.is_set():
        return True
    with alone(services.custody.records.engine) as mine:
        if not mine:
            return False
        found = catch_up(services.custody, services.log_key, services.witness)
    services.comparison.begin(found.erasing)
    _tell(services, found)
    services.reconciled.set()
    return True


def compare_once(services: Services) -> bool:
    """Do one step of this process's comparison of the records with log and stores; return whether more are left."""
    comparison = services.comparison
    if not services.reconciled.is_set() or comparison.is_done:
        return False
    more, found = comparison.step(services.custody), comparison.found
    if not more and found != Differences():
        facts = {"erasing": len(found.erasing), "keyless": len(found.keyless)}
        LOG.warning(
            "the records differ from the stores",
            extra={"facts": {**facts, "unrecorded": len(found.unrecorded)}},
        )
    return more


def reconcile_now(services: Services, *, without_witness: bool = False) -> Reconciliation | None:
    """Reconcile now, to the end, and return the findings; None while another process is reconciling."""
    with alone(services.custody.records.engine) as mine:
        if not mine:
            return None
        found = reconcile(
            services.custody,
            services.log_key,
            services.witness,
            without_witness=without_witness,
        )
    _tell(services, found)
    if not without_witness:
        services.reconciled.set()
    return found


def _tell(services: Services, found: Reconciliation) -> None:
    if found != Reconciliation():
        facts = {"adopted": found.adopted, "grants_ended": found.grants_ended, "erasing": len(found.erasing)}
        facts |= {"repeated": sum(found.repeated.values()), "tiles_rebuilt": found.tiles_rebuilt}
        more = {"keyless": len(found.keyless), "unrecorded": len(found.unrecorded)}
        LOG.warning("reconciled the records with the log", extra={"facts": facts | more})
    if found.adopted:  # the newest rules in the log may differ from this process's
        tell_rules(services.custody)


def witness_once(services: Services) -> bool:
    """Copy the log to its mirror if something has waited long enough; return False if that failed."""
    try:
        services.mirror.run_once()
    except ForkedError as error:
        LOG.error("the log is not the one that was witnessed: %s", error)  # noqa: TRY400
        return False
    except (MirrorError, TileMissingError) as error:
        LOG.warning("the witness does not have the newest checkpoint: %s", error)
        return False
    return True


def cosign_once(services: Services) -> bool:
    """Have the newest checkpoint cosigned if that is due; return False if anybody asked did not cosign."""
    if not services.settings.witness.cosigners:
        return True
    now = services.custody.clock.now()
    with services.custody.records.read() as reads:
        note = latest_note(reads)
    if note is None or not services.cosigners.is_due(note, now):
        return True
    refused = services.cosigners.publish(note, now).refused
    for name, why in refused.items():
        LOG.warning("no cosignature by %s: %s", name, why)
    return not refused
