"""What a partner is shown under a consent, and what of it they are not (P6)."""

from __future__ import annotations

import pytest

from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_links
from retention.custody.erasure import erasure_steps
from retention.domain.bundle import CollectionType
from retention.domain.faults import NotFound, Refused
from retention.domain.upload_link import LinkTerms
from tests.retention.custody.world import DAY, NUMBER, World


def subjects(world: World, who: str) -> set[str]:
    actor = getattr(world, who)
    case = manage_cases.get_case(world.custody, actor, NUMBER)
    _, assigned = manage_cases.case_details(world.custody, actor, case)
    return {row.subject for row in assigned}


def test_a_partner_is_told_of_their_own_assignment_only(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer, strict.colleague, strict.partner, strict.rival)
    strict.consent()
    names = {
        who: getattr(strict, who).particulars["subject"]
        for who in ("engineer", "colleague", "partner", "rival")
    }
    assert subjects(strict, "partner") == {names["partner"]}
    for who in ("engineer", "operator", "auditor", "case_system"):
        assert subjects(strict, who) == set(names.values()), who


def test_a_partner_sees_no_upload_links_of_the_case(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer, strict.partner)
    strict.consent()
    terms = LinkTerms(
        expires_at=strict.clock.now() + DAY, type=CollectionType.ON_DEMAND, addresses="192.0.2.1-192.0.2.9"
    )
    link = manage_links.create_case_link(strict.custody, strict.operator, NUMBER, None, terms)
    with pytest.raises(Refused) as refused:
        manage_links.list_case_links(strict.custody, strict.partner, NUMBER, None, 10)
    assert refused.value.reason == "role-missing"
    assert strict.last() == ("caller.refused", "refused", "role-missing")
    assert not manage_links.may_see_link(strict.custody, strict.partner, link.id)
    with pytest.raises(NotFound):
        manage_links.revoke_link(strict.custody, strict.partner, link.id)
    for who in (strict.operator, strict.engineer, strict.auditor):
        assert [
            row.id for row in manage_links.list_case_links(strict.custody, who, NUMBER, None, 10).items
        ] == [link.id]


def test_a_partner_opens_what_any_of_their_live_consents_covers_until_that_one_ends(strict: World) -> None:
    strict.open_case()
    first, second, third = (strict.upload(bytes([n])) for n in range(3))
    strict.assign(strict.partner)
    strict.consent(scope=[first], lasts=30 * DAY)
    short = strict.consent(scope=[second], lasts=DAY)
    strict.grant(strict.partner)
    assert (strict.read(first, strict.partner), strict.read(second, strict.partner)) == (b"\x00", b"\x01")
    opened = [leaf for leaf in strict.leaves() if leaf["action"] == "bundle.opened"]
    assert opened[-1]["details"]["consent"] == short.id
    for bundle in (third,):
        with pytest.raises(NotFound):
            strict.read(bundle, strict.partner)
    running = strict.open(second, strict.partner)
    manage_consents.revoke_consent(strict.custody, strict.operator, short.id)
    running.standing._checked = -1e9  # the next look at the records is due
    with pytest.raises(Refused) as cut:
        b"".join(running.pieces((0, 1)))
    assert cut.value.reason == "grant-ended"
    running.close()
    with pytest.raises(NotFound):
        strict.read(second, strict.partner)
    assert strict.read(first, strict.partner) == b"\x00"


def test_an_erasure_is_shown_to_the_customers_operators_and_not_to_who_asked_for_it_as_one(
    strict: World,
) -> None:
    """The same person comes back: with another customer's token, as an engineer, as a partner."""
    strict.open_case()
    bundle = strict.upload(b"gone")
    asked = erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    subject = strict.operator.particulars["subject"]
    others = {
        "another customer": strict.actor(subject, *strict.operator.roles, directory="fabrikam"),
        "engineer": strict.actor(subject, *strict.engineer.roles),
        "partner": strict.actor(subject, *strict.partner.roles, partner="oem"),
        "stamp": strict.stamp,
    }
    for name, actor in others.items():
        assert erasure_steps.list_erasures(strict.custody, actor, None, 10).items == [], name
        with pytest.raises(NotFound):
            erasure_steps.find_erasure(strict.custody, actor, asked.confirmation)
    colleague = strict.actor("oscar@contoso.example", *strict.operator.roles, directory="contoso")
    assert erasure_steps.find_erasure(strict.custody, colleague, asked.confirmation).id == asked.id


def test_an_engineer_keeps_sight_of_what_they_had_erased(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    bundle = strict.upload(b"gone")
    asked = erasure_steps.request_bundle_erasure(
        strict.custody, strict.engineer, bundle, "the customer asked for it"
    )
    strict.unassign(strict.engineer)
    assert erasure_steps.find_erasure(strict.custody, strict.engineer, asked.confirmation).id == asked.id
    with pytest.raises(NotFound):
        erasure_steps.find_erasure(strict.custody, strict.colleague, asked.confirmation)


def test_an_engineers_links_end_with_the_assignment_and_nobody_elses(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer, strict.colleague)
    terms = LinkTerms(expires_at=strict.clock.now() + DAY, type=CollectionType.ON_DEMAND)
    made = {
        who: manage_links.create_case_link(strict.custody, getattr(strict, who), NUMBER, None, terms).id
        for who in ("engineer", "colleague", "operator")
    }
    strict.unassign(strict.engineer)
    links = manage_links.list_case_links(strict.custody, strict.operator, NUMBER, None, 10).items
    assert {row.id for row in links if row.revoked_at is not None} == {made["engineer"]}
    (revoked,) = [leaf for leaf in strict.leaves() if leaf["action"] == "upload-link.revoked"]
    assert (revoked["subject"], revoked["details"]["cause"]) == (made["engineer"], "unassigned")
    strict.unassign(strict.engineer)
    assert len([leaf for leaf in strict.leaves() if leaf["action"] == "upload-link.revoked"]) == 1


def test_an_engineer_cannot_tell_which_case_numbers_there_are(strict: World) -> None:
    strict.open_case()
    strict.open_case("120260301000007", "fabrikam")
    strict.close_case("120260301000007")
    answers = set()
    for number in (NUMBER, "120260301000007", "999999999999999"):
        for reason, hours in (
            ("Investigate the failed drive", 1),
            ("x", 1),
            ("Investigate the failed drive", 99),
        ):
            with pytest.raises(Refused) as refused:
                manage_grants.give_grant(strict.custody, strict.colleague, number, reason, hours * DAY / 24)
            answers.add(
                (reason, hours, refused.value.reason, refused.value.message, str(refused.value.facts))
            )
            assert strict.last()[:2] == ("grant.given", "refused")
    assert len(answers) == 3
