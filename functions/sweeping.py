"""The timers that find work: `sweep` and `tidy`.

Sweep: begins what is due or expired, then puts one message per pending bundle on the erase queue.

Order: * state `erasing` (custody's commit) -> message. A crash between the two, or a message that is lost, costs time
only: every sweep sends messages for all bundles that are pending, whoever began them, on-demand ones first.

Tidy: looks at every bundle in the stores, so it goes daily: a part that became durable while its bundle was erased is
noise without its key, and is not for ever (P7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import List  # noqa: UP035  # the worker cannot index Out[list[str]]

import azure.functions as func

from functions.message import write_message
from functions.settings import CONNECTION, Settings
from functions.triggers import LOG, GetServices, new_blueprint, note_lateness, retried
from retention.custody import resending
from retention.custody.context import Custody
from retention.sweep import BATCH, begin_due, begin_expired, failed_erasures, pending_erasures, remove_orphans

MOST = 2000
"""Bundles begun, and messages sent, in one sweep: the host sends them one by one within its timeout."""


def sweeping_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """The functions `sweep` and `tidy`."""
    blueprint = new_blueprint()

    @blueprint.function_name("sweep")
    @blueprint.timer_trigger(
        arg_name="timer", schedule=settings.sweep_schedule, run_on_startup=False, use_monitor=True
    )
    @blueprint.queue_output(arg_name="erase", queue_name=settings.erase_queue, connection=CONNECTION)
    @retried(blueprint)
    def sweep(timer: func.TimerRequest, erase: func.Out[List[str]]) -> None:  # noqa: UP006
        note_lateness("the sweep", timer)
        services().timekeeper.keep()
        custody = services().custody
        resending.forget(custody)
        due, expired = _until_dry(begin_due, custody), _until_dry(begin_expired, custody)
        # A bundle can be waiting under several erasures: one message is enough.
        pending = dict.fromkeys(bundle_id for _erasure_id, bundle_id in pending_erasures(custody, MOST))
        pending |= dict.fromkeys(failed_erasures(custody, MOST - len(pending)))
        LOG.info("sweep: %d due, %d expired, %d to erase", due, expired, len(pending))
        if pending:
            erase.set([write_message(bundle_id) for bundle_id in pending])

    @blueprint.function_name("tidy")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.tidy_schedule, run_on_startup=False)
    @retried(blueprint)
    def tidy(timer: func.TimerRequest) -> None:
        note_lateness("the tidying", timer)
        LOG.info("tidy: removed %d objects that nothing names", remove_orphans(services().custody))

    return blueprint


def _until_dry(begin: Callable[[Custody, int], int], custody: Custody) -> int:
    begun = 0
    while begun < MOST and (more := begin(custody, min(BATCH, MOST - begun))):
        begun += more
    return begun
