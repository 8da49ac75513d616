"""The clock's first step, whichever clock it is: reconcile, then sequence, then sign the receipts that wait (P7).

- A process reconciles once before it has anything sequenced, and again when the sequencer finds that the database, or
  the store of tiles, was restored under it.
- One process at a time reconciles. The others do not wait: nothing is sequenced by them until their turn, which finds
  nothing left to do.
- ForkedError, NotOurTailError: two histories. Nothing is sequenced; somebody must look.
- WitnessUnavailableError: nothing is sequenced until the witness answers. Late can be made good, forked not.
"""

from __future__ import annotations

import logging

from audit.checkpoint import Checkpoint
from audit.sequencer import RolledBackError, TilesBehindError
from retention.assembly import Services
from retention.custody import receipts
from retention.custody.rules import tell_rules
from retention.reconcile import Reconciliation, reconcile
from retention.records.alone import alone

LOG = logging.getLogger(__name__)


def sequence_once(services: Services) -> Checkpoint | None:
    """One run of the sequencer, and receipts signed; None while nothing was ever logged, or another reconciles."""
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
    return checkpoint


def reconcile_once(services: Services) -> bool:
    """True when this process has held the records against log and key store; False when another one is at it."""
    if services.reconciled.is_set():
        return True
    return reconcile_now(services) is not None


def reconcile_now(services: Services, *, without_witness: bool = False) -> Reconciliation | None:
    """What was found and begun; None when another process is at it."""
    with alone(services.custody.records.engine) as mine:
        if not mine:
            return None
        found = reconcile(
            services.custody,
            services.log_key,
            services.witness,
            without_witness=without_witness,
        )
    if found != Reconciliation():
        facts = {"adopted": found.adopted, "grants_ended": found.grants_ended, "erasing": len(found.erasing)}
        facts |= {"repeated": sum(found.repeated.values()), "tiles_rebuilt": found.tiles_rebuilt}
        more = {"keyless": len(found.keyless), "unrecorded": len(found.unrecorded)}
        LOG.warning("reconciled the records with the log", extra={"facts": facts | more})
    if found.adopted:  # the newest rules in the log may be others than this process goes by
        tell_rules(services.custody)
    if not without_witness:
        services.reconciled.set()
    return found
