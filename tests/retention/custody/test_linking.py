"""Upload links: who may issue, see and revoke them; what the log keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from retention.bundle import CollectionType
from retention.custody import linking
from retention.custody import stamps as stamp_verbs
from retention.errors import Invalid, NotFound, Refused
from retention.upload_link import LinkTerms, decide_use
from tests.retention.custody.world import DAY, NUMBER, START, TRIGGER, World


def terms(world: World, **changes: Any) -> LinkTerms:
    return LinkTerms(**{"expires_at": world.clock.now() + DAY, "type": CollectionType.ON_DEMAND, **changes})


def proactive(world: World) -> LinkTerms:
    return terms(world, type=CollectionType.PROACTIVE, trigger=TRIGGER)


def test_the_operator_and_an_assigned_engineer_issue_a_cases_link(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    for actor in (strict.operator, strict.engineer):
        issued = linking.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
        assert (issued.number, issued.stamp_id, issued.created_by) == (NUMBER, strict.stamp.stamp, actor.id)
        assert strict.last() == ("upload-link.created", "success", None)


def test_nobody_else_issues_a_cases_link(strict: World) -> None:
    strict.open_case()
    for actor in (strict.engineer, strict.other_operator, strict.stamp, strict.partner):
        with pytest.raises(NotFound):
            linking.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
    for actor in (strict.auditor, strict.case_system):
        with pytest.raises(Refused):
            linking.create_case_link(strict.custody, actor, NUMBER, None, terms(strict))
        assert strict.last()[:2] == ("upload-link.created", "refused")


def test_a_stamp_and_its_operator_issue_the_stamps_link(strict: World) -> None:
    stamp = str(strict.stamp.stamp)
    for actor in (strict.stamp, strict.operator):
        issued = linking.create_stamp_link(strict.custody, actor, stamp, proactive(strict))
        assert (issued.case_id, issued.type) == (None, "proactive")
    for actor in (strict.other_stamp, strict.other_operator, strict.engineer):
        with pytest.raises(NotFound):
            linking.create_stamp_link(strict.custody, actor, stamp, proactive(strict))


def test_a_customer_with_two_stamps_says_which_one_sends(strict: World) -> None:
    strict.open_case()
    second = stamp_verbs.register_stamp(strict.custody, strict.operator, "south", "stamp-south")
    with pytest.raises(Invalid, match="one stamp"):
        linking.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    with pytest.raises(Invalid, match="one stamp"):
        linking.create_case_link(
            strict.custody, strict.operator, NUMBER, str(strict.other_stamp.stamp), terms(strict)
        )
    issued = linking.create_case_link(strict.custody, strict.operator, NUMBER, second.id, terms(strict))
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
        linking.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict, **changes))
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
        wanted, issue = changes, partial(linking.create_case_link, custody, operator, NUMBER, None)
    else:
        wanted = {"type": CollectionType.PROACTIVE, "trigger": TRIGGER, **changes}
        issue = partial(linking.create_stamp_link, custody, operator, stamp)
    with pytest.raises(Invalid) as caught:
        issue(terms(strict, **wanted))
    assert set(caught.value.errors) == {at_fault}
    assert "upload-link.created" not in {leaf["action"] for leaf in strict.leaves()}


def test_revoking_ends_a_link_once(strict: World) -> None:
    strict.open_case()
    issued = linking.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    for actor in (strict.engineer, strict.other_operator, strict.partner):
        with pytest.raises(NotFound):
            linking.revoke_link(strict.custody, actor, issued.id)
    with pytest.raises(Refused):
        linking.revoke_link(strict.custody, strict.stamp, issued.id)  # it sends, and may know of it
    first = linking.revoke_link(strict.custody, strict.operator, issued.id)
    strict.clock.move(DAY)
    again = linking.revoke_link(strict.custody, strict.operator, issued.id)
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
    issued = linking.create_case_link(strict.custody, strict.operator, NUMBER, None, terms(strict))
    of_case = linking.list_case_links(strict.custody, strict.operator, NUMBER, None, 10)
    of_stamp = linking.list_stamp_links(strict.custody, strict.stamp, str(strict.stamp.stamp), None, 10)
    assert [row.id for row in of_case.items] == [row.id for row in of_stamp.items] == [issued.id]
    with pytest.raises(NotFound):
        linking.list_case_links(strict.custody, strict.other_operator, NUMBER, None, 10)
    with pytest.raises(NotFound):
        linking.list_stamp_links(strict.custody, strict.other_stamp, str(strict.stamp.stamp), None, 10)


def test_what_ends_a_stamp_or_a_case_ends_their_links(strict: World) -> None:
    strict.open_case()
    issued = linking.create_case_link(
        strict.custody,
        strict.operator,
        NUMBER,
        None,
        terms(strict, expires_at=strict.clock.now() + 200 * DAY),
    )

    def reason() -> str | None:
        link = linking.find_link(strict.custody, issued.id)
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
