"""Records from before there was a key to bind them: bound once, from the signed log; nothing that no leaf proves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from retention.adapters import Adapters
from retention.assembly import Services, assemble, initialise
from retention.config import Settings
from retention.custody.access.altered_records import find_altered
from retention.custody.access.bound_access import Altered
from retention.custody.access.first_binding import is_marked
from retention.custody.access.people import Directory
from retention.jobs.sequencing import sequence_once
from retention.keys.signing import BINDING_KEY, SigningKeyRefused
from tests.retention.custody.world import FakeClock, World
from tests.servers.postgres import shared_server
from tests.servers.schema import copied_schema

CONTENT = b"PLAINTEXT-MARKER of before\n" * 40
UNBOUND = (
    "DELETE FROM case_access",
    "DELETE FROM binding",
    "UPDATE actors SET tag = NULL",
    "UPDATE tenants SET tag = NULL",
    "UPDATE partners SET tag = NULL",
    "UPDATE stamps SET tag = NULL",
    "UPDATE bundles SET tag = NULL",
)


class Before:
    """A service with a life behind it, taken back to how the version before left it."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.settings = Settings(state=folder / "state", database_url=database_url)
        self.clock = FakeClock()
        with copied_schema():
            initialise(self.settings)
        services = self.start()
        self.world = World(
            self.settings.state, services.custody, self.clock, services.log_signer, services.receipt_signer
        )
        self.world.open_case()
        self.bundle = self.world.upload(CONTENT)
        self.world.assign(self.world.engineer, self.world.partner)
        self.world.consent(scope=[self.bundle])
        self.world.grant()
        self.world.grant(self.world.partner)
        services.signs().sequencer.run_once()
        services.close()
        self.write(*UNBOUND)
        (self.settings.state / BINDING_KEY).unlink()

    def start(self) -> Services:
        services = assemble(self.settings)
        custody = dataclasses.replace(services.custody, clock=self.clock)
        started = dataclasses.replace(services, custody=custody)
        if hasattr(self, "world"):
            self.world.custody, self.world.directory = custody, Directory(custody)
        return started

    def write(self, *statements: str, **named: Any) -> None:
        records = Adapters(self.settings).records()
        with records.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), named)
        records.close()


@pytest.fixture(params=["sqlite", "postgres"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        yield Before(tmp_path, None)
        return
    database = shared_server().new_database()
    yield Before(tmp_path, shared_server().url(database))
    shared_server().drop(database)


def test_what_the_signed_log_proves_is_bound_and_reads_on(before: Before) -> None:
    services = before.start()
    world = before.world
    with pytest.raises(Altered):
        world.read(before.bundle)
    sequence_once(services)
    assert is_marked(services.custody.records, services.custody.binding)
    assert world.read(before.bundle) == world.read(before.bundle, world.partner) == CONTENT
    (bound,) = [leaf for leaf in world.leaves() if leaf["action"] == "access.bound"]
    assert bound["details"]["unproven_count"] == 0
    assert (bound["details"]["case"], bound["details"]["bundle"]) == (1, 1)
    assert list(find_altered(services.custody.records, services.custody.binding, before.clock.now())) == []
    sequence_once(services)
    services.close()
    again = before.start()
    sequence_once(again)
    assert [leaf["action"] for leaf in world.leaves()].count("access.bound") == 1
    again.close()


FORGED = {
    "a grant": "INSERT INTO grants (id, case_id, actor_id, reason, granted_at, expires_at) SELECT 'grn_forged', "
    "case_id, actor_id, reason, granted_at, expires_at + 1 FROM grants WHERE consent_id IS NULL",
    "an assignment": "UPDATE assignments SET assigned_at = assigned_at + 1",
    "a consent": "UPDATE consents SET partner = 'rival'",
    "a scope": "DELETE FROM consent_bundles",
    "a state": "UPDATE cases SET state = 'closed'",
}


@pytest.mark.parametrize("what", FORGED)
def test_a_case_with_a_row_that_no_leaf_proves_is_not_bound_and_is_named(before: Before, what: str) -> None:
    before.write(FORGED[what])
    services, world = before.start(), before.world
    sequence_once(services)
    (bound,) = [leaf for leaf in world.leaves() if leaf["action"] == "access.bound"]
    assert bound["details"]["unproven"] == [world.row(before.bundle).case_id]
    with pytest.raises(Altered):
        world.read(before.bundle)
    services.close()


OF_ROWS = {
    "a bundle": "UPDATE bundles SET case_id = NULL",
    "an actor": "UPDATE actors SET subject = 'mallory' WHERE subject LIKE 'erin%'",
    "someone never assigned": "UPDATE actors SET subject = 'mallory' WHERE subject LIKE 'olga@contoso%'",
    "a company": "UPDATE partners SET name = 'new' WHERE name = 'oem'",
    "a tenant": "UPDATE tenants SET directory = 'new' WHERE directory = 'contoso'",
    "a stamp": "UPDATE stamps SET subject = 'new' WHERE subject = 'stamp-contoso'",
}


@pytest.mark.parametrize("what", OF_ROWS)
def test_a_row_that_says_otherwise_than_its_leaf_is_not_bound_and_is_named(before: Before, what: str) -> None:
    before.write(OF_ROWS[what])
    services, world = before.start(), before.world
    sequence_once(services)
    (bound,) = [leaf for leaf in world.leaves() if leaf["action"] == "access.bound"]
    assert bound["details"]["unproven_count"] == 1
    services.close()


def test_it_is_done_once_whatever_the_database_says_later(before: Before) -> None:
    services = before.start()
    sequence_once(services)
    services.close()
    before.write(*UNBOUND)
    services, world = before.start(), before.world
    sequence_once(services)
    assert not is_marked(services.custody.records)
    with pytest.raises(Altered):
        world.read(before.bundle)
    services.close()


def test_a_new_service_is_never_bound_from_its_log(before: Before, tmp_path: Path) -> None:
    fresh = Settings(state=tmp_path / "fresh")
    with copied_schema():
        initialise(fresh)
    services = assemble(fresh)
    sequence_once(services)
    services.close()
    records = Adapters(fresh).records()
    with records.engine.begin() as connection:
        connection.execute(text("DELETE FROM binding"))
    records.close()
    services = assemble(fresh)
    sequence_once(services)
    assert not is_marked(services.custody.records)
    services.close()


def test_another_key_is_found_out_at_the_start(before: Before) -> None:
    services = before.start()
    sequence_once(services)
    services.close()
    (before.settings.state / BINDING_KEY).write_text(f"{'11' * 32}\n")
    with pytest.raises(SigningKeyRefused, match="binding-key"):
        assemble(before.settings)


def test_a_lost_key_is_not_made_anew(before: Before) -> None:
    services = before.start()
    sequence_once(services)
    services.close()
    (before.settings.state / BINDING_KEY).unlink()
    for _ in range(2):
        with pytest.raises(SigningKeyRefused, match="missing"):
            assemble(before.settings)
        assert not initialise(before.settings)
