"""Which grants wait for the customer, who answers, and what never happens, whatever is tried in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.domain.actor import Actor, Role
from retention.domain.approval import (
    WAITS,
    Approval,
    Asks,
    Policy,
    Rule,
    State,
    Step,
    Taken,
    check_policy,
    decide_step,
)
from retention.domain.bundle import BundleState
from retention.domain.case import CaseState
from retention.domain.faults import Conflict, Invalid
from retention.domain.grants import (
    DEFAULT_DURATION,
    Allowed,
    CaseFacts,
    Denied,
    Grant,
    decide_grant,
    decide_open,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
REASON = "Investigate the failed drive of node 4"
ERIN = Actor(id="erin", roles=frozenset({Role.SUPPORT_ENGINEER}))
CARL = Actor(id="carl", roles=frozenset({Role.SUPPORT_ENGINEER}))
PAT = Actor(id="pat", roles=frozenset({Role.PARTNER_ENGINEER}), partner="oem")
OLGA = Actor(id="olga", roles=frozenset({Role.OPERATOR}), tenant="contoso")
BOTH = Actor(id="both", roles=frozenset({Role.OPERATOR, Role.SUPPORT_ENGINEER}), tenant="contoso")
STRANGERS = (
    Actor(id="oscar", roles=frozenset({Role.OPERATOR}), tenant="fabrikam"),
    Actor(id="audrey", roles=frozenset({Role.AUDITOR}), tenant="contoso"),
    Actor(id="root", roles=frozenset({Role.ADMINISTRATOR})),
    CARL,
)


@pytest.mark.parametrize(
    ("rule", "actor", "owner", "asks"),
    [
        (Rule.SEE, CARL, "erin", Asks.NEVER),
        (Rule.SEE, PAT, None, Asks.NEVER),
        (Rule.OWN_CASES, ERIN, "erin", Asks.LONGER),
        (Rule.OWN_CASES, CARL, "erin", Asks.ALWAYS),
        (Rule.OWN_CASES, ERIN, None, Asks.ALWAYS),
        (Rule.OWN_CASES, PAT, "pat", Asks.ALWAYS),
        (Rule.ASK, ERIN, "erin", Asks.ALWAYS),
    ],
)
def test_who_is_asked_for(rule: Rule, actor: Actor, owner: str | None, asks: Asks) -> None:
    assert Policy(rule).asks(actor, owner) is asks
    assert Policy(rule).needs_approval(actor, owner, DEFAULT_DURATION) is (asks is Asks.ALWAYS)
    assert Policy(rule).needs_approval(actor, owner, DEFAULT_DURATION + TICK) is (asks is not Asks.NEVER)


def test_a_policy_that_means_nothing_is_refused() -> None:
    assert check_policy(Rule.OWN_CASES, HOUR, of_case=False) == Policy(Rule.OWN_CASES, HOUR)
    assert check_policy(Rule.INHERITED, None, of_case=True).rule is Rule.INHERITED
    for rule, long, of_case in (
        (Rule.INHERITED, None, False),
        (Rule.ASK, HOUR, True),
        (Rule.SEE, HOUR, False),
        (Rule.OWN_CASES, timedelta(minutes=14), True),
        (Rule.OWN_CASES, 25 * HOUR, True),
    ):
        with pytest.raises(Invalid):
            check_policy(rule, long, of_case=of_case)


@dataclass
class Story:
    """A request's story as custody would write it, and what was done to it."""

    now: datetime = START
    approval: Approval = field(
        default_factory=lambda: Approval("contoso", "both", State.ASKED, START + WAITS)
    )
    grant: Grant | None = None
    given_by: list[tuple[str, datetime]] = field(default_factory=list)
    over: bool = False

    def live(self) -> bool:
        return self.grant is not None and self.grant.is_live(self.now)

    def opens(self) -> bool:
        grants = [] if self.grant is None else [self.grant]
        facts = CaseFacts("c1", CaseState.OPEN, assigned=True)
        return isinstance(decide_open(BOTH, facts, "b1", BundleState.COMPLETE, grants, self.now), Allowed)

    def take(self, step: Step, actor: Actor) -> Taken | Denied | None:
        try:
            taken = decide_step(self.approval, step, actor, self.now, live=self.live())
        except Conflict:
            return None
        if isinstance(taken, Denied) or taken.repeated:
            return taken
        self.approval = replace(self.approval, state=taken.state)
        if taken.state is State.GIVEN:
            facts = CaseFacts("c1", CaseState.OPEN, assigned=True)
            decided = decide_grant(BOTH, facts, REASON, 2 * HOUR, self.now)
            assert not isinstance(decided, Denied)
            self.grant = Grant("g1", "c1", "both", decided[0])
            self.given_by.append((actor.id, self.now))
        elif taken.state is State.WITHDRAWN and self.grant is not None:
            self.grant = replace(self.grant, ended_at=self.now)
        self.over = self.over or taken.state in (State.DECLINED, State.WITHDRAWN)
        return taken


acts = st.one_of(
    st.tuples(st.sampled_from(list(Step)), st.sampled_from([OLGA, BOTH, *STRANGERS])),
    st.tuples(st.just("wait"), st.integers(0, 5)),
)


@settings(max_examples=400)
@given(st.lists(acts, max_size=20))
def test_nothing_opens_before_it_was_given_or_after_it_ended(story: list[tuple[Any, Any]]) -> None:
    """The asker is an operator of the customer as well, and tries everything too."""
    told = Story()
    for what, more in story:
        if what == "wait":
            told.now += more * 20 * HOUR - TICK * (more % 2)
        else:
            before = told.approval.at(told.now)
            taken = told.take(what, more)
            if more in STRANGERS or (more is BOTH and what is not Step.WITHDRAW):
                assert isinstance(taken, Denied), (what, more.id)
            if before in (State.LAPSED, State.DECLINED, State.WITHDRAWN):
                assert not isinstance(taken, Taken) or taken.repeated, "it was over"
        if told.opens():
            (given,) = told.given_by
            assert given[0] == "olga" and given[1] < START + WAITS
            assert not told.over and told.now < given[1] + 2 * HOUR
    assert len(told.given_by) <= 1


def test_the_stories_hold_one_that_opens() -> None:
    told = Story()
    told.now += WAITS - TICK
    assert not told.opens()
    told.take(Step.GIVE, OLGA)
    assert told.opens()
    assert told.take(Step.GIVE, OLGA) == Taken(State.GIVEN, repeated=True)
    told.take(Step.WITHDRAW, OLGA)
    assert not told.opens()


def test_a_request_lapses_at_its_moment_whoever_has_noticed() -> None:
    asked = Approval("contoso", "erin", State.ASKED, START + WAITS)
    assert asked.at(START + WAITS - TICK) is State.ASKED
    with pytest.raises(Conflict) as refused:
        decide_step(asked, Step.GIVE, OLGA, START + WAITS, live=False)
    assert refused.value.reason == "approval-lapsed"
    with pytest.raises(Conflict):
        decide_step(asked, Step.WITHDRAW, ERIN, START + WAITS, live=False)


def test_an_approval_whose_grant_is_over_cannot_be_withdrawn() -> None:
    given = Approval("contoso", "erin", State.GIVEN, START + WAITS)
    assert decide_step(given, Step.WITHDRAW, OLGA, START, live=True) == Taken(State.WITHDRAWN)
    with pytest.raises(Conflict) as refused:
        decide_step(given, Step.WITHDRAW, OLGA, START, live=False)
    assert "its grant has ended" in refused.value.message
    with pytest.raises(Conflict):
        decide_step(given, Step.DECLINE, OLGA, START, live=True)
