"""When a bundle's data must be gone: a pure function of its history (P4, P9).

Rules:
- The case closed: close + 90 days exactly, UTC. Reopening cancels; the next close starts anew.
- A bundle that arrives after the close shares the case's deadline.
- A bundle moved between cases takes the earlier deadline of the two: the deadline it had when it left stays its cap.
- An open case keeps its bundles (a cap still counts).
- A bundle without a case: receipt + 90 days. Once a case claims it, the case's clock alone counts.
- No legal hold exists: 90 days is a maximum, and the bundle is due AT the deadline, not after it.
- An unfinished upload expires a lifetime after the log was last told of bytes of it (7 days), and at the longest a
  fixed time after its creation (30 days). So the log alone tells when, and its entries are bounded: while bytes come,
  it is told once in a step of the lifetime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retention.domain.case import CaseEvent, CaseEventKind

RETENTION = timedelta(days=90)
TOLD_IN_A_LIFETIME = 24
"""How often, at most, the log is told in an upload's lifetime that bytes of one request still come."""


class Reason(StrEnum):
    """Why a bundle is kept or must go."""

    CASE_OPEN = "case-open"
    CASE_CLOSED = "case-closed"
    MOVED = "moved-from-closed-case"
    UNCLAIMED = "unclaimed"


@dataclass(frozen=True, slots=True)
class BundleHistory:
    """All that the deadline depends on.

    `received_at` is when the last byte was received, or when the upload was created while it still runs; `case` is the
    history of the case that holds the bundle now (None: no case claimed it); `cap` is the deadline it left a case with.
    """

    received_at: datetime
    case: Sequence[CaseEvent] | None
    cap: datetime | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """The data stays; `due` is when that would end as things stand (None: no clock runs)."""

    reason: Reason
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Erase:
    """The data must go; it was due at `due`."""

    reason: Reason
    due: datetime


def case_deadline(case: Sequence[CaseEvent]) -> datetime | None:
    """The deadline of a case's data; None while it is open."""
    last = case[-1] if case else None
    return last.effective_at + RETENTION if last and last.kind is CaseEventKind.CLOSED else None


def due(history: BundleHistory) -> tuple[datetime | None, Reason]:
    """The deadline of a bundle and the rule that sets it."""
    if history.case is None:
        return history.received_at + RETENTION, Reason.UNCLAIMED
    of_case = case_deadline(history.case)
    if history.cap is not None and (of_case is None or history.cap < of_case):
        return history.cap, Reason.MOVED
    return of_case, Reason.CASE_OPEN if of_case is None else Reason.CASE_CLOSED


def decide(history: BundleHistory, now: datetime) -> Keep | Erase:
    """Keep or erase at `now`."""
    at, reason = due(history)
    return Erase(reason, at) if at is not None and now >= at else Keep(reason, at)


def upload_expiry(
    created_at: datetime, told_at: datetime, lifetime: timedelta, longest: timedelta
) -> datetime:
    """Until when an upload is kept whose bytes the log was last told of at `told_at`; at first, its creation."""
    return min(told_at + lifetime, created_at + longest)


def must_tell(expires_at: datetime, told_now: datetime, lifetime: timedelta) -> bool:
    """Whether bytes that come are told to the log before their request ends: `told_now` is what that makes of the
    expiry `expires_at`."""
    return told_now - expires_at >= lifetime / TOLD_IN_A_LIFETIME


def cap_after_move(left: BundleHistory) -> datetime | None:
    """The cap that a bundle takes along when it leaves a case for another; from no case it takes none."""
    return None if left.case is None else due(left)[0]
