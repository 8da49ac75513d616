"""The queues: messages that each name one bundle, and the functions that erase it or read it back.

A message is {"bundle": "<bundle id>"}, as JSON.
- It is a hint that there is work, never the work: custody decides from state (P4), so a message may be lost, repeated,
  late or out of order.
- Anything but exactly this object is refused. Error texts say what is wrong and quote nothing: anybody who can write to
  the queue could have put anything there. A bad message goes to the poison queue; there its refusal is entered in the
  log, and its text is written nowhere.

Erasures:
- `erase`: one message, one bundle. An error of custody is noted and left to the host, which delivers the message again
  after the visibility timeout of host.json and moves it to the poison queue after maxDequeueCount deliveries.
- `erase_poison`: tries a last time through the sweep's own path, so that a failure is an audit entry. No work is given
  up: a bundle that is still pending gets a new message with the next sweep.

Read-backs of received bundles are queue work so that they scale with the host's instances:
- `read_back`: a timer. It finishes uploads whose last request died at the very end, and sends a message for each bundle
  that waits for its read-back and that nobody holds. The next run sends again what was lost or given up.
- `read_back_one`: one message, one bundle, under a claim (`custody.uploads.read_back_claim`): of several deliveries one
  reads. A bundle that cannot be read now is noted, and tried again with a message of its own.
- `read_back_poison`: logs what was delivered too often without an end (a read-back that outlasts functionTimeout).
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
from retention.custody.failed_work import note_failure
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
    """A message that does not name a bundle as it must."""


def write_message(bundle_id: str) -> str:
    """Write the message for one bundle."""
    return json.dumps({"bundle": bundle_id})


def read_message(body: bytes) -> str:
    """Return the bundle id that `body` names. BadMessage."""
    if len(body) > MAX_BYTES:
        raise BadMessage(f"the message has {len(body)} bytes; at most {MAX_BYTES} are allowed")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("the message is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() != {"bundle"}:
        raise BadMessage("the message is not an object with exactly one field, 'bundle'")
    bundle_id = fields["bundle"]
    if not isinstance(bundle_id, str) or not _BUNDLE.fullmatch(bundle_id):
        raise BadMessage("'bundle' is not a bundle id")
    return bundle_id


def erasing_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """Make the functions `erase` and `erase_poison`."""
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
            LOG.error("refused a message on the erase queue: %s", error)
            enter_refusal(custody)
            return
        done = erase_one(custody, bundle_id, SweepReport())
        LOG.error("the queue gave up erasing %s; %s", bundle_id, "it is erased now" if done else _SENT_AGAIN)

    return blueprint


_SENT_AGAIN = "it failed again; the next sweep sends it again"


AT_ONCE = 8
"""Uploads finished in one run, and a SPREADth of the messages sent: a queue that drains more slowly than it fills must
not fill with repeats."""


def read_back_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """Make the functions `read_back`, `read_back_one` and `read_back_poison`."""
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
        LOG.info("read_back: %d waiting, %d retried, at most %d", len(fresh), len(again), AT_ONCE * SPREAD)
        if fresh or again:
            waiting.set([write_message(bundle_id) for bundle_id in (*fresh, *again)])

    @blueprint.function_name("read_back_one")
    @blueprint.queue_trigger(arg_name="message", queue_name=settings.read_back_queue, connection=CONNECTION)
    def one(message: func.QueueMessage) -> None:
        bundle_id, report = read_message(message.get_body()), SweepReport()
        services().timekeeper.follow()
        taken = read_back_one(services().custody, bundle_id, report)
        done = (
            "read back" if report.verified else "not read back now" if taken else "done, or held by another"
        )
        LOG.info("read_back_one: %s is %s", bundle_id, done)

    @blueprint.function_name("read_back_poison")
    @blueprint.queue_trigger(
        arg_name="message", queue_name=settings.read_back_poison_queue, connection=CONNECTION
    )
    def poison(message: func.QueueMessage) -> None:
        try:
            bundle_id = read_message(message.get_body())
        except BadMessage as error:
            LOG.error("refused a message on the read-back queue: %s", error)
            enter_refusal(services().custody)
            return
        LOG.error("the queue gave up reading %s back; the next read_back sends it again", bundle_id)

    return blueprint
