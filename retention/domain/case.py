"""A case's life.

Rules:
- A case is open or closed. It is opened once, then closed and reopened any number of times.
- Each event has the time when it took effect (`effective_at`) and the time when we heard of it (`recorded_at`).
  We may hear of a close late; what counts is when the case closed, never when we heard.
- No event takes effect in the future, or before the event that precedes it.
- Grants can be given, and bundles claimed, only while the case is open. Bundles can still arrive after it has closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from retention.domain.faults import Conflict, Invalid

NUMBER_PATTERN = r"[0-9]{15,16}"


class CaseState(StrEnum):
    """The states of a case."""

    OPEN = "open"
    CLOSED = "closed"


class CaseEventKind(StrEnum):
    """The events in a case's life."""

    OPENED = "opened"
    CLOSED = "closed"
    REOPENED = "reopened"


TRANSITIONS: Mapping[tuple[CaseState | None, CaseEventKind], CaseState] = {
    (None, CaseEventKind.OPENED): CaseState.OPEN,
    (CaseState.OPEN, CaseEventKind.CLOSED): CaseState.CLOSED,
    (CaseState.CLOSED, CaseEventKind.REOPENED): CaseState.OPEN,
}
"""Every allowed step; any other is a Conflict."""


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One step of a case's history."""

    kind: CaseEventKind
    effective_at: datetime
    recorded_at: datetime


def state_after(history: Sequence[CaseEvent]) -> CaseState | None:
    """Return the state that `history` (in order) leads to; None before the case is opened."""
    state: CaseState | None = None
    for event in history:
        state = step(state, event.kind)
    return state


def step(state: CaseState | None, kind: CaseEventKind) -> CaseState:
    """Return the state after `kind` happens in `state`; an unlisted step is a Conflict."""
    try:
        return TRANSITIONS[state, kind]
    except KeyError:
        raise Conflict(
            f"a case that is {state or 'unknown'} cannot be {kind}", reason=f"case-{state or 'unknown'}"
        ) from None


def next_event(
    history: Sequence[CaseEvent], kind: CaseEventKind, effective_at: datetime, now: datetime
) -> CaseEvent:
    """Return the event to add to `history`; Conflict or Invalid if it cannot happen."""
    step(state_after(history), kind)
    if effective_at > now:
        raise Invalid(
            f"a case cannot be {kind} in the future, at {effective_at.isoformat()}",
            {f"{kind}_at": f"must not be later than now ({now.isoformat()})"},
        )
    if history and effective_at < history[-1].effective_at:
        before = history[-1]
        raise Invalid(
            f"a case cannot be {kind} before it was {before.kind}",
            {f"{kind}_at": f"must not be earlier than {before.effective_at.isoformat()} ({before.kind})"},
        )
    return CaseEvent(kind, effective_at, now)


def check_number(number: str, pattern: str = NUMBER_PATTERN) -> str:
    """Return `number` if it is a case number; Invalid otherwise."""
    if not re.fullmatch(pattern, number, re.ASCII):
        raise Invalid(
            "this is not a case number",
            {"number": f"must match {pattern} (15 or 16 digits unless configured otherwise)"},
        )
    return number
