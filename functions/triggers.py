"""What the functions share: how they get their services, and how a failed timer is retried.

A failed timer does not run again before its next tick unless it has a retry policy. Queues have none: they count
deliveries instead (host.json).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import azure.functions as func

from audit.entry import Action, Outcome
from retention.assembly import Services
from retention.custody.context import Custody, entry
from retention.domain.actor import Actor

GetServices = Callable[[], Services]
LOG = logging.getLogger("casevault.functions")
UNKNOWN = Actor(id="act_unknown", roles=frozenset())
"""The sender of a bad message: a queue does not say who it was."""


def new_blueprint() -> func.Blueprint:
    """Make an empty blueprint."""
    return func.Blueprint()  # type: ignore[no-untyped-call]


def retried(blueprint: func.Blueprint) -> Callable[..., Any]:
    """Make a decorator: the host runs a failed timer three times more, 20 seconds apart, before the next tick."""
    return blueprint.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:20")


def note_lateness(name: str, timer: func.TimerRequest) -> None:
    """Log a tick that was missed while no host ran. Nothing else is needed: the work is derived from state."""
    if timer.past_due:
        LOG.warning("%s is running late: the host was down when it was due", name)


def enter_refusal(custody: Custody) -> None:
    """Enter in the log that a queue's message was refused."""
    now = custody.clock.now()
    why = "message-malformed"
    refused = entry(UNKNOWN, Action.CALLER_REFUSED, now, outcome=Outcome.REFUSED, reason=why)
    custody.counts.strangers.note(custody.records, refused, "queue")
