"""One step of the clock after the sequencer: the witness gets what has waited, and others are asked to cosign it.

What goes wrong here stops nothing: checkpoints wait, the lag shows it, and the next step tries again. A fork is
logged as an error each time, for as long as it stands: it does not go away by waiting.
"""

from __future__ import annotations

import logging

from audit.log import latest_note
from audit.mirror import ForkedError
from audit.tiles import TileMissingError
from audit.witness import WitnessError
from retention.assembly import Services

LOG = logging.getLogger(__name__)


def witness_once(services: Services) -> bool:
    """Copy the log to its witness when something has waited long enough; False if that failed."""
    before = services.mirror.kept
    try:
        kept = services.mirror.run_once()
    except ForkedError as error:
        LOG.error("the log is not the one that was witnessed: %s", error)  # noqa: TRY400
        return False
    except (WitnessError, TileMissingError) as error:
        LOG.warning("the witness does not have the newest checkpoint: %s", error)
        return False
    if kept is not None and kept != before:
        _cosign(services)
    return True


def _cosign(services: Services) -> None:
    with services.custody.records.read() as reads:
        note = latest_note(reads)
    cosigned = services.cosigners.publish(note) if note else None
    for name, why in cosigned.refused.items() if cosigned else ():
        LOG.warning("no cosignature by %s: %s", name, why)
