"""Two steps of the clock beside the sequencer: the witness gets what has waited; others are asked to cosign the log.

Each is a step of its own, on a timer of its own: both speak to others' servers, and one that hangs holds neither the
other step nor the signing of the log.

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
    try:
        services.mirror.run_once()
    except ForkedError as error:
        LOG.error("the log is not the one that was witnessed: %s", error)  # noqa: TRY400
        return False
    except (WitnessError, TileMissingError) as error:
        LOG.warning("the witness does not have the newest checkpoint: %s", error)
        return False
    return True


def cosign_once(services: Services) -> bool:
    """Have the newest checkpoint cosigned when that is due; False if somebody who was asked did not."""
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
