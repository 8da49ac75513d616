"""When a bundle's data must be gone: a pure function of its history (P4, P9).

Rules:
- The case closed: close + 90 days exactly, UTC. Reopening cancels; the next close starts anew.
- A bundle that arrives after the close shares the case's deadline.
- A bundle moved between cases takes the earlier of the two deadlines: the one it had when it left stays its cap.
- An open case keeps its bundles (a cap still counts).
- A bundle without a case: receipt + 90 days. Once a case claims it, the case's clock alone counts.
- No legal hold exists: 90 days is a maximum, and the bundle is due AT the deadline, not after it.
- An unfinished upload expires one lifetime (7 days) after the log's last entry of bytes received for it, and at most a
  fixed time (30 days) after its creation. So the log alone tells when. The number of entries is bounded: while bytes
  arrive, one is written per step of the lifetime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retention.domain.case import CaseEvent, CaseEventKind

RETENTION = timedelta(days=90)
TOLD_IN_A_LIFETIME = 24
"""The most entries written in an upload's lifetime for the bytes of one request that is still running."""


class Reason(StrEnum):
    """Why a bundle is kept or must go."""

    CASE_OPEN = "case-open"
    CASE_CLOSED = "case-closed"
    MOVED = "moved-from-closed-case"
    UNCLAIMED = "unclaimed"


@dataclass(frozen=True, slots=True)
class BundleHistory:
    """Everything the deadline depends on.

    `received_at` is when the last byte was received or, while the upload runs, when it was created; `case` is the
    history of the case that holds the bundle now (None: unclaimed); `cap` is the deadline it left a case with.
    """

    received_at: datetime
    case: Sequence[CaseEvent] | None
    cap: datetime | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the data; `due` is the deadline as things stand (None: no clock runs)."""

    reason: Reason
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Erase:
    """Erase the data, which was due at `due`."""

    reason: Reason
    due: datetime


def case_deadline(case: Sequence[CaseEvent]) -> datetime | None:
    """Return the deadline of a case's data; None while the case is open."""
    last = case[-1] if case else None
    return last.effective_at + RETENTION if last and last.kind is CaseEventKind.CLOSED else None


def due(history: BundleHistory) -> tuple[datetime | None, Reason]:
    """Return a bundle's deadline and the rule that sets it."""
    if history.case is None:
        return history.received_at + RETENTION, Reason.UNCLAIMED
    of_case = case_deadline(history.case)
    if history.cap is not None and (of_case is None or history.cap < of_case):
        return history.cap, Reason.MOVED
    return of_case, Reason.CASE_OPEN if of_case is None else Reason.CASE_CLOSED


def decide(history: BundleHistory, now: datetime) -> Keep | Erase:
    """Decide whether to keep or erase the bundle at `now`."""
    at, reason = due(history)
    return Erase(reason, at) if at is not None and now >= at else Keep(reason, at)


def upload_expiry(
    created_at: datetime, told_at: datetime, lifetime: timedelta, longest: timedelta
) -> datetime:
    """Return until when an upload is kept; `told_at` is its last entry of bytes received, at first its creation."""
    return min(told_at + lifetime, created_at + longest)


def must_tell(expires_at: datetime, told_now: datetime, lifetime: timedelta) -> bool:
    """Tell whether received bytes need an entry before their request ends: it would move `expires_at` to `told_now`."""
    return told_now - expires_at >= lifetime / TOLD_IN_A_LIFETIME


def cap_after_move(left: BundleHistory) -> datetime | None:
    """Return the cap that a bundle takes along when it leaves a case for another; None if no case held it."""
    return None if left.case is None else due(left)[0]
