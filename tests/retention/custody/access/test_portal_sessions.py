"""Sessions: found by their secret alone, over in time, bound to the service, ended by their person and their issuer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from retention.custody import redaction
from retention.custody.access import portal_sessions
from retention.custody.access.portal_sessions import IDLE, LONGEST, SignedIn
from retention.domain.actor import Role
from retention.records.tables import portal_sessions as table
from tests.retention.custody.world import World

SECRET, OTHER = b"s" * 32, b"o" * 32
MINUTE = timedelta(minutes=1)


def said(world: World, **changes: Any) -> SignedIn:
    """What the issuer's token said of an engineer, for an hour."""
    usual = SignedIn(
        roles=frozenset({Role.SUPPORT_ENGINEER}),
        directory=None,
        partner=None,
        renew_at=world.clock.now() + timedelta(hours=1),
        issuer_session="sid-1",
        sealed=b"sealed",
    )
    return replace(usual, **changes)


def test_a_session_is_found_by_its_secret_and_only_by_that(world: World) -> None:
    id_ = portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    found = portal_sessions.find(world.custody, SECRET)
    assert found is not None and (found.id, found.actor_id) == (id_, world.engineer.id)
    assert found.signed_in == said(world)
    assert portal_sessions.find(world.custody, OTHER) is None
    with world.custody.records.read() as reads:
        (row,) = reads.execute(select(table))
    assert SECRET not in [value for value in row if isinstance(value, bytes)]
    assert SECRET.hex() not in repr(row)
    assert world.last() == ("session.started", "success", None)


def test_it_ends_when_it_is_idle_and_at_its_longest_however_busy(world: World) -> None:
    begun = world.clock.now()
    portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    while world.clock.now() - begun + IDLE - MINUTE < LONGEST:
        world.clock.move(IDLE - MINUTE)
        assert portal_sessions.find(world.custody, SECRET) is not None
    world.clock.move(begun + LONGEST - world.clock.now() - timedelta(microseconds=1))
    assert portal_sessions.find(world.custody, SECRET) is not None
    world.clock.move(timedelta(microseconds=1))
    assert portal_sessions.find(world.custody, SECRET) is None
    portal_sessions.begin(world.custody, world.engineer, OTHER, said(world))
    world.clock.move(IDLE)
    assert portal_sessions.find(world.custody, OTHER) is None


def test_rows_that_are_over_are_removed_with_the_next_sign_in(world: World) -> None:
    portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    world.clock.move(IDLE)
    kept = portal_sessions.begin(world.custody, world.engineer, OTHER, said(world))
    with world.custody.records.read() as reads:
        assert reads.execute(select(table.c.id)).scalars().all() == [kept]


@pytest.mark.parametrize(
    "change",
    [
        {"roles": "CaseVault.Auditor"},
        {"directory": "fabrikam"},
        {"partner": "oem"},
        {"actor_id": "other"},
        {"secret_digest": portal_sessions.digest(OTHER)},
        {"ends_at": "later"},
        {"renew_at": "later"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_row_that_somebody_wrote_into_the_database_is_nobodys(
    strict: World, change: dict[str, Any]
) -> None:
    """Else whoever writes the database reads as an auditor, or goes on after their role is gone."""
    portal_sessions.begin(strict.custody, strict.engineer, SECRET, said(strict))
    later = strict.clock.now() + timedelta(days=400)
    values = {name: later if value == "later" else value for name, value in change.items()}
    if "actor_id" in values:
        values["actor_id"] = strict.operator.id
    written = True
    try:
        strict.custody.records.write(lambda tx: tx.change(update(table).values(values)))
    except DBAPIError:  # on PostgreSQL the API's own role is not even allowed to
        written = False
    assert (portal_sessions.find(strict.custody, SECRET) is None) is written
    assert portal_sessions.find(strict.custody, OTHER) is None


def test_of_requests_that_renew_at_once_one_asks_the_issuer(world: World) -> None:
    portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    world.clock.move(timedelta(minutes=29))
    session = portal_sessions.find(world.custody, SECRET)
    assert session is not None and not session.needs_renewal(world.clock.now())
    world.clock.move(timedelta(minutes=29))
    portal_sessions.find(world.custody, SECRET)
    world.clock.move(timedelta(minutes=2))
    first, second = (portal_sessions.find(world.custody, SECRET) for _ in range(2))
    assert first is not None and second is not None and first.needs_renewal(world.clock.now())
    claimed = [portal_sessions.claim_renewal(world.custody, one) for one in (first, second)]
    assert claimed == [world.clock.now() + portal_sessions.RENEWAL, None]
    waiting = portal_sessions.find(world.custody, SECRET)
    assert waiting is not None and not waiting.needs_renewal(world.clock.now())
    fewer = said(world, roles=frozenset({Role.AUDITOR}), sealed=b"anew")
    now = portal_sessions.renewed(world.custody, first, fewer)
    assert now is not None and now.signed_in == fewer
    found = portal_sessions.find(world.custody, SECRET)
    assert found is not None and found.signed_in == fewer


def test_a_renewal_that_could_not_be_asked_for_is_due_again_at_once(world: World) -> None:
    portal_sessions.begin(world.custody, world.engineer, SECRET, said(world, renew_at=world.clock.now()))
    session = portal_sessions.find(world.custody, SECRET)
    assert session is not None
    claimed = portal_sessions.claim_renewal(world.custody, session)
    assert claimed is not None
    portal_sessions.give_back_renewal(world.custody, session, claimed)
    found = portal_sessions.find(world.custody, SECRET)
    assert found == session and found.needs_renewal(world.clock.now())


def test_a_claim_that_came_too_late_takes_back_no_renewal(world: World) -> None:
    portal_sessions.begin(world.custody, world.engineer, SECRET, said(world, renew_at=world.clock.now()))
    session = portal_sessions.find(world.custody, SECRET)
    assert session is not None
    claimed = portal_sessions.claim_renewal(world.custody, session)
    assert claimed is not None
    portal_sessions.renewed(world.custody, session, said(world))
    portal_sessions.give_back_renewal(world.custody, session, claimed)
    found = portal_sessions.find(world.custody, SECRET)
    assert found is not None and not found.needs_renewal(world.clock.now())


def test_a_session_that_ended_meanwhile_is_not_renewed(world: World) -> None:
    id_ = portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    session = portal_sessions.find(world.custody, SECRET)
    assert session is not None
    portal_sessions.end(world.custody, world.engineer, id_, "signed-out")
    assert portal_sessions.renewed(world.custody, session, said(world)) is None


def test_people_end_their_own_sessions_and_nobody_elses(world: World) -> None:
    id_ = portal_sessions.begin(world.custody, world.engineer, SECRET, said(world))
    assert not portal_sessions.end(world.custody, world.operator, id_, "signed-out")
    assert [one.id for one in portal_sessions.list_own(world.custody, world.engineer)] == [id_]
    assert portal_sessions.list_own(world.custody, world.operator) == []
    assert portal_sessions.end(world.custody, world.engineer, id_, "signed-out")
    assert portal_sessions.find(world.custody, SECRET) is None
    assert world.last() == ("session.ended", "success", "signed-out")


def test_the_issuer_ends_the_sessions_of_one_of_its_own_or_all_of_a_persons(world: World) -> None:
    for secret, sid in ((SECRET, "sid-1"), (OTHER, "sid-2"), (b"t" * 32, "sid-2")):
        portal_sessions.begin(world.custody, world.engineer, secret, said(world, issuer_session=sid))
    assert portal_sessions.end_by_issuer(world.custody, world.engineer, "sid-2") == 2
    assert portal_sessions.find(world.custody, SECRET) is not None
    assert portal_sessions.end_by_issuer(world.custody, world.engineer, None) == 1
    assert portal_sessions.find(world.custody, SECRET) is None


def test_who_is_forgotten_has_no_session_left(world: World) -> None:
    portal_sessions.begin(world.custody, world.auditor, SECRET, said(world))
    redaction.redact_person(world.custody, world.administrator, world.auditor.id, "left the company in May")
    assert portal_sessions.find(world.custody, SECRET) is None
