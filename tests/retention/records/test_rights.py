"""What each role may do in the database, on a real server: what its verbs need, and nothing that undoes the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import ProgrammingError

from audit.log.tables import metadata as audit_tables
from audit.mirror.store_local import LocalMirrorStore
from retention.custody import bundle_moves, receipts
from retention.custody.access import (
    manage_approvals,
    manage_cases,
    manage_consents,
    manage_links,
    manage_reviews,
    manage_stamps,
    portal_sessions,
)
from retention.custody.access.approval_policies import get_policy, set_policy
from retention.custody.access.manage_grants import Asked, give_grant
from retention.custody.access.portal_sessions import SignedIn
from retention.custody.context import Custody
from retention.custody.notices import manage_receivers
from retention.custody.uploads import declaration
from retention.domain.actor import Role
from retention.domain.approval import WAITS, Rule
from retention.domain.bundle import CollectionType
from retention.domain.notice import Way
from retention.domain.review import Verdict
from retention.domain.row_tag import BUNDLE
from retention.domain.upload_link import LinkTerms
from retention.jobs.reconcile import reconcile
from retention.jobs.replay import REPLAYED, replay
from retention.jobs.sweep import SweepReport, lapse_requests, remove_orphans, sweep, verify_received
from retention.records.postgres import PostgresRecords
from retention.records.rights import RIGHTS, VERSION_TABLE, undecided
from retention.records.tables import approvals, bundles
from retention.records.tables import metadata as record_tables
from retention.records.tables import portal_sessions as portal_sessions_table
from tests.retention.custody.world import (
    DAY,
    HOUR,
    NUMBER,
    OTHER_NUMBER,
    REASON,
    World,
    owned,
    postgres_doors,
    strict_world,
)

TABLES = {**record_tables.tables, **audit_tables.tables}
Doors = tuple[PostgresRecords, PostgresRecords]


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with postgres_doors() as opened:
        yield opened


def test_every_table_has_a_decision() -> None:
    assert undecided() == set(), "decide in retention/records/rights.py who may do what with it"


def test_every_column_that_is_named_is_there() -> None:
    for name, rights in RIGHTS.items():
        for allowed in (*rights.api, *rights.clock):
            named = re.findall(r"\w+", allowed.partition("(")[2])
            assert name == VERSION_TABLE or set(named) <= set(TABLES[name].columns.keys())


NEVER = [
    "UPDATE audit_entries SET leaf = leaf",
    "UPDATE audit_entries SET actor = 'another'",
    "UPDATE audit_entries SET entry_id = 'another'",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "DELETE FROM audit_checkpoints",
    "UPDATE audit_checkpoints SET note = ''",
    "DELETE FROM audit_tree",
    "DELETE FROM receipts",
    "UPDATE receipts SET body = ''",
    "DELETE FROM bundles",
    "DELETE FROM grants",
    "UPDATE grants SET expires_at = 0",
    "UPDATE consents SET expires_at = 0",
    "CREATE TABLE another (id int)",
    "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
    "ALTER TABLE audit_entries ADD COLUMN another int",
    "DROP TABLE audit_entries",
    "CREATE RULE quiet AS ON INSERT TO audit_entries DO INSTEAD NOTHING",
    "CREATE INDEX another ON audit_entries (actor)",
    "CREATE TRIGGER quiet BEFORE UPDATE ON audit_entries FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE FUNCTION another() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT setval('audit_entries_row_seq', 1)",
    "UPDATE alembic_version SET version_num = '0001'",
    "SET ROLE postgres",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY audit_entries TO PROGRAM 'cat'",
]
NOT_THE_API = [
    "UPDATE audit_entries SET leaf_index = 1",
    "INSERT INTO audit_entries (entry_id, leaf_index, at_us, actor, actor_kind, action, outcome, leaf) "
    "VALUES ('e', 0, 0, 'a', 'k', 'x', 'success', '')",
    "UPDATE audit_tree SET size = 0",
    "INSERT INTO audit_tree (id, size, frontier, checkpoint_size) VALUES (1, 0, '', 0)",
    "INSERT INTO audit_checkpoints (size, note, at_us) VALUES (9, '', 0)",
    "UPDATE receipts SET note = ''",
    "INSERT INTO receipts (subject_id, kind, body, entry_id, issued_at, note) VALUES ('s', 'k', '', 'e', 0, '')",
    "SET ROLE casevault_clock",
]
NOT_THE_CLOCK = [
    "INSERT INTO grants (id, case_id, actor_id, reason, granted_at, expires_at) VALUES ('g', 'c', 'a', '', 0, 0)",
    "INSERT INTO assignments (case_id, actor_id, assigned_at) VALUES ('c', 'a', 0)",
    "UPDATE assignments SET actor_id = 'a'",
    "INSERT INTO consents (id, case_id, partner, whole_case, given_at, expires_at, actor_id) "
    "VALUES ('c', 'c', 'p', true, 0, 0, 'a')",
    "UPDATE consents SET expires_at = 0",
    "UPDATE cases SET tenant_id = 't'",
    "UPDATE stamps SET subject = 's'",
    "INSERT INTO actors (id, issuer, subject, first_seen_at) VALUES ('a', 'i', 's', 0)",
    "UPDATE upload_links SET expires_at = 0",
    "INSERT INTO bundles SELECT * FROM bundles",
    "SET ROLE casevault_api",
]


@pytest.mark.parametrize(
    ("door", "statement"),
    [
        *((door, statement) for door in (0, 1) for statement in NEVER),
        *((0, statement) for statement in NOT_THE_API),
        *((1, statement) for statement in NOT_THE_CLOCK),
    ],
)
def test_what_is_not_its_own_is_refused_by_the_server(doors: Doors, door: int, statement: str) -> None:
    with doors[door].engine.connect() as connection, pytest.raises(ProgrammingError) as refused:
        connection.execute(text(statement))
    assert getattr(refused.value.orig, "sqlstate", "") == "42501", refused.value


@pytest.fixture
def world() -> Iterator[World]:
    with postgres_doors() as (api, clock), strict_world(api, clock) as made:
        yield made


def of_clock(world: World) -> Custody:
    """The same custody as the clock has it."""
    assert world.clock_records is not None
    return replace(world.custody, records=world.clock_records)


def test_a_bundles_whole_life_goes_through_the_two_roles(world: World) -> None:
    """The verbs of callers in every way run as the API's role in tests/retention/custody."""
    clock = of_clock(world)
    world.open_case()
    world.assign(world.engineer)
    bundle, unfinished = world.announce(4), world.announce(100)
    world.send(bundle, b"logs")
    world.send(unfinished, b"a part")
    verify_received(clock, SweepReport(), limit=10)
    assert world.state(bundle) == "complete"
    world.consent()
    world.assign(world.partner)
    world.grant()
    world.grant(world.partner)
    assert world.read(bundle) == world.read(bundle, world.partner) == b"logs"
    world.close_case()
    world.sequence()
    world.clock.move(timedelta(days=91))
    report = sweep(clock)
    assert (report.failed, world.state(bundle), world.state(unfinished)) == (0, "erased", "erased")
    world.sequence()
    assert receipts.hand_out(world.custody, bundle)["note"]
    assert remove_orphans(clock) == 0
    assert world.log_problems() == []


def test_a_restored_database_is_reconciled_by_the_clocks_role(world: World) -> None:
    clock = of_clock(world)
    world.open_case()
    world.assign(world.engineer)
    bundle = world.upload(b"logs")
    world.grant()
    world.sequence()
    assert world.clock_records is not None
    world.custody.keys.destroy(bundle)  # the database does not know: it is from before
    found = reconcile(clock, world.log_signer.verifier, LocalMirrorStore(world.folder / "witness"))
    assert found.erasing == (bundle,)
    assert sweep(clock).erased == 1


def test_every_act_of_a_lost_tail_is_done_again_by_the_clocks_role(world: World) -> None:
    custody, operator, stamp = world.custody, world.operator, str(world.stamp.stamp)
    world.open_case()
    world.open_case(OTHER_NUMBER)
    world.assign(world.engineer)
    world.assign(world.engineer, number=OTHER_NUMBER)
    consent, loose = world.consent().id, world.upload(b"loose", None)
    terms = LinkTerms(expires_at=world.clock.now() + DAY, type=CollectionType.ON_DEMAND)
    link = manage_links.create_case_link(custody, operator, OTHER_NUMBER, None, terms).id
    set_policy(custody, operator, OTHER_NUMBER, Rule.ASK, None)
    hook = manage_receivers.add_receiver(custody, operator, Way.WEBHOOK, "https://hooks.example/").row.id
    requests = _waiting(world, 3)
    _signed_in(world, "sid-1")
    world.sequence()
    with custody.records.read() as reads:
        waiting = reads.execute(select(approvals)).all()
        signed_in = reads.execute(select(portal_sessions_table)).one()
    before = len(world.leaves())
    world.clock.move(HOUR)
    assert portal_sessions.end_by_issuer(custody, world.auditor, "sid-1") == 1
    set_policy(custody, operator, None, Rule.ASK, None)
    given = manage_approvals.give_approval(custody, operator, requests[0], None)
    manage_approvals.decline_approval(custody, operator, requests[1], None)
    manage_approvals.withdraw_approval(custody, operator, given.id, None)
    grant = given.grant_id
    for verdict in (Verdict.QUESTIONED, Verdict.SIGNED_OFF):
        manage_reviews.review_grant(custody, world.auditor, grant, verdict, "What was that for?")
    world.clock.move(WAITS)
    assert lapse_requests(of_clock(world)) == 1
    manage_consents.revoke_consent(custody, operator, consent)
    declaration.claim_bundle(custody, world.engineer, loose, NUMBER)
    bundle_moves.move_bundle(custody, world.engineer, loose, OTHER_NUMBER, REASON)
    world.unassign(world.engineer)
    manage_links.revoke_link(custody, operator, link)
    world.close_case()
    manage_cases.reopen_case(custody, world.case_system, NUMBER)
    manage_receivers.remove_receiver(custody, operator, hook)
    manage_stamps.set_proactive(custody, operator, stamp, False)
    manage_stamps.deregister_stamp(custody, operator, stamp)
    told = world.leaves()[before:]
    unclaimed = {"case_id": None, "cap_at": None}
    row = {**world.row(loose)._mapping, **unclaimed}
    with owned(custody.records) as engine, engine.begin() as connection:  # as a back-up has it
        for statement in (
            "UPDATE consents SET revoked_at = NULL",
            "UPDATE notice_receivers SET removed_at = NULL",
            "UPDATE assignments SET unassigned_at = NULL",
            "UPDATE upload_links SET revoked_at = NULL",
            "UPDATE stamps SET deregistered_at = NULL, proactive = true",
            "DELETE FROM proactive_consents WHERE NOT enabled",
            "DELETE FROM case_events WHERE kind <> 'opened'",
            "DELETE FROM approval_policies WHERE case_id IS NULL",
            "DELETE FROM reviews",
            "UPDATE grants SET signed_off_at = NULL",
        ):
            connection.execute(text(statement))
        for request in waiting:
            connection.execute(
                update(approvals).where(approvals.c.id == request.id).values(request._asdict())
            )
        connection.execute(insert(portal_sessions_table).values(signed_in._asdict()))
        again = {**unclaimed, "tag": custody.binding.tag_row(BUNDLE, row)}
        connection.execute(update(bundles).where(bundles.c.id == loose).values(again))
    done = of_clock(world).records.write(lambda tx: replay(tx, custody.binding, told))
    assert set(done) == {action.value for action in REPLAYED}
    states = [manage_approvals.get_approval(custody, operator, one).state for one in requests]
    assert states == ["withdrawn", "declined", "lapsed"]
    reviewed, _ = manage_reviews.get_review(custody, world.auditor, grant)
    assert manage_reviews.state_of(custody.binding, reviewed) == "signed-off"
    assert get_policy(custody, operator, None).policy.rule is Rule.ASK


def _signed_in(world: World, sid: str) -> None:
    person, renew_at = world.auditor, world.clock.now() + DAY
    told = SignedIn(roles=person.roles, directory=None, partner=None, renew_at=renew_at, issuer_session=sid)
    portal_sessions.begin(world.custody, person, b"s" * 32, told)


def _waiting(world: World, count: int) -> list[str]:
    """So many requests, of an engineer each."""
    engineers = [world.actor(f"engineer-{n}", Role.SUPPORT_ENGINEER) for n in range(count)]
    world.assign(*engineers, number=OTHER_NUMBER)
    asked = [give_grant(world.custody, each, OTHER_NUMBER, REASON, HOUR) for each in engineers]
    return [each.approval for each in asked if isinstance(each, Asked)]


def test_a_receipt_that_the_log_does_not_name_is_not_signed(world: World) -> None:
    world.open_case()
    good, changed = world.upload(b"logs"), world.upload(b"more")
    with world.custody.records.read() as reads:
        entry = reads.execute(
            text("SELECT entry_id FROM receipts WHERE subject_id = :of"), {"of": good}
        ).scalar()
    # What a taken API process could add: a body that no leaf names.
    statement = text(
        "INSERT INTO receipts (subject_id, kind, body, entry_id, issued_at) VALUES ('forged', 'k', '{}', :entry, 0)"
    )
    with world.custody.records.engine.begin() as connection:
        connection.execute(statement, {"entry": entry})
    world.sequence()
    for subject in (good, changed):
        assert receipts.hand_out(world.custody, subject)["note"]
    with pytest.raises(Exception, match="not the one that the log names"):
        receipts.hand_out(world.custody, "forged")
