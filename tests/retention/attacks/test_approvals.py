"""Policies and requests written by somebody who has the database and no key: nobody reads unasked by them (P2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from audit.tlog.unaccounted import Kind, unaccounted
from retention.custody.access import approval_policies, manage_approvals, manage_grants
from retention.custody.access.bound_access import ALTERED, Altered
from retention.domain.approval import WAITS, Rule
from retention.domain.faults import Refused
from retention.jobs.sweep import lapse_requests
from tests.retention.attacks.conftest import CONTENT, Scene
from tests.retention.custody.world import HOUR, NUMBER, OTHER_NUMBER, REASON, World


def choose(world: World, rule: Rule, number: str | None = None) -> None:
    approval_policies.set_policy(world.custody, world.operator, number, rule, None)


def asks(world: World) -> str | None:
    """The id of the request that a grant becomes; None if it was granted."""
    given = manage_grants.give_grant(world.custody, world.engineer, NUMBER, REASON, HOUR)
    return given.approval if isinstance(given, manage_grants.Asked) else None


POLICIES: dict[str, str] = {
    "made another": "UPDATE approval_policies SET rule = 'see'",
    "another's length": "UPDATE approval_policies SET rule = 'own-cases', long_minutes = 1440",
    "taken away": "DELETE FROM approval_policies",
    "another customer's": "UPDATE approval_policies SET id = :other_tenant, tenant_id = :other_tenant",
    "a choice of the case put in": "INSERT INTO approval_policies (id, tenant_id, case_id, rule, long_minutes, set_at, "
    "actor_id, entry_id, tag) SELECT :case, tenant_id, :case, 'see', long_minutes, set_at, actor_id, entry_id, tag "
    "FROM approval_policies",
    "of an unknown rule": "UPDATE approval_policies SET rule = 'whatever'",
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_was_not_chosen_lets_nobody_in_unasked(scene: Scene, name: str) -> None:
    choose(scene.world, Rule.ASK)
    scene.attack(POLICIES[name])
    with pytest.raises(Altered) as refused:
        asks(scene.world)
    assert refused.value.reason == ALTERED
    with pytest.raises(Altered):
        asks(scene.another_process())
    assert any("policy" in one for one in scene.found())
    choose(scene.world, Rule.ASK)
    if name == "a choice of the case put in":
        choose(scene.world, Rule.INHERITED, NUMBER)
    assert asks(scene.world), "a choice states all of it"


def test_a_choice_that_counted_once_and_is_put_back_counts_no_more(scene: Scene) -> None:
    choose(scene.world, Rule.SEE)
    scene.attack("CREATE TABLE kept AS SELECT * FROM approval_policies")
    choose(scene.world, Rule.ASK)
    scene.attack(
        "DELETE FROM approval_policies",
        "INSERT INTO approval_policies SELECT * FROM kept",
        "DROP TABLE kept",
    )
    for world in (scene.world, scene.another_process()):
        with pytest.raises(Altered):
            asks(world)


def test_a_process_that_has_seen_a_choice_takes_none_before_it_whatever_the_log_says(scene: Scene) -> None:
    choose(scene.world, Rule.SEE)
    scene.attack("CREATE TABLE kept AS SELECT * FROM approval_policies")
    choose(scene.world, Rule.ASK)
    assert asks(scene.world)
    scene.attack(
        "DELETE FROM approval_policies",
        "INSERT INTO approval_policies SELECT * FROM kept",
        "DROP TABLE kept",
        "DELETE FROM approvals",
        "DELETE FROM audit_entries WHERE action = 'approval-policy.set' AND row = "
        "(SELECT max(row) FROM audit_entries WHERE action = 'approval-policy.set')",
    )
    with pytest.raises(Altered):
        asks(scene.world)


def test_an_altered_request_that_was_given_says_which_grant_to_revoke(scene: Scene) -> None:
    choose(scene.world, Rule.ASK)
    approval = asks(scene.world)
    assert approval
    _give(scene.world, approval)
    grant = manage_approvals.get_approval(scene.world.custody, scene.world.operator, approval).grant_id
    scene.attack("UPDATE approvals SET lapses_at = lapses_at + 1")
    for actor in (scene.world.operator, scene.world.engineer):
        with pytest.raises(Altered, match=grant):
            manage_approvals.withdraw_approval(scene.world.custody, actor, approval, None)
    manage_grants.revoke_grant(scene.world.custody, scene.world.operator, grant)
    assert manage_grants.get_grant(scene.world.custody, scene.world.operator, grant).ended_at is not None


def _give(world: World, approval: str) -> object:
    return manage_approvals.give_approval(world.custody, world.operator, approval, None)


REQUESTS: dict[str, str] = {
    "for another engineer": "UPDATE approvals SET actor_id = :mallory",
    "for another case": "UPDATE approvals SET case_id = :other",
    "for longer": "UPDATE approvals SET duration_us = duration_us * 20",
    "with a better reason": "UPDATE approvals SET reason = 'the customer asked for it on the telephone'",
    "waiting longer": "UPDATE approvals SET lapses_at = lapses_at + 1",
    "as a partner": "UPDATE approvals SET partner = 'oem'",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_nobody_made_is_not_given(scene: Scene, name: str) -> None:
    choose(scene.world, Rule.ASK)
    approval = asks(scene.world)
    assert approval
    scene.attack(REQUESTS[name])
    for world in (scene.world, scene.another_process()):
        with pytest.raises(Altered):
            _give(world, approval)
    assert any("approval" in one for one in scene.found())


ANSWERS: dict[str, Callable[[World, str], object]] = {
    "declined": lambda w, a: manage_approvals.decline_approval(w.custody, w.operator, a, None),
    "withdrawn": lambda w, a: manage_approvals.withdraw_approval(w.custody, w.engineer, a, None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_request_that_is_over_and_put_back_as_waiting_is_not_given(scene: Scene, name: str) -> None:
    choose(scene.world, Rule.ASK)
    approval = asks(scene.world)
    assert approval
    scene.attack("CREATE TABLE kept AS SELECT * FROM approvals")
    ANSWERS[name](scene.world, approval)
    scene.attack("DELETE FROM approvals", "INSERT INTO approvals SELECT * FROM kept", "DROP TABLE kept")
    for world in (scene.world, scene.another_process()):
        with pytest.raises(Altered):
            _give(world, approval)


def test_a_request_marked_as_given_with_a_grant_put_in_opens_nothing(scene: Scene) -> None:
    manage_grants.release_grant(scene.world.custody, scene.world.engineer, scene.named["grant"])
    choose(scene.world, Rule.ASK)
    assert asks(scene.world)
    assert isinstance(scene.tried(scene.world.engineer, scene.bundle), Refused)
    scene.attack(
        "INSERT INTO grants (id, case_id, actor_id, reason, granted_at, expires_at) "
        "SELECT 'grn_forged', case_id, actor_id, reason, asked_at, lapses_at FROM approvals",
        "UPDATE approvals SET state = 'given', grant_id = 'grn_forged'",
    )
    assert isinstance(scene.tried(scene.world.engineer, scene.bundle), Altered)


def test_an_altered_request_lapses_all_the_same_and_is_never_believed_by_that(scene: Scene) -> None:
    choose(scene.world, Rule.ASK)
    approval = asks(scene.world)
    assert approval
    scene.attack("UPDATE approvals SET actor_id = :mallory, lapses_at = asked_at")
    assert lapse_requests(scene.world.custody) == 1
    with pytest.raises(Altered):
        _give(scene.world, approval)


def test_a_request_that_was_given_and_is_put_back_does_not_lapse_so_that_no_read_is_accused(
    scene: Scene,
) -> None:
    world = scene.world
    manage_grants.release_grant(world.custody, world.engineer, scene.named["grant"])
    choose(world, Rule.ASK)
    approval = asks(world)
    assert approval
    scene.attack("CREATE TABLE kept AS SELECT * FROM approvals")
    world.clock.move(WAITS - HOUR / 2)
    _give(world, approval)
    scene.attack("DELETE FROM approvals", "INSERT INTO approvals SELECT * FROM kept", "DROP TABLE kept")
    world.clock.move(HOUR / 2)
    assert lapse_requests(world.custody) == 0
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    found = unaccounted(world.leaves(), world.clock.now())
    assert [one for one in found if one.kind is not Kind.UNUSED] == []


@pytest.mark.parametrize(
    "broken_by",
    [
        "UPDATE approvals SET lapses_at = -900000000000000000 WHERE id = :broken",
        "UPDATE approvals SET asked_at = -900000000000000000 WHERE id = :broken",
        "UPDATE approvals SET answered_at = 900000000000000000 WHERE id = :broken",
    ],
)
def test_a_moment_that_no_calendar_has_keeps_no_other_request_from_lapsing(
    scene: Scene, broken_by: str
) -> None:
    choose(scene.world, Rule.ASK)
    broken = asks(scene.world)
    scene.named["broken"] = str(broken)
    scene.attack(broken_by)
    scene.world.clock.move(WAITS)
    given = manage_grants.give_grant(scene.world.custody, scene.mallory, OTHER_NUMBER, REASON, HOUR)
    assert isinstance(given, manage_grants.Asked)
    scene.world.clock.move(WAITS)
    lapse_requests(scene.world.custody)
    ended = [leaf["subject"] for leaf in scene.world.leaves() if leaf["action"] == "approval.lapsed"]
    assert sorted(ended) == sorted([broken, given.approval])


def test_a_request_that_was_taken_away_is_named(scene: Scene) -> None:
    choose(scene.world, Rule.ASK)
    approval = asks(scene.world)
    assert approval and scene.found() == []
    scene.attack("DELETE FROM approvals")
    (named,) = scene.found()
    assert approval in named


def test_other_cases_and_customers_go_on(scene: Scene) -> None:
    choose(scene.world, Rule.ASK, OTHER_NUMBER)
    scene.attack("UPDATE approval_policies SET rule = 'see'")
    assert asks(scene.world) is None
    assert scene.tried(scene.world.engineer, scene.bundle) == CONTENT
