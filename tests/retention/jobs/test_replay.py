"""After a restore: what customers chose and answered, what auditors said and whose sessions ended, as the log has it.

The service's clock may tick, and its callers act, before the restored records know of the log's tail.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from retention.assembly import Services
from retention.custody.access import (
    approval_policies,
    manage_approvals,
    manage_cases,
    manage_grants,
    manage_reviews,
    portal_sessions,
)
from retention.custody.access.altered_records import find_altered
from retention.custody.access.portal_sessions import SignedIn
from retention.custody.notices import manage_receivers
from retention.domain.approval import WAITS, Rule
from retention.domain.notice import Way
from retention.domain.review import Verdict
from retention.jobs.reconcile import Reconciliation, reconcile
from retention.jobs.sweep import erase_due
from retention.records.tables import approval_policies as approval_policies_table
from tests.retention.custody.access.test_approvals import (
    ask,
    choose,
    decline,
    give,
    ready,
    unallowed,
    withdraw,
)
from tests.retention.custody.world import HOUR, NUMBER, OTHER_NUMBER, World, owned
from tests.retention.restoring import Installation, publish


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def again(services: Services, world: World) -> Reconciliation:
    return reconcile(world.custody, services.log_signer.verifier, services.witness)


def altered(world: World) -> list[str]:
    return list(find_altered(world.custody.records, world.custody.binding, world.clock.now()))


@pytest.mark.parametrize("answer", [give, decline, withdraw])
def test_no_request_lapses_whose_answer_the_restored_database_has_lost(
    installation: Installation, answer: object
) -> None:
    with installation.service() as (services, world):
        ready(world)
        approval = ask(world, duration=HOUR)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        assert callable(answer)
        answer(world, approval, *([world.engineer] if answer is withdraw else []))
        publish(services)
    installation.restore()
    installation.clock.move(WAITS)
    with installation.service() as (services, world):
        erase_due(world.custody)
        again(services, world)
        erase_due(world.custody)
        publish(services)
        acts = [leaf["action"] for leaf in world.leaves() if leaf.get("subject") == approval]
        assert len(acts) == 2 and "approval.lapsed" not in acts
        row = manage_approvals.get_approval(world.custody, world.operator, approval)
        assert (row.state, acts[1]) == (acts[1].removeprefix("approval."), f"approval.{row.state}")
        assert altered(world) == []


def test_a_choice_made_before_the_lost_tail_is_known_is_the_newest(installation: Installation) -> None:
    with installation.service() as (services, world):
        ready(world, Rule.SEE)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        choose(world, Rule.OWN_CASES)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        choose(world, Rule.ASK)
        again(services, world)
        publish(services)
        case = manage_cases.get_case(world.custody, world.operator, NUMBER)
        chosen = approval_policies.get_policy(world.custody, world.operator, case)
        assert chosen.policy.rule is Rule.ASK
        assert altered(world) == []


def test_an_answer_given_before_the_lost_tail_is_known_is_the_newest(installation: Installation) -> None:
    with installation.service() as (services, world):
        ready(world)
        approval = ask(world)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        give(world, approval)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        decline(world, approval)
        again(services, world)
        publish(services)
        row = manage_approvals.get_approval(world.custody, world.operator, approval)
        assert (row.state, row.answered_by) == ("declined", world.operator.id)
        assert decline(world, approval).state == "declined"
        assert altered(world) == []


def test_an_answer_of_the_lost_tail_counts_where_the_back_up_had_not_numbered_the_request(
    installation: Installation,
) -> None:
    with installation.service() as (services, world):
        ready(world)
        publish(services)
        approval = ask(world)
    installation.back_up()
    with installation.service() as (services, world):
        publish(services)
        decline(world, approval)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        publish(services)
        row = manage_approvals.get_approval(world.custody, world.operator, approval)
        assert (row.state, row.answered_by) == ("declined", world.operator.id)
        assert altered(world) == []


def test_a_verdict_given_before_the_lost_tail_is_known_is_the_newest(installation: Installation) -> None:
    with installation.service() as (services, world):
        ready(world, Rule.SEE)
        grant = world.grant().id
        manage_grants.release_grant(world.custody, world.engineer, grant)
        publish(services)
    installation.back_up()

    def say(world: World, verdict: Verdict) -> None:
        manage_reviews.review_grant(world.custody, world.auditor, grant, verdict, "Why was it read at night?")

    with installation.service() as (services, world):
        say(world, Verdict.QUESTIONED)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        say(world, Verdict.QUESTIONED)
        again(services, world)
        publish(services)
        say(world, Verdict.SIGNED_OFF)
        assert altered(world) == []


def test_a_session_that_was_ended_does_not_come_back(installation: Installation) -> None:
    ended, kept = b"e" * 32, b"k" * 32
    with installation.service() as (services, world):
        for secret, sid in ((ended, "sid-1"), (kept, "sid-2")):
            told = SignedIn(
                roles=world.auditor.roles,
                directory=None,
                partner=None,
                renew_at=world.clock.now() + HOUR,
                issuer_session=sid,
            )
            portal_sessions.begin(world.custody, world.auditor, secret, told)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        assert portal_sessions.end_by_issuer(world.custody, world.auditor, "sid-1") == 1
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        assert again(services, world).repeated == {"session.ended": 1}
        assert portal_sessions.find(world.custody, ended) is None
        assert portal_sessions.find(world.custody, kept) is not None


def test_what_the_restored_database_has_lost_is_not_named_as_taken_away(installation: Installation) -> None:
    with installation.service() as (services, world):
        ready(world)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        given = give(world, ask(world))
        ask(world, world.colleague)
        manage_grants.release_grant(world.custody, world.engineer, given.grant_id)
        manage_reviews.review_grant(world.custody, world.auditor, given.grant_id, Verdict.SIGNED_OFF, None)
        world.open_case(OTHER_NUMBER)
        choose(world, Rule.SEE, OTHER_NUMBER)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        publish(services)
        assert altered(world) == []
        with owned(world.custody.records) as engine, engine.begin() as connection:
            connection.execute(delete(approval_policies_table))
        assert len(altered(world)) == 1


def test_an_assignment_made_again_counts_from_then_for_the_log_too(installation: Installation) -> None:
    """Who is assigned longest owns the case: records and log must say the same of it."""
    with installation.service() as (services, world):
        world.open_case()
        bundle = world.upload(b"log " * 99)
        choose(world, Rule.OWN_CASES)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        for engineer in (world.engineer, world.colleague):
            world.assign(engineer)
            world.clock.move(HOUR)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        for engineer in (world.colleague, world.engineer):
            world.assign(engineer)
            world.clock.move(HOUR)
        world.grant(world.colleague)
        assert world.read(bundle, world.colleague)
        assert unallowed(world) == []


def test_a_receiver_of_notices_that_was_removed_does_not_come_back(installation: Installation) -> None:
    def add(world: World, name: str) -> str:
        address = f"https://{name}.example/"
        return str(manage_receivers.add_receiver(world.custody, world.operator, Way.WEBHOOK, address).row.id)

    with installation.service() as (services, world):
        removed, kept = add(world, "removed"), add(world, "kept")
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        manage_receivers.remove_receiver(world.custody, world.operator, removed)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        assert again(services, world).repeated == {"notice-receiver.removed": 1}
        left = manage_receivers.list_receivers(world.custody, world.operator, None, 50).items
        assert [(one.row.id, one.state) for one in left] == [(kept, "ok")]
        assert altered(world) == []
