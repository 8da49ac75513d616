"""Upload links: who may issue, see and revoke them; what the log keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.times import rfc3339
from retention.custody.access import manage_links
from retention.custody.access import manage_stamps as stamp_verbs
from retention.domain.bundle import CollectionType
from retention.domain.faults import Conflict, Invalid, NotFound, Refused
from retention.domain.upload_link import LinkFacts, LinkTerms, check_renewal, check_terms, decide_use
from tests.retention.custody.world import DAY, NUMBER, START, TRIGGER, World


def terms(world: World, **changes: Any) -> LinkTerms:
    return LinkTerms(**{"expires_at": world.clock.now() + DAY, "type": CollectionType.ON_DEMAND, **changes})


def proactive(world: World) -> LinkTerms:
    return terms(world, type=CollectionType.PROACTIVE, trigger=TRIGGER)


def test_the_operator_and_an_assigned_engineer_issue_a_cases_link(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    for actor in (strict.operator, strict.engineer):
        issued = manage_links.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
        assert (issued.number, issued.stamp_id, issued.created_by) == (NUMBER, strict.stamp.stamp, actor.id)
        assert strict.last() == ("upload-link.created", "success", None)


def test_nobody_else_issues_a_cases_link(strict: World) -> None:
    strict.open_case()
    for actor in (strict.engineer, strict.other_operator, strict.stamp, strict.partner):
        with pytest.raises(NotFound):
            manage_links.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
    for actor in (strict.auditor, strict.case_system):
        with pytest.raises(Refused):
            manage_links.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
        assert strict.last()[:2] == ("upload-link.created", "refused")


def test_a_stamp_and_its_operator_issue_the_stamps_link(strict: World) -> None:
    stamp = str(strict.stamp.stamp)
    for actor in (strict.stamp, strict.operator):
        issued = manage_links.create_stamp_link(strict.custody, actor, stamp, proactive(strict))
        assert (issued.case_id, issued.type) == (None, "proactive")
    for actor in (strict.other_stamp, strict.other_operator, strict.engineer):
        with pytest.raises(NotFound):
            manage_links.create_stamp_link(strict.custody, actor, stamp, proactive(strict))


def test_a_customer_with_two_stamps_says_which_one_sends(strict: World) -> None:
    strict.open_case()
    second = stamp_verbs.register_stamp(strict.custody, strict.operator, "south", "stamp-south")
    with pytest.raises(Invalid, match="no stamp is given"):
        manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    with pytest.raises(Invalid, match="not a registered stamp"):
        manage_links.create_case_link(
            strict.custody, strict.operator, NUMBER, str(strict.other_stamp.stamp), terms(strict)
        )
    issued = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, second.id, terms(strict))
    assert issued.stamp_id == second.id


@pytest.mark.parametrize(
    "changes",
    [
        {"type": CollectionType.PROACTIVE},
        {"trigger": TRIGGER},
        {"type": CollectionType.PROACTIVE, "trigger": "Nobody.Knows"},
    ],
)
def test_a_trigger_goes_with_a_proactive_link_and_is_known(strict: World, changes: dict[str, Any]) -> None:
    strict.open_case()
    with pytest.raises(Invalid) as caught:
        manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict, **changes))
    assert set(caught.value.errors) == {"trigger"}


BAD_TERMS: list[tuple[str, dict[str, Any]]] = [
    ("expires_at", {"expires_at": START - DAY}),
    ("expires_at", {"expires_at": START}),
    ("expires_at", {"expires_at": START + 3650 * DAY}),
    ("expires_at", {"starts_at": START + 2 * DAY, "expires_at": START + DAY}),
    ("ip", {"addresses": "everywhere"}),
    ("ip", {"addresses": "192.0.2.9-192.0.2.1"}),
    ("permissions", {"permissions": ""}),
    ("permissions", {"permissions": "rx"}),
]


@pytest.mark.parametrize("of", ["case", "stamp"])
@pytest.mark.parametrize(("at_fault", "changes"), BAD_TERMS)
def test_terms_that_no_link_has_are_refused_for_a_case_and_for_a_stamp(
    strict: World, of: str, at_fault: str, changes: dict[str, Any]
) -> None:
    strict.open_case()
    custody, operator, stamp = strict.custody, strict.operator, str(strict.stamp.stamp)
    issue: Callable[[LinkTerms], object]
    if of == "case":
        wanted, issue = changes, partial(manage_links.create_case_link, custody, operator, NUMBER, None)
    else:
        wanted = {"type": CollectionType.PROACTIVE, "trigger": TRIGGER, **changes}
        issue = partial(manage_links.create_stamp_link, custody, operator, stamp)
    with pytest.raises(Invalid) as caught:
        issue(terms(strict, **wanted))
    assert set(caught.value.errors) == {at_fault}
    assert "upload-link.created" not in {leaf["action"] for leaf in strict.leaves()}


def test_a_link_is_renewed_by_whoever_may_issue_it_also_when_it_has_expired(strict: World) -> None:
    strict.open_case()
    issued = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    strict.clock.move(2 * DAY)
    until = strict.clock.now() + DAY
    for actor in (strict.engineer, strict.other_operator, strict.partner):
        with pytest.raises(NotFound):
            manage_links.renew_link(strict.custody, actor, issued.id, until)
        assert strict.last()[:2] == ("upload-link.renewed", "refused")
    for actor in (strict.stamp, strict.auditor):
        with pytest.raises(Refused):
            manage_links.renew_link(strict.custody, actor, issued.id, until)
    renewed = manage_links.renew_link(strict.custody, strict.operator, issued.id, until)
    assert (renewed.id, renewed.starts_at, renewed.expires_at) == (issued.id, issued.starts_at, until)
    assert strict.last() == ("upload-link.renewed", "success", None)
    assert strict.leaves()[-1]["details"] == {
        "expires_at": rfc3339(until),
        "before": rfc3339(issued.expires_at),
    }
    found = manage_links.find_link(strict.custody, issued.id)
    assert found is not None and decide_use(found.facts, None, strict.clock.now()) is None
    strict.clock.move(DAY)
    assert (gone := decide_use(found.facts, None, strict.clock.now())) and gone.reason == "expired"


def test_an_engineer_renews_what_ends_with_their_own_assignment_and_nothing_else(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    own = manage_links.create_case_link(strict.custody, strict.engineer, NUMBER, None, terms(strict))
    others = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    until = strict.clock.now() + 3 * DAY
    assert manage_links.renew_link(strict.custody, strict.engineer, own.id, until).expires_at == until
    with pytest.raises(Refused) as refused:
        manage_links.renew_link(strict.custody, strict.engineer, others.id, until)
    assert refused.value.reason == "not-issuer"
    assert (
        manage_links.renew_link(strict.custody, strict.operator, own.id, until + DAY).created_by
        == own.created_by
    )


@settings(max_examples=60, deadline=None)
@given(age=st.integers(0, 800), days=st.integers(-5, 900), closed=st.one_of(st.none(), st.integers(0, 700)))
def test_a_renewed_link_is_one_that_could_have_been_issued_when_it_was(
    age: int, days: int, closed: int | None
) -> None:
    """Whatever its age: its whole life is within what `check_terms` lets a new link have."""
    now, until = START + age * DAY, START + (age + days) * DAY
    deadline = None if closed is None else START + (closed + 90) * DAY
    wanted = LinkTerms(expires_at=until, type=CollectionType.ON_DEMAND)
    facts = LinkFacts(
        starts_at=START, expires_at=START + DAY, revoked_at=None, addresses=None, stamp_gone=False,
        case_deadline=deadline,
    )  # fmt: skip
    try:
        check_terms(wanted, START, deadline)
        possible = until > max(now, facts.expires_at)
    except Invalid:
        possible = False
    if possible:
        check_renewal(facts, START, until, now)
    else:
        with pytest.raises(Invalid):
            check_renewal(facts, START, until, now)


@pytest.mark.parametrize(("gone", "reason"), [("revoked", "link-revoked"), ("stamp", "stamp-deregistered")])
def test_a_link_that_was_ended_is_not_renewed(strict: World, gone: str, reason: str) -> None:
    strict.open_case()
    issued = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    if gone == "revoked":
        manage_links.revoke_link(strict.custody, strict.operator, issued.id)
    else:
        stamp_verbs.deregister_stamp(strict.custody, strict.operator, str(strict.stamp.stamp))
    with pytest.raises(Conflict) as refused:
        manage_links.renew_link(strict.custody, strict.operator, issued.id, strict.clock.now() + 2 * DAY)
    assert refused.value.reason in (reason, "link-revoked")
    assert "upload-link.renewed" not in {leaf["action"] for leaf in strict.leaves()}


def test_revoking_ends_a_link_once(strict: World) -> None:
    strict.open_case()
    issued = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    for actor in (strict.engineer, strict.other_operator, strict.partner):
        with pytest.raises(NotFound):
            manage_links.revoke_link(strict.custody, actor, issued.id)
    with pytest.raises(Refused):
        manage_links.revoke_link(strict.custody, strict.stamp, issued.id)  # it sends, and may know of it
    first = manage_links.revoke_link(strict.custody, strict.operator, issued.id)
    strict.clock.move(DAY)
    again = manage_links.revoke_link(strict.custody, strict.operator, issued.id)
    assert first.revoked_at == again.revoked_at
    assert (
        sum(
            leaf["action"] == "upload-link.revoked" and leaf["outcome"] == "success"
            for leaf in strict.leaves()
        )
        == 1
    )


def test_links_are_listed_to_those_who_may_know_of_them(strict: World) -> None:
    strict.open_case()
    issued = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    of_case = manage_links.list_case_links(strict.custody, strict.operator, NUMBER, None, 10)
    of_stamp = manage_links.list_stamp_links(strict.custody, strict.stamp, str(strict.stamp.stamp), None, 10)
    assert [row.id for row in of_case.items] == [row.id for row in of_stamp.items] == [issued.id]
    with pytest.raises(NotFound):
        manage_links.list_case_links(strict.custody, strict.other_operator, NUMBER, None, 10)
    with pytest.raises(NotFound):
        manage_links.list_stamp_links(strict.custody, strict.other_stamp, str(strict.stamp.stamp), None, 10)


def test_what_ends_a_stamp_or_a_case_ends_their_links(strict: World) -> None:
    strict.open_case()
    issued = manage_links.create_case_link(
        strict.custody,
        strict.operator,
        NUMBER,
        None,
        terms(strict, expires_at=strict.clock.now() + 200 * DAY),
    )

    def reason() -> str | None:
        link = manage_links.find_link(strict.custody, issued.id)
        assert link is not None
        denied = decide_use(link.facts, "192.0.2.7", strict.clock.now())
        return denied.reason if denied else None

    assert reason() is None
    strict.close_case()
    strict.clock.move(timedelta(days=90) - timedelta(microseconds=1))
    assert reason() is None
    strict.clock.move(timedelta(microseconds=1))
    assert reason() == "case-past-deadline"
    stamp_verbs.deregister_stamp(strict.custody, strict.operator, str(strict.stamp.stamp))
    assert reason() == "stamp-deregistered"
