"""Approval of access as custody does it: asked, given, declined, withdrawn, lapsed; and the log alone agrees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from audit.tlog.unaccounted import Kind, unaccounted
from retention.custody.access import approval_policies, manage_approvals, manage_cases, manage_grants
from retention.custody.reading import bundle_reads
from retention.custody.redaction import redact_entry, redact_person
from retention.domain.actor import Actor, Role
from retention.domain.approval import WAITS, Asks, Rule, State
from retention.domain.faults import Conflict, NotFound, Refused
from retention.envelope.format import FIRST_PLAINTEXT
from retention.jobs.sweep import lapse_requests, sweep
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, World

CONTENT = b"x" * (FIRST_PLAINTEXT + 5)  # two segments: a read has a middle
MINUTE = timedelta(minutes=1)


def choose(world: World, rule: Rule, number: str | None = None, long: timedelta | None = None) -> None:
    approval_policies.set_policy(world.custody, world.operator, number, rule, long)


def ask(
    world: World, actor: Actor | None = None, number: str = NUMBER, duration: timedelta = 2 * HOUR
) -> str:
    """Ask for a grant that waits; the request's id."""
    asked = manage_grants.give_grant(world.custody, actor or world.engineer, number, REASON, duration)
    assert isinstance(asked, manage_grants.Asked)
    return asked.approval


def give(world: World, approval: str, by: Actor | None = None, note: str | None = None) -> Row[Any]:
    return manage_approvals.give_approval(world.custody, by or world.operator, approval, note)


def decline(world: World, approval: str, by: Actor | None = None) -> Row[Any]:
    return manage_approvals.decline_approval(world.custody, by or world.operator, approval, None)


def withdraw(world: World, approval: str, by: Actor | None = None) -> Row[Any]:
    return manage_approvals.withdraw_approval(world.custody, by or world.operator, approval, None)


def ready(world: World, rule: Rule = Rule.ASK) -> str:
    """A bundle in a case of which erin is the owner, whose customer wants to be asked."""
    world.open_case()
    bundle = world.upload(CONTENT)
    for somebody in (world.engineer, world.colleague, world.partner):
        world.assign(somebody)
        world.clock.move(MINUTE)
    choose(world, rule)
    return bundle


def unallowed(world: World) -> list[object]:
    found = unaccounted(world.leaves(), world.clock.now())
    return [one for one in found if one.kind is not Kind.UNUSED]


def test_nothing_is_granted_before_the_customer_gives_it_and_then_the_clock_starts(strict: World) -> None:
    bundle = ready(strict)
    approval = ask(strict)
    assert strict.last() == ("approval.asked", "success", None)
    with pytest.raises(Refused) as refused:
        strict.read(bundle)
    assert refused.value.reason == "no-grant"
    strict.clock.move(3 * DAY)
    given = give(strict, approval, note="until tonight")
    assert (given.state, given.note, given.answered_by) == ("given", "until tonight", strict.operator.id)
    assert given.grant_expires_at == strict.clock.now() + 2 * HOUR
    assert strict.read(bundle) == CONTENT
    grant = manage_grants.get_grant(strict.custody, strict.engineer, given.grant_id)
    assert (grant.reason, grant.granted_at) == (REASON, strict.clock.now())
    assert unallowed(strict) == []
    strict.clock.move(2 * HOUR)
    with pytest.raises(Refused):
        strict.read(bundle)


def test_the_act_and_what_it_gives_are_two_entries_of_one_commit_that_name_each_other(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    given = give(strict, approval)
    answered, granted = strict.leaves()[-2:]
    assert (answered["action"], answered["subject"]) == ("approval.given", approval)
    assert answered["actor"] == granted["actor"] == strict.operator.id
    assert (granted["action"], granted["subject"]) == ("grant.given", given.grant_id)
    assert granted["details"]["engineer"] == answered["details"]["engineer"] == strict.engineer.id
    assert granted["details"]["approval"] == approval
    assert strict.log_problems() == []


def test_where_the_customer_only_wants_to_see_nothing_is_asked(strict: World) -> None:
    bundle = ready(strict, Rule.SEE)
    strict.grant()
    assert strict.read(bundle) == CONTENT
    assert unallowed(strict) == []


def test_the_owner_of_a_case_is_asked_for_long_grants_alone_and_others_for_every_one(strict: World) -> None:
    bundle = ready(strict, Rule.OWN_CASES)
    strict.grant(duration=8 * HOUR)
    assert strict.read(bundle) == CONTENT
    long = ask(strict, duration=8 * HOUR + MINUTE)
    ask(strict, strict.colleague)
    strict.consent()
    ask(strict, strict.partner)
    choose(strict, Rule.OWN_CASES, long=HOUR)
    withdraw(strict, long, strict.engineer)
    ask(strict, duration=2 * HOUR)
    assert unallowed(strict) == []


def test_whoever_has_been_assigned_longest_owns_the_case_when_the_owner_has_left_it(strict: World) -> None:
    ready(strict, Rule.OWN_CASES)
    ask(strict, strict.colleague)
    strict.unassign(strict.engineer)
    strict.grant(strict.colleague)
    strict.assign(strict.engineer)
    ask(strict, strict.engineer)
    assert unallowed(strict) == []


def test_a_cases_own_choice_counts_before_the_customers_until_it_is_taken_back(strict: World) -> None:
    ready(strict)
    choose(strict, Rule.SEE, NUMBER)
    strict.grant()
    case = manage_cases.get_case(strict.custody, strict.engineer, NUMBER)
    chosen = approval_policies.get_policy(strict.custody, strict.engineer, case)
    assert (chosen.policy.rule, chosen.of, chosen.asks) == (Rule.SEE, "case", Asks.NEVER)
    choose(strict, Rule.INHERITED, NUMBER)
    chosen = approval_policies.get_policy(strict.custody, strict.engineer, case)
    assert (chosen.policy.rule, chosen.of, chosen.asks) == (Rule.ASK, "customer", Asks.ALWAYS)
    ask(strict)
    assert approval_policies.get_policy(strict.custody, strict.operator, None).policy.rule is Rule.ASK
    assert approval_policies.get_policy(strict.custody, strict.other_operator, None).of == "default"


def test_a_choice_says_how_many_grants_go_on_without_it(strict: World) -> None:
    bundle = ready(strict, Rule.SEE)
    strict.grant()
    choose(strict, Rule.ASK)
    assert strict.leaves()[-1]["details"] == {"rule": "ask", "long_minutes": 480, "live_grants": 1}
    assert strict.read(bundle) == CONTENT, "it was given before"
    assert unallowed(strict) == []


def test_only_the_customers_own_operators_choose_and_answer(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    for somebody in (strict.colleague, strict.other_operator, strict.administrator, strict.partner):
        for answer in (give, decline, withdraw):
            with pytest.raises(NotFound):
                answer(strict, approval, somebody)
        assert strict.last() == ("approval.withdrawn", "refused", "approval-not-visible")
    for somebody in (strict.engineer, strict.auditor, strict.case_system):
        with pytest.raises(Refused):
            give(strict, approval, somebody)
        with pytest.raises(Refused):
            approval_policies.set_policy(strict.custody, somebody, NUMBER, Rule.SEE, None)
        with pytest.raises(Refused):
            approval_policies.set_policy(strict.custody, somebody, None, Rule.SEE, None)
    with pytest.raises(NotFound):
        approval_policies.set_policy(strict.custody, strict.other_operator, NUMBER, Rule.SEE, None)
    assert manage_approvals.get_approval(strict.custody, strict.auditor, approval).state == "asked"


def test_somebody_who_is_the_customers_operator_too_never_answers_their_own_request(strict: World) -> None:
    ready(strict)
    both = strict.actor("both@contoso.example", Role.OPERATOR, Role.SUPPORT_ENGINEER, directory="contoso")
    strict.assign(both)
    approval = ask(strict, both)
    for answer in (give, decline):
        with pytest.raises(Refused) as refused:
            answer(strict, approval, both)
        assert refused.value.reason == "own-request"
    assert give(strict, approval).state == "given"


def test_one_request_waits_for_an_engineer_and_a_case(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    with pytest.raises(Conflict) as again:
        ask(strict)
    assert (again.value.reason, again.value.facts) == ("asked-already", {"approval": approval})
    assert withdraw(strict, approval, strict.engineer).state == "withdrawn"
    other = ask(strict)
    with pytest.raises(Conflict) as over:
        give(strict, approval)
    assert over.value.reason == "approval-withdrawn"
    assert decline(strict, other).state == "declined"
    assert decline(strict, other).state == "declined", "again changes nothing"
    with pytest.raises(Conflict):
        give(strict, other)
    assert ask(strict) not in (approval, other)


def test_a_request_lapses_after_four_days_and_the_clock_enters_it(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    strict.clock.move(WAITS - timedelta(microseconds=1))
    sweep(strict.custody)
    assert manage_approvals.get_approval(strict.custody, strict.engineer, approval).state == "asked"
    strict.clock.move(timedelta(microseconds=1))
    with pytest.raises(Conflict) as late:
        give(strict, approval)
    assert late.value.reason == "approval-lapsed"
    sweep(strict.custody)
    row = manage_approvals.get_approval(strict.custody, strict.engineer, approval)
    assert (row.state, row.answered_at, row.answered_by) == ("lapsed", strict.clock.now(), None)
    (lapsed,) = [leaf for leaf in strict.leaves() if leaf["action"] == "approval.lapsed"]
    assert (lapsed["actor"], lapsed["subject"]) == ("act_clock", approval)
    assert lapse_requests(strict.custody) == 0
    ask(strict)


def test_withdrawing_ends_the_grant_and_the_read_under_it(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = ready(strict)
    approval = ask(strict)
    give(strict, approval)
    monkeypatch.setattr(bundle_reads, "RECHECK_SECONDS", 0.0)
    opened = strict.open(bundle)
    pieces = opened.pieces(opened.spans[0])
    next(pieces)
    row = withdraw(strict, approval)
    with pytest.raises(Refused) as cut:
        next(pieces)
    assert cut.value.reason == "grant-ended"
    assert strict.last() == ("bundle.read-ended", "failed", "grant-ended")
    grant = manage_grants.get_grant(strict.custody, strict.engineer, row.grant_id)
    assert (grant.end_cause, grant.ended_at) == ("approval-withdrawn", strict.clock.now())
    with pytest.raises(Refused):
        strict.read(bundle)
    with pytest.raises(Conflict):
        give(strict, approval)
    assert unallowed(strict) == []
    read = next(leaf for leaf in strict.leaves() if leaf["action"] == "bundle.opened")
    (after,) = unaccounted([*strict.leaves(), read], strict.clock.now())
    assert after.why == ("grant-ended",)


def test_an_approval_whose_grant_has_ended_is_not_withdrawn(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    row = give(strict, approval)
    manage_grants.release_grant(strict.custody, strict.engineer, row.grant_id)
    with pytest.raises(Conflict):
        withdraw(strict, approval)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.close_case(), "case-closed"),
        (lambda w: w.unassign(w.engineer), "not-assigned"),
    ],
)
def test_what_would_be_refused_now_is_not_given(strict: World, change: Any, reason: str) -> None:
    ready(strict)
    approval = ask(strict)
    change(strict)
    with pytest.raises(Refused) as refused:
        give(strict, approval)
    assert refused.value.reason == reason and "you are" not in refused.value.message
    assert strict.last() == ("approval.given", "refused", reason)
    assert decline(strict, approval).state == "declined"


def test_a_partner_needs_both_the_consent_and_the_approval(strict: World) -> None:
    bundle = ready(strict)
    with pytest.raises(Refused) as refused:
        ask(strict, strict.partner)
    assert refused.value.reason == "no-consent"
    consent = strict.consent(lasts=3 * DAY)
    approval = ask(strict, strict.partner, duration=8 * HOUR)
    with pytest.raises(Refused):
        strict.read(bundle, strict.partner)
    strict.clock.move(3 * DAY - HOUR)
    row = give(strict, approval)
    assert row.grant_expires_at == strict.clock.now() + HOUR, "no longer than the consent"
    assert strict.read(bundle, strict.partner) == CONTENT
    grant = manage_grants.get_grant(strict.custody, strict.partner, row.grant_id)
    assert grant.consent_id == consent.id
    assert unallowed(strict) == []


def test_a_partners_approval_is_refused_when_the_consent_has_ended(strict: World) -> None:
    ready(strict)
    strict.consent(lasts=DAY)
    approval = ask(strict, strict.partner)
    strict.clock.move(2 * DAY)
    with pytest.raises(Refused) as refused:
        give(strict, approval)
    assert refused.value.reason == "no-consent"


def test_each_sees_their_own_requests_and_the_customer_all_of_theirs(strict: World) -> None:
    ready(strict)
    strict.open_case(OTHER_NUMBER, "fabrikam")
    strict.assign(strict.engineer, number=OTHER_NUMBER)
    approval_policies.set_policy(strict.custody, strict.other_operator, None, Rule.ASK, None)
    mine, theirs = ask(strict), ask(strict, strict.colleague)
    others = ask(strict, number=OTHER_NUMBER)

    def listed(actor: Actor, state: State | None = None, case: Row[Any] | None = None) -> set[str]:
        page = manage_approvals.list_approvals(strict.custody, actor, case, state, None, 50)
        return {row.id for row in page.items}

    assert listed(strict.engineer) == {mine, others}
    assert listed(strict.colleague) == {theirs}
    assert listed(strict.operator) == {mine, theirs}
    assert listed(strict.other_operator) == {others}
    assert listed(strict.auditor) == {mine, theirs, others}
    case = manage_cases.get_case(strict.custody, strict.auditor, OTHER_NUMBER)
    assert listed(strict.auditor, case=case) == {others}
    give(strict, mine)
    strict.clock.move(WAITS)
    assert listed(strict.operator, State.ASKED) == set()
    assert listed(strict.operator, State.LAPSED) == {theirs}, "before the clock has entered it"
    lapse_requests(strict.custody)
    assert listed(strict.operator, State.LAPSED) == {theirs}
    assert listed(strict.operator, State.GIVEN) == {mine}


def test_what_people_wrote_goes_when_it_is_redacted_and_the_rest_stays_believed(strict: World) -> None:
    ready(strict)
    approval = ask(strict)
    row = give(strict, approval, note="as we said on the telephone")
    asked = next(leaf["id"] for leaf in strict.leaves() if leaf["action"] == "approval.asked")
    redact_entry(strict.custody, strict.administrator, asked, "It names a person of the customer")
    seen = manage_approvals.get_approval(strict.custody, strict.auditor, approval)
    assert seen.reason == ""
    assert manage_grants.get_grant(strict.custody, strict.engineer, row.grant_id).reason == ""
    strict.sequence()
    redact_person(strict.custody, strict.administrator, strict.operator.id, "Left, and asks to be forgotten")
    assert manage_approvals.get_approval(strict.custody, strict.auditor, approval).note is None
    with strict.custody.records.read() as reads:
        kept = strict.custody.binding.holds_row("approval", seen)
        assert reads is not None and kept
    assert withdraw(
        strict, approval, strict.actor("olaf@contoso.example", Role.OPERATOR, directory="contoso")
    )


def test_no_leaf_holds_what_somebody_wrote(strict: World) -> None:
    ready(strict)
    give(strict, ask(strict), note="Marker of a note")
    for entry in strict.entries():
        assert b"Marker of a note" not in entry.leaf and REASON.encode() not in entry.leaf
