"""Reviews of grants that are over: found by age, shown with what was done, signed off or questioned by another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, select, text

from retention.custody.access import manage_approvals, manage_cases, manage_grants, manage_reviews
from retention.custody.access.altered_records import find_altered
from retention.custody.access.approval_policies import set_policy
from retention.custody.access.bound_access import Altered
from retention.custody.redaction import redact_entry
from retention.domain.actor import Actor, Role
from retention.domain.approval import Rule
from retention.domain.faults import Conflict, Invalid, NotFound, Refused
from retention.domain.review import OPEN, Verdict
from retention.records.tables import grants
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, World, owned

CONTENT = b"log " * 300
WHY = "Why was the whole bundle read at night?"


def ready(world: World) -> tuple[str, str]:
    """A bundle, and a grant that is over, under which it was read twice."""
    world.open_case()
    bundle = world.upload(CONTENT)
    world.assign(world.engineer)
    grant = world.grant()
    world.read(bundle)
    world.clock.move(HOUR)
    opened = world.open(bundle)
    next(opened.pieces((0, 100)))
    opened.close()
    manage_grants.release_grant(world.custody, world.engineer, grant.id)
    return bundle, str(grant.id)


def listed(world: World, state: str = OPEN, **page: Any) -> list[str]:
    asked = {"case": None, "cursor": None, "limit": 50, **page}
    found = manage_reviews.list_reviews(
        world.custody, world.auditor, asked["case"], state, asked["cursor"], asked["limit"]
    )
    return [row.id for row in found.items]


def say(world: World, grant: str, verdict: Verdict, note: str | None = None, by: Actor | None = None) -> Any:
    row, _ = manage_reviews.review_grant(world.custody, by or world.auditor, grant, verdict, note)
    return row


def _altered(world: World, *statements: str) -> None:
    """The database, written by its owner."""
    with owned(world.custody.records) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_review_shows_what_was_done_under_the_grant(strict: World) -> None:
    _, grant = ready(strict)
    row, done = manage_reviews.get_review(strict.custody, strict.auditor, grant)
    assert (row.reason, row.number, row.end_cause, row.approval) == (REASON, NUMBER, "released", None)
    assert (done.reads, done.bundles, done.files, done.cut) == (2, 1, 0, 1)
    assert done.bytes == len(CONTENT) + 100
    assert done.last_at == strict.clock.now() and done.first_at == strict.clock.now() - HOUR
    assert manage_reviews.state_of(strict.custody.binding, row) == OPEN


def test_a_grant_by_approval_is_shown_with_it_and_not_reviewed_by_who_gave_it(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    set_policy(strict.custody, strict.operator, None, Rule.ASK, None)
    asked = manage_grants.give_grant(strict.custody, strict.engineer, NUMBER, REASON, HOUR)
    assert isinstance(asked, manage_grants.Asked)
    given = manage_approvals.give_approval(strict.custody, strict.operator, asked.approval, "as agreed")
    strict.clock.move(HOUR)
    row, done = manage_reviews.get_review(strict.custody, strict.auditor, given.grant_id)
    approved = manage_reviews.Approved(
        strict.operator.id, "olga@contoso.example", given.answered_at, "as agreed"
    )
    assert row.approval == given.id
    assert done == manage_reviews.Done(approved=approved)
    both = strict.actor("olga@contoso.example", Role.OPERATOR, Role.AUDITOR, directory="contoso")
    with pytest.raises(Refused) as refused:
        say(strict, given.grant_id, Verdict.SIGNED_OFF, by=both)
    assert refused.value.reason == "own-grant"


def _approved_by_somebody_with_both_roles(world: World) -> tuple[Actor, Row[Any]]:
    world.open_case()
    world.assign(world.engineer)
    set_policy(world.custody, world.operator, None, Rule.ASK, None)
    both = world.actor("olga@contoso.example", Role.OPERATOR, Role.AUDITOR, directory="contoso")
    asked = manage_grants.give_grant(world.custody, world.engineer, NUMBER, REASON, HOUR)
    assert isinstance(asked, manage_grants.Asked)
    return both, manage_approvals.give_approval(world.custody, both, asked.approval, "as agreed")


def test_who_approved_a_grant_is_its_approver_also_after_somebody_else_withdrew_it(strict: World) -> None:
    both, given = _approved_by_somebody_with_both_roles(strict)
    strict.clock.move(HOUR / 2)
    other = strict.actor("olaf@contoso.example", Role.OPERATOR, directory="contoso")
    manage_approvals.withdraw_approval(strict.custody, other, given.id, "not needed any more")
    with pytest.raises(Refused) as refused:
        say(strict, given.grant_id, Verdict.SIGNED_OFF, by=both)
    assert refused.value.reason == "own-grant"
    _, done = manage_reviews.get_review(strict.custody, strict.auditor, given.grant_id)
    approved = manage_reviews.Approved(both.id, "olga@contoso.example", given.answered_at, "as agreed")
    assert done.approved == approved


@pytest.mark.parametrize(
    "hidden",
    [
        "UPDATE approvals SET answered_by = NULL",
        "UPDATE approvals SET grant_id = NULL",
        "DELETE FROM approvals",
    ],
)
def test_who_approved_a_grant_is_its_approver_whatever_the_requests_row_says(
    strict: World, hidden: str
) -> None:
    both, given = _approved_by_somebody_with_both_roles(strict)
    strict.clock.move(DAY)
    _altered(strict, hidden)
    with pytest.raises(Refused) as refused:
        say(strict, given.grant_id, Verdict.SIGNED_OFF, by=both)
    assert refused.value.reason == "own-grant"


def test_a_verdict_is_an_entry_with_what_it_was_based_on(strict: World) -> None:
    _, grant = ready(strict)
    row = say(strict, grant, Verdict.SIGNED_OFF, "as the case says")
    assert (row.review_state, row.reviewer_id, row.review_note) == (
        "signed-off",
        strict.auditor.id,
        "as the case says",
    )
    leaf = strict.leaves()[-1]
    assert (leaf["action"], leaf["subject"], leaf["actor"]) == ("review.signed-off", grant, strict.auditor.id)
    told = {"engineer": strict.engineer.id, "reads": 2, "bytes": len(CONTENT) + 100}
    assert leaf["details"] == told
    assert b"as the case says" not in strict.entries()[-1].leaf
    assert strict.log_problems() == []


def test_open_reviews_come_by_age_and_leave_when_they_are_signed_off(strict: World) -> None:
    _, first = ready(strict)
    strict.open_case(OTHER_NUMBER)
    strict.assign(strict.engineer, number=OTHER_NUMBER)
    strict.clock.move(DAY)
    second = strict.grant(number=OTHER_NUMBER).id
    assert listed(strict) == [first], "the other lives"
    strict.clock.move(DAY)
    assert listed(strict) == [first, second]
    page = manage_reviews.list_reviews(strict.custody, strict.auditor, None, OPEN, None, 1)
    assert [row.id for row in page.items] == [first]
    assert listed(strict, cursor=page.next) == [second]
    case = manage_cases.get_case(strict.custody, strict.auditor, OTHER_NUMBER)
    assert listed(strict, case=case) == [second]
    say(strict, first, Verdict.QUESTIONED, WHY)
    assert (listed(strict), listed(strict, Verdict.QUESTIONED)) == ([second], [first])
    say(strict, first, Verdict.SIGNED_OFF)
    assert listed(strict, Verdict.QUESTIONED) == []
    assert listed(strict, Verdict.SIGNED_OFF) == [first]


def test_what_cannot_be_said_is_refused_in_words(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    grant = str(strict.grant().id)
    with pytest.raises(Conflict) as lives:
        say(strict, grant, Verdict.SIGNED_OFF)
    assert lives.value.reason == "grant-live"
    strict.clock.move(DAY)
    with pytest.raises(Invalid):
        say(strict, grant, Verdict.QUESTIONED, "so")
    own = strict.actor("erin@support.example", Role.SUPPORT_ENGINEER, Role.AUDITOR)
    with pytest.raises(Refused) as holder:
        say(strict, grant, Verdict.SIGNED_OFF, by=own)
    assert holder.value.reason == "own-grant"
    for somebody in (strict.engineer, strict.operator, strict.administrator, strict.case_system):
        for attempt in (
            lambda who=somebody: say(strict, grant, Verdict.SIGNED_OFF, by=who),
            lambda who=somebody: manage_reviews.get_review(strict.custody, who, grant),
            lambda who=somebody: manage_reviews.list_reviews(strict.custody, who, None, OPEN, None, 50),
        ):
            with pytest.raises(Refused) as refused:
                attempt()  # type: ignore[no-untyped-call]
            assert refused.value.reason == "role-missing"
    with pytest.raises(NotFound):
        say(strict, "grn_nobody", Verdict.SIGNED_OFF)
    say(strict, grant, Verdict.SIGNED_OFF)
    with pytest.raises(Conflict) as final:
        say(strict, grant, Verdict.QUESTIONED, WHY)
    assert final.value.reason == "signed-off"


FORGED = (
    "INSERT INTO reviews (id, state, reviewed_at, actor_id, entry_id, tag) "
    "SELECT id, 'signed-off', granted_at, actor_id, 'ent_1', 'aa' FROM grants",
    "UPDATE grants SET signed_off_at = granted_at",
)


@pytest.mark.parametrize("forged", [FORGED, FORGED[1:]], ids=["a verdict put in", "hidden from the list"])
def test_a_grant_that_nobody_signed_off_is_not_taken_for_it(strict: World, forged: tuple[str, ...]) -> None:
    _, grant = ready(strict)
    _altered(strict, *forged)
    row, _ = manage_reviews.get_review(strict.custody, strict.auditor, grant)
    assert manage_reviews.state_of(strict.custody.binding, row) == manage_reviews.ALTERED
    found = list(find_altered(strict.custody.records, strict.custody.binding, strict.clock.now()))
    assert any(grant in one for one in found)
    if forged == FORGED:
        with pytest.raises(Altered):
            say(strict, grant, Verdict.SIGNED_OFF)


def states(world: World, grant: str) -> set[str]:
    """The state shown of a grant's review: in full, and on any page."""
    row, _ = manage_reviews.get_review(world.custody, world.auditor, grant)
    pages = [
        manage_reviews.list_reviews(world.custody, world.auditor, None, state, None, 50).items
        for state in (OPEN, *Verdict)
    ]
    rows = [row, *(one for page in pages for one in page if one.id == grant)]
    assert len(rows) > 1, "it is on no page"
    return {manage_reviews.state_of(world.custody.binding, one) for one in rows}


def test_a_question_that_is_put_back_after_the_sign_off_is_shown_as_altered_and_found(strict: World) -> None:
    _, grant = ready(strict)
    say(strict, grant, Verdict.QUESTIONED, WHY)
    assert states(strict, grant) == {Verdict.QUESTIONED}
    _altered(strict, "CREATE TABLE kept AS SELECT * FROM reviews")
    say(strict, grant, Verdict.SIGNED_OFF)
    put_back = "DELETE FROM reviews", "INSERT INTO reviews SELECT * FROM kept", "DROP TABLE kept"
    _altered(strict, *put_back, "UPDATE grants SET signed_off_at = NULL")
    assert states(strict, grant) == {manage_reviews.ALTERED}
    with pytest.raises(Altered):
        say(strict, grant, Verdict.QUESTIONED, WHY)
    assert list(find_altered(strict.custody.records, strict.custody.binding, strict.clock.now()))


def test_a_grant_whose_verdict_was_deleted_is_not_shown_as_open(strict: World) -> None:
    _, grant = ready(strict)
    say(strict, grant, Verdict.QUESTIONED, WHY)
    _altered(strict, "DELETE FROM reviews")
    assert states(strict, grant) == {manage_reviews.ALTERED}
    (named,) = find_altered(strict.custody.records, strict.custody.binding, strict.clock.now())
    assert grant in named


def test_a_note_goes_when_it_is_redacted_and_the_verdict_stays(strict: World) -> None:
    _, grant = ready(strict)
    say(strict, grant, Verdict.QUESTIONED, WHY)
    entry = strict.leaves()[-1]["id"]
    redact_entry(strict.custody, strict.administrator, entry, "It names a person of the customer")
    row, _ = manage_reviews.get_review(strict.custody, strict.auditor, grant)
    assert row.review_note is None
    assert manage_reviews.state_of(strict.custody.binding, row) == Verdict.QUESTIONED
    say(strict, grant, Verdict.SIGNED_OFF)
    with strict.custody.records.read() as reads:
        marked = reads.execute(select(grants.c.signed_off_at).where(grants.c.id == grant)).scalar()
    assert marked == strict.clock.now() + timedelta(0)
