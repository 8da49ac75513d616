"""Custody put together on PostgreSQL: made once, found again, and never made anew around records that exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retention.assembly import assemble, initialise, is_initialised
from retention.config import Settings, from_environment
from retention.custody.access import manage_stamps
from retention.domain.actor import Actor, Role
from tests.servers.postgres import shared_server

ADMINISTRATOR = Actor(id="act_root", roles=frozenset({Role.ADMINISTRATOR}))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    database = shared_server().new_database()
    yield from_environment(
        {"CASEVAULT_STATE": str(tmp_path / "state"), "CASEVAULT_DATABASE_URL": shared_server().url(database)}
    )
    shared_server().drop(database)


def test_it_is_made_once_and_found_again_with_what_it_held(settings: Settings) -> None:
    assert not is_initialised(settings)
    initialise(settings)
    assert is_initialised(settings)
    initialise(settings)
    first = assemble(settings)
    assert first.custody.records.engine.dialect.name == "postgresql"
    manage_stamps.register_tenant(first.custody, ADMINISTRATOR, "Contoso", "contoso")
    checkpoint = first.sequencer.run_once()
    assert checkpoint is not None
    assert checkpoint.size == 1
    first.close()
    again = assemble(settings)
    assert len(manage_stamps.list_tenants(again.custody, ADMINISTRATOR, None, 10).items) == 1
    again.close()
    assert not settings.records_file.exists()


def test_two_processes_share_one_database(settings: Settings) -> None:
    initialise(settings)
    doors = [assemble(settings) for _ in range(2)]
    manage_stamps.register_tenant(doors[0].custody, ADMINISTRATOR, "Contoso", "contoso")
    assert len(manage_stamps.list_tenants(doors[1].custody, ADMINISTRATOR, None, 10).items) == 1
    for door in doors:
        door.close()


def test_a_key_that_is_lost_is_not_made_anew_while_there_are_records(settings: Settings) -> None:
    initialise(settings)
    settings.key_file.unlink()
    initialise(settings)
    assert not settings.key_file.exists()
    with pytest.raises(Exception, match="key"):
        assemble(settings)
