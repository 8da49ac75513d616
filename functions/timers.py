"""The timers: sweep, tidy, sequence, witness, cosign, scrub, index and notices.

Each is a timer of its own: a signed checkpoint is promised within seconds, scrubbing takes minutes, witnesses are other
people's servers that may hang, and the host does not start a timer again while it still runs.

- `sequence`: its first run in a process catches up with the longest copy of the log; then it compares the records with
  log and stores, COMPARED_SECONDS in each run until that is done (P7).
- `sweep`: begins what is due or expired, puts one message per pending bundle on the erase queue, and lapses requests
  for approval. Order: * state `erasing` (custody's commit) -> message. A crash between the two, or a lost message,
  costs time only: every sweep sends messages for all pending bundles, whoever began them, on-demand ones first.
- `tidy`: daily, because it looks at every bundle in the stores. It removes parts that became durable while their bundle
  was being erased: noise without the key, but not to be kept for ever (P7).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import List  # noqa: UP035  # the worker cannot index Out[list[str]]

import azure.functions as func

from functions.config import CONNECTION, Settings
from functions.queues import write_message
from functions.triggers import LOG, GetServices, new_blueprint, note_lateness, retried
from retention.custody import contents_index, resending
from retention.custody.contents_index import index_next
from retention.custody.context import Custody
from retention.jobs.scrub import Pace, scrub_next
from retention.jobs.send_notices import send_notices
from retention.jobs.sequencing import compare_once, cosign_once, sequence_once, witness_once
from retention.jobs.sweep import (
    BATCH,
    begin_due,
    begin_expired,
    failed_erasures,
    lapse_requests,
    pending_erasures,
    remove_orphans,
)

COMPARED_SECONDS = 5.0
"""How long one run compares records and stores, after the log was signed: the next entries wait that long at most."""
INDEX_SECONDS, BEGUN_SECONDS = 420.0, 60.0
"""How long one contents index may take, and for how long one run begins others: together less than the host's
functionTimeout."""
NOTICES_SECONDS = 60.0
"""How long one run sends notices, while there are more."""
SCRUBBED = 4
"""Bundles scrubbed in one run: together they must fit in the host's functionTimeout."""


def recording_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """Make the functions `sequence`, `witness`, `cosign`, `scrub`, `index` and `notices`."""
    blueprint = new_blueprint()

    @blueprint.function_name("sequence")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.sequence_schedule, run_on_startup=False)
    @retried(blueprint)
    def sequence(timer: func.TimerRequest) -> None:
        note_lateness("the sequencer", timer)
        parts = services()
        parts.custody.write_counts()
        checkpoint = sequence_once(parts)
        until = time.monotonic() + COMPARED_SECONDS
        while compare_once(parts) and time.monotonic() < until:
            pass
        LOG.info("sequence: the log has %d entries", checkpoint.size if checkpoint else 0)

    @blueprint.function_name("witness")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.witness_schedule, run_on_startup=False)
    @retried(blueprint)
    def witness(timer: func.TimerRequest) -> None:
        note_lateness("the witness", timer)
        witness_once(services())

    @blueprint.function_name("cosign")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.cosign_schedule, run_on_startup=False)
    @retried(blueprint)
    def cosign(timer: func.TimerRequest) -> None:
        note_lateness("the cosigning", timer)
        cosign_once(services())

    @blueprint.function_name("scrub")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.scrub_schedule, run_on_startup=False)
    @retried(blueprint)
    def scrub(timer: func.TimerRequest) -> None:
        note_lateness("the scrubbing", timer)
        pace = Pace(settings.custody.scrub_period)
        for _ in range(SCRUBBED):
            if not scrub_next(services().custody, pace):
                break

    @blueprint.function_name("index")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.index_schedule, run_on_startup=False)
    @retried(blueprint)
    def index(timer: func.TimerRequest) -> None:
        note_lateness("the indexing", timer)
        until = time.monotonic() + BEGUN_SECONDS
        while index_next(services().custody, contents_index.Pace(INDEX_SECONDS)):
            if time.monotonic() > until:
                break

    @blueprint.function_name("notices")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.notices_schedule, run_on_startup=False)
    @retried(blueprint)
    def notices(timer: func.TimerRequest) -> None:
        note_lateness("the sending of notices", timer)
        parts, until = services(), time.monotonic() + NOTICES_SECONDS
        while send_notices(parts.custody, parts.senders).busy and time.monotonic() < until:
            pass

    return blueprint


MOST = 2000
"""Bundles begun, and messages sent, in one sweep: the host sends them one by one within its timeout."""


def sweeping_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """Make the functions `sweep` and `tidy`."""
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
        due, expired = _until_none_left(begin_due, custody), _until_none_left(begin_expired, custody)
        # A bundle can be waiting under several erasures: one message is enough.
        pending = dict.fromkeys(bundle_id for _erasure_id, bundle_id in pending_erasures(custody, MOST))
        pending |= dict.fromkeys(failed_erasures(custody, MOST - len(pending)))
        LOG.info("sweep: %d due, %d expired, %d to erase", due, expired, len(pending))
        if pending:
            erase.set([write_message(bundle_id) for bundle_id in pending])
        lapse_requests(custody)  # last: no erasure waits for it

    @blueprint.function_name("tidy")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.tidy_schedule, run_on_startup=False)
    @retried(blueprint)
    def tidy(timer: func.TimerRequest) -> None:
        note_lateness("the tidying", timer)
        LOG.info("tidy: removed %d orphaned objects", remove_orphans(services().custody))

    return blueprint


def _until_none_left(begin: Callable[[Custody, int], int], custody: Custody) -> int:
    begun = 0
    while begun < MOST and (more := begin(custody, min(BATCH, MOST - begun))):
        begun += more
    return begun
