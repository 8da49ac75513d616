"""Work on one bundle (an erasure, a read-back) on its way through a queue: {"bundle": "<bundle id>"}, as JSON. Pure.

- A message is a hint that there is work, never the work: custody decides from state (P4), so a message may be lost,
  repeated, late or out of order.
- Whatever is not exactly this object is refused. Error texts say what is wrong and quote nothing: anybody who can
  write to the queue could have put anything there.

The erase queue and its poison queue.

- `erase`: one message, one bundle. What custody raises is noted, and left to the host, which delivers the message again
  after the visibility timeout of host.json and gives it up to the poison queue after maxDequeueCount deliveries.
- `erase_poison`: tries a last time through the sweep's own path, so that a failure is an audit entry; it never gives
  work up, because a bundle that is still pending gets a new message with the next sweep.
- A bad message is refused by both: it goes to the poison queue, and there it is entered in the log and ends. Its text
  is written nowhere.

The read-back of received bundles as queue work, so that it grows with the host's instances.

- `read_back`: a timer. It finishes uploads whose last request died at the very end, and puts a message for each bundle
  that waits for its read-back, and that nobody holds, on the queue. What is lost or given up is sent again by the next.
- `read_back_one`: one message, one bundle, under a claim (`custody.read_back_claim`): of several deliveries one reads.
  What cannot be read now is noted, and its next try comes with a message of its own.
- `read_back_poison`: what was delivered too often without an end (a read-back that outlasts functionTimeout). It is
  told in the log; a bad message is entered as refused, and its text is written nowhere.
"""

from __future__ import annotations

import json
import re
from typing import List  # noqa: UP035  # the worker cannot index Out[list[str]]

import azure.functions as func

from audit.entry import Action
from functions.config import CONNECTION, Settings
from functions.triggers import LOG, GetServices, enter_refusal, new_blueprint, note_lateness, retried
from retention.custody.erasure.erasure_steps import erase_bundle
from retention.custody.work_state import note_failure
from retention.domain.bundle import BundleState
from retention.domain.ids import Kind
from retention.jobs.sweep import (
    SPREAD,
    SweepReport,
    erase_one,
    finish_received,
    read_back_one,
    waiting_for_read_back,
)

MAX_BYTES = 256
_BUNDLE = re.compile(rf"{Kind.BUNDLE.value}_[a-z2-7]{{26}}")


class BadMessage(ValueError):
    """This is no work on a bundle."""


def write_message(bundle_id: str) -> str:
    """The message for one bundle."""
    return json.dumps({"bundle": bundle_id})


def read_message(body: bytes) -> str:
    """The bundle id that `body` names. BadMessage."""
    if len(body) > MAX_BYTES:
        raise BadMessage(f"the message has more than {MAX_BYTES} bytes")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("the message is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() != {"bundle"}:
        raise BadMessage("the message is not an object with the one field 'bundle'")
    bundle_id = fields["bundle"]
    if not isinstance(bundle_id, str) or not _BUNDLE.fullmatch(bundle_id):
        raise BadMessage("'bundle' is not a bundle id")
    return bundle_id


def erasing_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """The functions `erase` and `erase_poison`."""
    blueprint = new_blueprint()

    @blueprint.function_name("erase")
    @blueprint.queue_trigger(arg_name="message", queue_name=settings.erase_queue, connection=CONNECTION)
    def erase(message: func.QueueMessage) -> None:
        bundle_id = read_message(message.get_body())
        services().timekeeper.follow()
        custody = services().custody
        try:
            with custody.observer.work("erase"):
                state = erase_bundle(custody, bundle_id)
        except Exception as error:
            note_failure(custody, Action.BUNDLE_ERASED, bundle_id, BundleState.ERASING, error)
            raise
        LOG.info("erase: %s is %s", bundle_id, state)

    @blueprint.function_name("erase_poison")
    @blueprint.queue_trigger(arg_name="message", queue_name=settings.poison_queue, connection=CONNECTION)
    def erase_poison(message: func.QueueMessage) -> None:
        custody = services().custody
        try:
            bundle_id = read_message(message.get_body())
        except BadMessage as error:
            LOG.error("a message on the erase queue is refused: %s", error)
            enter_refusal(custody)
            return
        done = erase_one(custody, bundle_id, SweepReport())
        LOG.error("erasing %s was given up by the queue; %s", bundle_id, "done now" if done else _AGAIN)

    return blueprint


_AGAIN = "it failed again, the next sweep sends it anew"


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
