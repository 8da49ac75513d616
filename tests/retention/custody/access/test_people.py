"""Whose a caller is: role by role, from the token's own claims. No directory and an unknown one are two things."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

import pytest

from retention.custody.access import manage_cases, manage_stamps
from retention.custody.access.people import Directory
from retention.custody.reading import log_queries
from retention.custody.reading.log_queries import Asked
from retention.custody.uploads import declaration
from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict, CustodyError, NotFound, Refused
from tests.retention.custody.world import DAY, NUMBER, World

RACK = "stamp-contoso"
BESIDE = [Role.OPERATOR, Role.SUPPORT_ENGINEER, Role.ADMINISTRATOR]


def sees(world: World, actor: Actor) -> list[str]:
    """What of any customer's the actor is shown."""
    found = [str(row.number) for row in manage_cases.list_cases(world.custody, actor, None, 50).items]
    found += [str(row.id) for row in declaration.list_bundles(world.custody, actor, None, 50).items]
    found += [str(row.id) for row in manage_stamps.list_stamps(world.custody, actor, None, 50).items]
    with suppress(Refused):
        entries = log_queries.find_entries(world.custody, actor, Asked(), None, 50).entries
        found += [str(row.fields["id"]) for row in entries if row.fields.get("tenant") == world.tenant]
    return found


def test_a_stamps_token_of_an_unregistered_directory_is_nobodys(strict: World) -> None:
    with pytest.raises(Refused) as refused:
        strict.actor(RACK, Role.STAMP, directory="unregistered")
    assert refused.value.reason == "directory-unknown"
    assert strict.last() == ("caller.refused", "refused", "directory-unknown")
    assert strict.entries()[-1].actor_kind == "stamp"


@pytest.mark.parametrize("directory", ["unregistered", None])
def test_an_operator_without_a_registered_directory_is_nobodys(strict: World, directory: str | None) -> None:
    with pytest.raises(Refused) as refused:
        strict.actor("olga", Role.OPERATOR, directory=directory)
    assert refused.value.reason == ("directory-unknown" if directory else "directory-missing")


def test_a_partners_engineer_of_no_company_is_refused_for_that(strict: World) -> None:
    with pytest.raises(Refused) as refused:
        strict.actor("pat", Role.PARTNER_ENGINEER)
    assert refused.value.reason == "partner-missing"
    assert strict.last() == ("caller.refused", "refused", "partner-missing")


@pytest.mark.parametrize("directory", ["unregistered", None])
def test_a_role_beside_the_stamps_is_not_bound_to_the_stamps_customer(
    strict: World, directory: str | None
) -> None:
    """The stamp's own things only: an operator is one of the customer that the token itself names."""
    strict.open_case()
    strict.upload(b"content")
    strict.directory = Directory(strict.custody, stamps_named=False)  # else a stamp without one is nobody's
    for some in range(1, len(BESIDE) + 1):
        for roles in combinations(BESIDE, some):
            try:
                actor = strict.actor(RACK, Role.STAMP, *roles, directory=directory)
            except Refused:
                assert roles == (Role.OPERATOR,) and directory is not None
                continue
            assert actor.tenant is None and Role.OPERATOR not in actor.roles
            bound = Actor(id=actor.id, roles=actor.roles - {Role.STAMP, Role.ADMINISTRATOR})
            assert sees(strict, bound) == []
            with pytest.raises(NotFound):
                manage_cases.get_case(strict.custody, actor, NUMBER)


def test_a_withheld_role_is_refused_with_its_own_reason_where_it_is_needed(strict: World) -> None:
    """Whoever holds another role beside it comes in with that one: the first administrator must."""
    root = strict.actor("root", Role.ADMINISTRATOR, Role.OPERATOR, Role.STAMP, directory="unregistered")
    with pytest.raises(Refused) as refused:
        manage_stamps.register_stamp(strict.custody, root, "north", "x")
    assert refused.value.reason == "directory-unknown"
    with pytest.raises(Refused) as refused:
        declaration.create_upload(
            strict.custody, root, strict.collection(1), case_number=NUMBER, stamp_id=None
        )
    assert refused.value.reason == "directory-unknown"
    manage_stamps.register_tenant(strict.custody, root, "New", "unregistered")
    now = strict.actor("root", Role.ADMINISTRATOR, Role.OPERATOR, directory="unregistered")
    assert manage_stamps.register_stamp(strict.custody, now, "north", "x").tenant_id == now.tenant


def test_an_unknown_directory_takes_nothing_from_the_services_own_people(strict: World) -> None:
    """Theirs is the issuer's own directory, which is no customer's."""
    for role in (Role.SUPPORT_ENGINEER, Role.AUDITOR, Role.CASE_SYSTEM, Role.ADMINISTRATOR):
        actor = strict.actor("somebody", role, directory="the issuer's own")
        assert (actor.roles, actor.tenant) == ({role}, None)


def test_nobody_without_a_stamp_is_shown_one_and_no_operator_without_a_customer(strict: World) -> None:
    """Whatever a door may make: an actor of no customer and no stamp has nothing in common with anything."""
    for role in (Role.STAMP, Role.OPERATOR, Role.PARTNER_ENGINEER):
        assert sees(strict, Actor(id="act_x", roles=frozenset({role}))) == []
        with pytest.raises(CustodyError):
            manage_stamps.get_stamp(strict.custody, Actor(id="act_x", roles=frozenset({role})), "stp_x")


def test_a_customer_registers_its_stamp_whatever_another_one_registered(strict: World) -> None:
    taken = "stamp-contoso"
    squatted = manage_stamps.register_stamp(
        strict.custody, strict.other_operator, "mine", taken, proactive=True
    )
    assert squatted.tenant_id == strict.other_tenant
    with pytest.raises(Conflict):
        manage_stamps.register_stamp(strict.custody, strict.other_operator, "again", taken)
    assert strict.actor(taken, *strict.stamp.roles, directory="contoso").stamp == strict.stamp.stamp
    assert strict.actor(taken, *strict.stamp.roles, directory="fabrikam").stamp == squatted.id


def test_a_stamps_token_names_its_customer_unless_the_deployment_does_without(strict: World) -> None:
    with pytest.raises(Refused) as refused:
        strict.actor("stamp-contoso", *strict.stamp.roles)
    assert refused.value.reason == "directory-missing"
    strict.clock.move(DAY)
    manage_stamps.register_stamp(
        strict.custody, strict.other_operator, "mine", "stamp-contoso", proactive=True
    )
    strict.directory = Directory(strict.custody, stamps_named=False)
    unnamed = strict.actor("stamp-contoso", *strict.stamp.roles)
    assert (unnamed.stamp, unnamed.tenant) == (
        strict.stamp.stamp,
        None,
    )  # whoever was first, and no later one
    strict.open_case()
    sent = declaration.create_upload(
        strict.custody, unnamed, strict.collection(1), case_number=NUMBER, stamp_id=None
    )
    assert sent.tenant_id == strict.tenant
