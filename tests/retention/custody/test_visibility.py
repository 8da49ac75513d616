"""Who may know of which case and bundle, for every role and both customers; no mix of roles acts for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_stamps
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration, upload_session
from retention.domain.actor import Actor, Role
from retention.domain.bundle import STATUSES, CollectionType
from retention.domain.faults import CustodyError, NotFound, Refused
from tests.retention.custody.world import NUMBER, OTHER_NUMBER, REASON, TRIGGER, World

THEIRS = "120260301000009"
HERS, LOOSE, PARTIAL, ABROAD = "in the case", "unclaimed", "outside the scope", "the other customer's"

BUNDLES: dict[str, set[str]] = {
    "administrator": set(),
    "case_system": {HERS, LOOSE, PARTIAL, ABROAD},
    "auditor": {HERS, LOOSE, PARTIAL, ABROAD},
    "operator": {HERS, LOOSE, PARTIAL},
    "other_operator": {ABROAD},
    "stamp": {HERS, LOOSE, PARTIAL},
    "other_stamp": {ABROAD},
    "engineer": {HERS, LOOSE, PARTIAL},
    "colleague": set(),
    "partner": {HERS},
    "rival": set(),
}
CASES: dict[str, set[str]] = {
    "administrator": set(),
    "case_system": {NUMBER, OTHER_NUMBER, THEIRS},
    "auditor": {NUMBER, OTHER_NUMBER, THEIRS},
    "operator": {NUMBER, OTHER_NUMBER},
    "other_operator": {THEIRS},
    "stamp": set(),
    "other_stamp": set(),
    "engineer": {NUMBER},
    "colleague": set(),
    "partner": {NUMBER},
    "rival": set(),
}


@pytest.fixture
def held(strict: World) -> dict[str, str]:
    """Four bundles and three cases: two of one customer, one of the other."""
    strict.open_case(NUMBER)
    strict.open_case(OTHER_NUMBER)
    strict.open_case(THEIRS, "fabrikam")
    made = {HERS: strict.upload(b"1"), LOOSE: strict.upload(b"2", number=None), PARTIAL: strict.upload(b"3")}
    collection = strict.collection(1)
    foreign = declaration.create_upload(
        strict.custody, strict.other_stamp, collection, case_number=THEIRS, stamp_id=None
    )
    strict.send(foreign.id, b"4", actor=strict.other_stamp)
    strict.assign(strict.engineer, strict.partner, strict.rival)
    strict.consent(scope=[made[HERS]])
    return {**made, ABROAD: foreign.id}


@pytest.mark.parametrize("person", BUNDLES)
def test_a_list_and_a_look_up_show_the_same_bundles(strict: World, held: dict[str, str], person: str) -> None:
    actor = getattr(strict, person)
    names = {bundle: name for name, bundle in held.items()}
    listed = declaration.list_bundles(strict.custody, actor, None, 50).items
    assert {names[row.id] for row in listed} == BUNDLES[person]
    for bundle, name in names.items():
        if name in BUNDLES[person]:
            assert declaration.get_bundle(strict.custody, actor, bundle).id == bundle
        else:
            with pytest.raises(NotFound):
                declaration.get_bundle(strict.custody, actor, bundle)
            assert strict.last() == ("caller.refused", "refused", "bundle-not-visible")


CONDITIONS: dict[str, list[Any]] = {
    "case_number": [NUMBER, THEIRS, "120260301999999"],
    "stamp_id": ["stamp", "other_stamp", "stp_none"],
    "type_": list(CollectionType),
    "states": list(STATUSES.values()),
    "unclaimed": [True],
}


@pytest.mark.parametrize(
    "person", [*BUNDLES, ("engineer", "operator"), ("partner", "engineer", "other_stamp")]
)
def test_a_list_with_conditions_shows_what_is_visible_and_meets_them(
    strict: World, held: dict[str, str], person: str | tuple[str, ...]
) -> None:
    """Every condition alone, and every two together; the expected is found one look-up at a time."""
    people = [getattr(strict, name) for name in ([person] if isinstance(person, str) else person)]
    actor = people[0]
    for other in people[1:]:  # several roles at once, as the first of them
        actor = replace(
            actor,
            roles=actor.roles | other.roles,
            tenant=actor.tenant or other.tenant,
            stamp=actor.stamp or other.stamp,
        )
    visible = []
    for bundle in held.values():
        with suppress(NotFound):
            visible.append(declaration.get_bundle(strict.custody, actor, bundle))
    alone = [{name: value} for name, values in CONDITIONS.items() for value in values]
    for asked in [{}, *alone, *({**one, **other} for one, other in combinations(alone, 2))]:
        if asked.get("stamp_id") in ("stamp", "other_stamp"):
            asked = {**asked, "stamp_id": getattr(strict, asked["stamp_id"]).stamp}
        listed = declaration.list_bundles(strict.custody, actor, None, 50, **asked).items
        expected = {row.id for row in visible if _meets(row, **asked)}
        assert {row.id for row in listed} == expected, asked


def _meets(
    row: Any,
    case_number: str | None = None,
    stamp_id: str | None = None,
    type_: str | None = None,
    states: Sequence[str] | None = None,
    unclaimed: bool = False,
) -> bool:
    return (
        case_number in (None, row.number)
        and stamp_id in (None, row.stamp_id)
        and type_ in (None, row.type)
        and (states is None or row.state in states)
        and not (unclaimed and row.case_id)
    )


@pytest.mark.parametrize("person", CASES)
def test_a_list_and_a_look_up_show_the_same_cases(strict: World, held: dict[str, str], person: str) -> None:
    actor = getattr(strict, person)
    assert {row.number for row in manage_cases.list_cases(strict.custody, actor, None, 50).items} == CASES[
        person
    ]
    for number in (NUMBER, OTHER_NUMBER, THEIRS):
        if number in CASES[person]:
            assert manage_cases.get_case(strict.custody, actor, number).number == number
        else:
            with pytest.raises(NotFound):
                manage_cases.get_case(strict.custody, actor, number)


def test_what_is_not_there_and_what_is_not_yours_are_answered_alike(
    strict: World, held: dict[str, str]
) -> None:
    answers = []
    for bundle in (held[ABROAD], "bun_" + "a" * 26):
        with pytest.raises(NotFound) as answer:
            declaration.get_bundle(strict.custody, strict.operator, bundle)
        answers.append((answer.value.message.replace(bundle, "*"), dict(answer.value.facts)))
    assert answers[0] == answers[1]


def test_an_engineer_sees_unclaimed_bundles_only_while_a_case_of_that_customer_is_open(
    strict: World, held: dict[str, str]
) -> None:
    strict.close_case(NUMBER)
    seen = {row.id for row in declaration.list_bundles(strict.custody, strict.engineer, None, 50).items}
    assert held[LOOSE] not in seen and held[HERS] in seen


def test_a_partner_sees_nothing_once_the_consent_is_revoked_or_ran_out(
    strict: World, held: dict[str, str]
) -> None:
    case = manage_cases.get_case(strict.custody, strict.operator, NUMBER)
    given = manage_consents.list_consents(strict.custody, strict.operator, case, None, 5).items[0]
    strict.clock.at = given.expires_at
    assert declaration.list_bundles(strict.custody, strict.partner, None, 50).items == []
    strict.consent()
    assert len(declaration.list_bundles(strict.custody, strict.partner, None, 50).items) == 2
    again = manage_consents.list_consents(strict.custody, strict.operator, case, None, 5).items[0]
    manage_consents.revoke_consent(strict.custody, strict.operator, again.id)
    assert declaration.list_bundles(strict.custody, strict.partner, None, 50).items == []


Verb = Callable[[World, Actor, dict[str, str]], object]
ON_THE_OTHER_CUSTOMER: dict[str, Verb] = {
    "erase a case": lambda w, a, b: erasure_steps.request_case_erasure(w.custody, a, THEIRS, ""),
    "erase a bundle": lambda w, a, b: erasure_steps.request_bundle_erasure(w.custody, a, b[ABROAD], ""),
    "deregister": lambda w, a, b: manage_stamps.deregister_stamp(w.custody, a, w.other_stamp.stamp or ""),
    "proactive": lambda w, a, b: manage_stamps.set_proactive(w.custody, a, w.other_stamp.stamp or "", False),
    "consent": lambda w, a, b: manage_consents.give_consent(
        w.custody, a, THEIRS, "oem", w.clock.now().replace(year=2026, month=6), None
    ),
    "revoke consent": lambda w, a, b: manage_consents.revoke_consent(w.custody, a, b["consent"]),
    "revoke grant": lambda w, a, b: manage_grants.revoke_grant(w.custody, a, b["grant"]),
    "upload": lambda w, a, b: upload_session.begin(w.custody, w.uploads, a, b["upload"], 0),
    "announce": lambda w, a, b: declaration.create_upload(
        w.custody, a, w.collection(5), case_number=THEIRS, stamp_id=w.other_stamp.stamp
    ),
    "read": lambda w, a, b: w.read(b[ABROAD], a),
}
EVERY_OTHER_ROLE = [role for role in Role if role not in (Role.OPERATOR, Role.CLOCK)]
BESIDE = [set(some) for count in range(3) for some in combinations(EVERY_OTHER_ROLE, count)]


@pytest.mark.parametrize("verb", ON_THE_OTHER_CUSTOMER)
def test_an_operator_acts_for_no_other_customer_whatever_roles_stand_beside(
    strict: World, held: dict[str, str], verb: str
) -> None:
    """Every pair of further roles: some show the other customer's things, none lets an operator change them."""
    strict.assign(strict.engineer, number=THEIRS)
    held["grant"] = strict.grant(strict.engineer, THEIRS).id
    until = strict.clock.now().replace(month=6)
    held["consent"] = manage_consents.give_consent(
        strict.custody, strict.other_operator, THEIRS, "oem", until, None
    ).id
    upload = declaration.create_upload(
        strict.custody,
        strict.other_operator,
        strict.collection(5),
        case_number=THEIRS,
        stamp_id=strict.other_stamp.stamp,
    )
    held["upload"] = upload.id
    for roles in BESIDE:
        mixed = strict.actor("mixed", Role.OPERATOR, *roles, directory="contoso", partner="oem")
        with pytest.raises((NotFound, Refused)):
            ON_THE_OTHER_CUSTOMER[verb](strict, mixed, held)
        assert strict.entries()[-1].outcome == "refused"


def test_the_same_acts_are_open_to_the_customers_own_operator(strict: World, held: dict[str, str]) -> None:
    """So that the test above cannot pass because the acts never work."""
    strict.assign(strict.engineer, number=THEIRS)
    held["grant"] = strict.grant(strict.engineer, THEIRS).id
    operator = strict.other_operator
    until = strict.clock.now().replace(month=6)
    held["consent"] = manage_consents.give_consent(strict.custody, operator, THEIRS, "oem", until, None).id
    upload = ON_THE_OTHER_CUSTOMER["announce"](strict, operator, held)
    held["upload"] = upload.id  # type: ignore[attr-defined]
    session: Any = ON_THE_OTHER_CUSTOMER["upload"](strict, operator, held)
    session.__exit__(None, None, None)
    acts = ("revoke grant", "revoke consent", "consent", "proactive", "deregister", "erase a bundle")
    for name in (*acts, "erase a case"):
        ON_THE_OTHER_CUSTOMER[name](strict, operator, held)
    assert strict.entries()[-1].outcome == "success"


def test_no_door_can_hand_out_the_clocks_role(strict: World) -> None:
    everything = strict.actor("everything", *Role)
    assert Role.CLOCK not in everything.roles
    assert everything.kind != "clock"


def test_the_reason_and_the_trigger_used_here_are_valid_ones(strict: World) -> None:
    assert strict.custody.triggers.knows(TRIGGER)
    strict.open_case()
    strict.assign(strict.engineer)
    assert (
        manage_grants.give_grant(
            strict.custody, strict.engineer, NUMBER, REASON, manage_grants.timedelta(hours=1)
        ).reason
        == REASON
    )


def test_a_deregistered_stamp_sends_nothing_and_what_it_sent_stays(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"kept")
    running = strict.announce(4)
    manage_stamps.deregister_stamp(strict.custody, strict.operator, strict.stamp.stamp or "")
    gone = strict.actor("stamp-contoso", Role.STAMP, directory="contoso")
    assert gone.stamp is None
    for attempt in (
        lambda: declaration.create_upload(
            strict.custody, gone, strict.collection(3), case_number=NUMBER, stamp_id=None
        ),
        lambda: strict.send(running, b"late", actor=gone),
    ):
        with pytest.raises(CustodyError):
            attempt()
    assert strict.state(bundle) == "complete"
