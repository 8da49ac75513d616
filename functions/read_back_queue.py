"""The read-back of received bundles as queue work, so that it grows with the host's instances.

- `read_back`: a timer. It finishes uploads whose last request died at the very end, and puts a message for each bundle
  that waits for its read-back, and that nobody holds, on the queue. What is lost or given up is sent again by the next.
- `read_back_one`: one message, one bundle, under a claim (`custody.read_back_claim`): of several deliveries one reads.
  What cannot be read now is noted, and its next try comes with a message of its own.
- `read_back_poison`: what was delivered too often without an end (a read-back that outlasts functionTimeout). It is
  told in the log; a bad message is entered as refused, and its text is written nowhere.
"""

from __future__ import annotations

from typing import List  # noqa: UP035  # the worker cannot index Out[list[str]]

import azure.functions as func

from functions.message import BadMessage, read_message, write_message
from functions.settings import CONNECTION, Settings
from functions.triggers import LOG, GetServices, enter_refusal, new_blueprint, note_lateness, retried
from retention.sweep import SPREAD, SweepReport, finish_received, read_back_one, waiting_for_read_back

AT_ONCE = 8
"""Uploads finished, and a SPREADth of the messages sent, in one run: a queue that is worked off more slowly than it is
filled must not fill with repeats."""


def read_back_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """The functions `read_back`, `read_back_one` and `read_back_poison`."""
    blueprint = new_blueprint()

    @blueprint.function_name("read_back")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.read_back_schedule, run_on_startup=False)
    @blueprint.queue_output(arg_name="waiting", queue_name=settings.read_back_queue, connection=CONNECTION)
    @retried(blueprint)
    def read_back(timer: func.TimerRequest, waiting: func.Out[List[str]]) -> None:  # noqa: UP006
        note_lateness("the read-back", timer)
        custody, report = services().custody, SweepReport()
        finish_received(custody, report, AT_ONCE)
        fresh, again = waiting_for_read_back(custody, AT_ONCE)
        LOG.info(
            "read_back: %d wait, %d are tried again, at most %d", len(fresh), len(again), AT_ONCE * SPREAD
        )
        if fresh or again:
            waiting.set([write_message(bundle_id) for bundle_id in (*fresh, *again)])

    @blueprint.function_name("read_back_one")
    @blueprint.queue_trigger(arg_name="message", queue_name=settings.read_back_queue, connection=CONNECTION)
    def one(message: func.QueueMessage) -> None:
        bundle_id, report = read_message(message.get_body()), SweepReport()
        services().timekeeper.follow()
        taken = read_back_one(services().custody, bundle_id, report)
        done = "read back" if report.verified else "not read back now" if taken else "another's, or done"
        LOG.info("read_back_one: %s is %s", bundle_id, done)

    @blueprint.function_name("read_back_poison")
    @blueprint.queue_trigger(
        arg_name="message", queue_name=settings.read_back_poison_queue, connection=CONNECTION
    )
    def poison(message: func.QueueMessage) -> None:
        try:
            bundle_id = read_message(message.get_body())
        except BadMessage as error:
            LOG.error("a message on the read-back queue is refused: %s", error)
            enter_refusal(services().custody)
            return
        LOG.error("reading %s back was given up by the queue; the next read_back sends it anew", bundle_id)

    return blueprint
