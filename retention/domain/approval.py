"""Approval of access: which grants wait for the customer's answer, and what an answer does (P2). Pure.

Rules:
- A customer's operator chooses, for all cases or for one:
  `see`        nobody is asked: the customer is shown each grant, as everybody always is. The default.
  `own-cases`  asked is for a grant to somebody who is not the case's owner, and for a long one.
  `ask`        asked is for every grant.
  A case's own choice counts before the customer's; `inherited` takes it back.
- The owner of a case is the engineer whose assignment to it is the oldest of those that have not ended. A partner's
  engineer is never taken for the owner. Long is a grant of more than the policy says, by default DEFAULT_DURATION.
- A policy counts for the grants that are asked for from then on. It neither ends a live grant nor answers a request.
- A request opens nothing. It waits until the customer answers it, at most WAITS, and then lapses by itself.
- Its customer's operators answer, and nobody their own request. One answer is given; it can carry a note.
- A given approval makes the grant, by the rules of `retention.domain.grants` as of that moment: its clock starts then.
- The asker can withdraw a request that waits. The customer can withdraw an approval while its grant lives, which ends
  the grant. Everything else is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict, Invalid
from retention.domain.grants import DEFAULT_DURATION, LONGEST, SHORTEST, Denied

WAITS = timedelta(days=4)
MAX_NOTE_CHARACTERS = 1000


class Rule(StrEnum):
    """What a policy says about asking."""

    SEE = "see"
    OWN_CASES = "own-cases"
    ASK = "ask"
    INHERITED = "inherited"


class Asks(StrEnum):
    """When one person's grant for one case waits for an approval."""

    NEVER = "never"
    LONGER = "longer"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a customer chose; `long` counts for `own-cases` only."""

    rule: Rule = Rule.SEE
    long: timedelta = DEFAULT_DURATION

    def asks(self, actor: Actor, owner: str | None) -> Asks:
        """Tell when a grant of this actor waits, for a case that `owner` owns."""
        if self.rule is not Rule.OWN_CASES:
            return Asks.ALWAYS if self.rule is Rule.ASK else Asks.NEVER
        owns = actor.has(Role.SUPPORT_ENGINEER) and actor.id == owner
        return Asks.LONGER if owns else Asks.ALWAYS

    def needs_approval(self, actor: Actor, owner: str | None, duration: timedelta) -> bool:
        """Tell whether a grant of this `duration` waits."""
        asks = self.asks(actor, owner)
        return asks is Asks.ALWAYS or (asks is Asks.LONGER and duration > self.long)


def check_policy(rule: Rule, long: timedelta | None, *, of_case: bool) -> Policy:
    """Return the policy that somebody chose; Invalid if there is none such."""
    if rule is Rule.INHERITED and not of_case:
        raise Invalid("nothing is above the customer's own policy", {"rule": "must be see, own-cases or ask"})
    if long is None:
        return Policy(rule)
    if rule is not Rule.OWN_CASES:
        raise Invalid(
            f"the rule {rule} asks whatever the duration", {"long_minutes": "only for the rule own-cases"}
        )
    if not SHORTEST <= long <= LONGEST:
        raise Invalid(f"no grant lasts {long}", {"long_minutes": "must be 15 minutes to 24 hours"})
    return Policy(rule, long)


class State(StrEnum):
    """The state of a request: it waits for an answer (`asked`), or how it ended."""

    ASKED = "asked"
    GIVEN = "given"
    DECLINED = "declined"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    """What somebody does with a request."""

    GIVE = "give"
    DECLINE = "decline"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for a grant, and its answer."""

    tenant: str
    asker: str
    state: State
    lapses_at: datetime

    def at(self, now: datetime) -> State:
        """Return the state at `now`: one that waited too long has lapsed, whoever has noticed."""
        over = self.state is State.ASKED and now >= self.lapses_at
        return State.LAPSED if over else self.state


_ANSWERS: Mapping[tuple[State, Step], State] = {
    (State.ASKED, Step.GIVE): State.GIVEN,
    (State.ASKED, Step.DECLINE): State.DECLINED,
    (State.GIVEN, Step.WITHDRAW): State.WITHDRAWN,
}
"""What the customer's operators do."""
_OWN: Mapping[tuple[State, Step], State] = {(State.ASKED, Step.WITHDRAW): State.WITHDRAWN}
"""What the asker does."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that can be taken: to which `state`."""

    state: State
    repeated: bool = field(default=False)
    """The request is in that state already: nothing changes."""


def decide_step(approval: Approval, step: Step, actor: Actor, now: datetime, *, live: bool) -> Taken | Denied:
    """Decide whether `actor` can take this step at `now`; `live`: the grant that was approved has not ended.

    Conflict if the request's state does not allow it.
    """
    own = actor.id == approval.asker
    customers = actor.has(Role.OPERATOR) and actor.tenant == approval.tenant
    steps = _OWN if own else _ANSWERS if customers else {}
    if step not in {allowed for _, allowed in steps}:
        return Denied("own-request", "somebody else has to answer your own request") if own else NOT_CUSTOMERS
    state = approval.at(now)
    to = steps.get((state, step))
    if to is None and state in {into for (_, allowed), into in steps.items() if allowed is step}:
        return Taken(state, repeated=True)
    if to is None or (state is State.GIVEN and not live):
        over = f"{state}, and its grant has ended" if state is State.GIVEN else str(state)
        raise Conflict(
            f"this request for approval is {over}; that cannot be changed any more",
            reason=f"approval-{state}",
        )
    return Taken(to)


NOT_CUSTOMERS = Denied("not-an-approver", "only operators of the case's own customer answer for it")
