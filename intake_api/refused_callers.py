"""Entries of callers that were not let in (P3): counted by address and reason (`retention.custody.counted`)."""

from __future__ import annotations

from audit.entry import Action, Outcome
from retention.actor import Actor
from retention.custody.context import Custody, entry


def note_refused(custody: Custody, address: str, reason: str, request_id: str) -> None:
    """A caller from `address` was refused for `reason`."""
    particulars = {"ip": address, "request_id": request_id}
    refused = entry(
        Actor(id="act_unknown", roles=frozenset(), particulars=particulars),
        Action.CALLER_REFUSED,
        custody.clock.now(),
        outcome=Outcome.REFUSED,
        reason=reason,
        details={"count": 1},
    )
    custody.counts.strangers.note(custody.records, refused, address)
