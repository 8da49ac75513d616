"""Review of grants: somebody else looks at what was done under each, after its end (P3). Pure.

Rules:
- Every grant can be reviewed once it is over, however it ended, used or not. Until then there is nothing to judge.
- An auditor reviews it, who is not its holder and did not approve it.
- Signed off is final. Questioned, which takes a note that says what is in question, stays open: it is signed off when
  the question is answered, by the same auditor or another.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict, Invalid
from retention.domain.grants import Denied, check_reason


class Verdict(StrEnum):
    """What an auditor says of a grant."""

    SIGNED_OFF = "signed-off"
    QUESTIONED = "questioned"


OPEN = "open"
"""The state of a review of which nobody has said anything yet."""


def decide_review(
    auditor: Actor,
    taken_part: frozenset[str],
    ended_at: datetime | None,
    before: Verdict | None,
    verdict: Verdict,
    note: str | None,
    now: datetime,
) -> Denied | None:
    """Return None if `auditor` can say this of a grant; else the denial.

    `taken_part`: the actors who held or approved it; `before`: the verdict so far. Conflict if it lives, or is signed
    off; Invalid for a question without a question.
    """
    if not auditor.has(Role.AUDITOR):
        return Denied(
            "role-missing", "this needs the role CaseVault.Auditor, which your token does not carry"
        )
    if auditor.id in taken_part:
        return Denied("own-grant", "you held this grant, or approved it: another auditor has to review it")
    if ended_at is None or now < ended_at:
        raise Conflict("this grant lives: it can be reviewed when it is over", reason="grant-live")
    if before is Verdict.SIGNED_OFF:
        raise Conflict("this grant is signed off; that is final", reason="signed-off")
    if verdict is Verdict.QUESTIONED and (missing := check_reason(note or "")):
        raise Invalid("say what is in question", {"note": missing.message})
    return None
