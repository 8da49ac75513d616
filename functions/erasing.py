"""The erase queue and its poison queue.

- `erase`: one message, one bundle. What custody raises is noted, and left to the host, which delivers the message again
  after the visibility timeout of host.json and gives it up to the poison queue after maxDequeueCount deliveries.
- `erase_poison`: tries a last time through the sweep's own path, so that a failure is an audit entry; it never gives
  work up, because a bundle that is still pending gets a new message with the next sweep.
- A bad message is refused by both: it goes to the poison queue, and there it is entered in the log and ends. Its text
  is written nowhere.
"""

from __future__ import annotations

import azure.functions as func

from audit.entry import Action
from functions.message import BadMessage, read_message
from functions.settings import CONNECTION, Settings
from functions.triggers import LOG, GetServices, enter_refusal, new_blueprint
from retention.bundle import BundleState
from retention.custody.erasing import erase_bundle
from retention.custody.failed_work import note_failure
from retention.sweep import SweepReport, erase_one


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
