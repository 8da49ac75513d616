"""Two callers at once about approvals and reviews (`races` says how they run)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from audit.tlog.unaccounted import Kind, unaccounted
from retention.custody.access import approval_policies, manage_approvals, manage_grants, manage_reviews
from retention.domain.approval import WAITS, Rule
from retention.domain.review import Verdict
from retention.jobs.sweep import lapse_requests
from retention.records.tables import approvals, grants
from tests.retention.concurrency.races import (
    Act,
    Args,
    Race,
    _case,
    _case_and_consent,
    _close,
    _revoke,
    _unassign,
)
from tests.retention.custody.world import HOUR, REASON, FakeClock, World

Check = Callable[[World, Args, Sequence[Any]], None]


def _under(rule: Rule) -> Callable[[World, int], Args]:
    def prepare(world: World, turn: int) -> Args:
        args = _case(world, turn)
        _choose(world, args, rule)
        return args

    return prepare


def _asked(world: World, turn: int) -> Args:
    args = _under(Rule.ASK)(world, turn)
    return {**args, "approval": _grant(world, args).approval}


def _asked_by_partner(world: World, turn: int) -> Args:
    args = _case_and_consent(world, turn)
    _choose(world, args, Rule.ASK)
    asked = manage_grants.give_grant(world.custody, world.partner, args["number"], REASON, HOUR)
    assert isinstance(asked, manage_grants.Asked)
    return {**args, "approval": asked.approval}


def _over(world: World, turn: int) -> Args:
    args = _under(Rule.SEE)(world, turn)
    grant = _grant(world, args).id
    manage_grants.release_grant(world.custody, world.engineer, grant)
    return {**args, "grant": grant}


def _choose(world: World, args: Args, rule: Rule) -> Any:
    return approval_policies.set_policy(world.custody, world.operator, args["number"], rule, None)


def _grant(world: World, args: Args) -> Any:
    return manage_grants.give_grant(world.custody, world.engineer, args["number"], REASON, HOUR)


def _give(world: World, args: Args) -> Any:
    return manage_approvals.give_approval(world.custody, world.operator, args["approval"], None).id


def _decline(world: World, args: Args) -> Any:
    return manage_approvals.decline_approval(world.custody, world.operator, args["approval"], None).id


def _withdraw(world: World, args: Args) -> Any:
    return manage_approvals.withdraw_approval(world.custody, world.engineer, args["approval"], None).id


def _lapse(world: World, _args: Args) -> Any:
    later = FakeClock(world.clock.now() + WAITS)
    return lapse_requests(replace(world.custody, clock=later))


def _review(verdict: Verdict) -> Act:
    def act(world: World, args: Args) -> Any:
        said = "Why was it read at night?"
        manage_reviews.review_grant(world.custody, world.auditor, args["grant"], verdict, said)

    return act


def _acts(world: World, args: Args) -> list[str]:
    """The acts on the case that succeeded, in the log's order; whatever came, the log accounts for its grants."""
    leaves = world.leaves()
    found = unaccounted(leaves, world.clock.now())
    assert [one for one in found if one.kind is not Kind.UNUSED] == []
    return [
        leaf["action"] for leaf in leaves if leaf.get("case") == args["case"] and leaf["outcome"] == "success"
    ]


def _live(world: World, args: Args) -> int:
    live = select(grants.c.id).where(grants.c.case_id == args["case"], grants.c.ended_at.is_(None))
    with world.custody.records.read() as reads:
        return len(reads.execute(live).all())


def _state(world: World, args: Args) -> str:
    with world.custody.records.read() as reads:
        return str(
            reads.execute(select(approvals.c.state).where(approvals.c.id == args["approval"])).scalar_one()
        )


def _given_once(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    acts = _acts(world, args)
    assert (acts.count("approval.given"), acts.count("grant.given"), _live(world, args)) == (1, 1, 1)


def _grant_as_answered(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    _acts(world, args)
    assert _live(world, args) == (_state(world, args) == "given")


def _nothing_lives(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    _acts(world, args)
    assert _live(world, args) == 0


def _grant_before_the_choice(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    """A grant that was not asked for comes before the choice that would have had it asked, and is counted by it."""
    acts = _acts(world, args)
    chosen = max(place for place, act in enumerate(acts) if act == "approval-policy.set")
    assert "grant.given" not in acts[chosen:]
    counted = [leaf for leaf in world.leaves() if leaf.get("case") == args["case"]]
    said = [leaf for leaf in counted if leaf["action"] == "approval-policy.set"][-1]["details"]["live_grants"]
    assert said == acts[:chosen].count("grant.given")


def _asked_once(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    assert _acts(world, args).count("approval.asked") == 1


def _answered_once(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    acts = [act for act in _acts(world, args) if act.startswith("approval.")]
    assert acts[0] == "approval.asked"
    assert len(acts) == 2
    assert acts[1].removeprefix("approval.") == _state(world, args)


def _signed_off_last(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    acts = [act for act in _acts(world, args) if act.startswith("review.")]
    assert acts.count("review.signed-off") == 1
    assert acts[-1] == "review.signed-off"


_sign, _question = _review(Verdict.SIGNED_OFF), _review(Verdict.QUESTIONED)
APPROVAL_RACES: Mapping[str, Race] = {
    "approve, approve": Race(_asked, _give, _give, _given_once),
    "approve, decline": Race(_asked, _give, _decline, _grant_as_answered),
    "approve, withdraw": Race(_asked, _give, _withdraw, _grant_as_answered),
    "approve, close": Race(_asked, _give, _close, _nothing_lives),
    "approve, unassign": Race(_asked, _give, _unassign, _nothing_lives),
    "approve a partner, revoke the consent": Race(_asked_by_partner, _give, _revoke, _nothing_lives),
    "approve, lapse": Race(_asked, _give, _lapse, _answered_once),
    "grant, ask to be asked": Race(
        _under(Rule.SEE), _grant, lambda w, a: _choose(w, a, Rule.ASK), _grant_before_the_choice
    ),
    "ask, ask": Race(_under(Rule.ASK), _grant, _grant, _asked_once),
    "sign off, sign off": Race(_over, _sign, _sign, _signed_off_last),
    "sign off, question": Race(_over, _sign, _question, _signed_off_last),
}
