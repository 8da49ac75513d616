"""The schema's versions on both databases: the head is what the tables say, and data survives the way up and down."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, inspect, select, text

from audit.log.tables import metadata as audit_metadata
from retention.custody.erasure import erasure_steps
from retention.records.migrate import alembic_config, current_version, downgrade, newest_version, upgrade
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from retention.records.sqlite_engine import sqlite_engine
from retention.records.tables import metadata
from retention.records.unit_of_work import Records, SqliteRecords
from tests.retention.custody.world import NUMBER, World, strict_world
from tests.servers.postgres import shared_server

TABLES = [*metadata.sorted_tables, *audit_metadata.sorted_tables]
MakeEngine = Callable[[], Engine]
CATALOG = {
    "postgresql": (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace",
        "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) "
        "FROM information_schema.columns WHERE table_schema = 'public'",
    ),
    "sqlite": (
        "SELECT tbl_name || ' ' || coalesce(sql, name) FROM sqlite_master WHERE type = 'index'",
        "SELECT m.name || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk "
        "FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'",
        "SELECT m.name || ' ' || f.\"table\" || ' ' || f.\"from\" || ' ' || f.\"to\" "
        "FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
        "SELECT name || (sql LIKE '%AUTOINCREMENT%') || (sql LIKE '%CHECK%') FROM sqlite_master WHERE type = 'table'",
    ),
}


@pytest.fixture(params=["sqlite", "postgres"])
def new_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeEngine]:
    """Makes engines on empty databases of one kind."""
    made: list[Engine] = []
    databases: list[str] = []

    def make() -> Engine:
        if request.param == "sqlite":
            made.append(sqlite_engine(tmp_path / f"records-{len(made)}.db"))
        else:
            databases.append(shared_server().new_database())
            made.append(postgres_engine(shared_server().url(databases[-1])))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()
    for database in databases:
        shared_server().drop(database)


def versions(engine: Engine) -> list[str]:
    """Every version, oldest first."""
    steps = ScriptDirectory.from_config(alembic_config(engine)).walk_revisions()
    return [step.revision for step in steps][::-1]


def catalog(engine: Engine) -> set[str]:
    """All that the database says of its tables, columns, constraints and indexes."""
    with engine.connect() as connection:
        found = {
            " ".join(str(line).split())
            for statement in CATALOG[engine.dialect.name]
            for line in connection.execute(text(statement)).scalars()
        }
    return {line for line in found if "alembic_version" not in line}


def contents(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in TABLES:
        rows = connection.execute(select(table).order_by(*table.primary_key)).all()
        found[table.name] = [tuple(row) for row in rows]
    return found


def lived_in(engine: Engine) -> Records:
    """Records in which a case has been opened, read, closed and erased."""
    records: Records = SqliteRecords(engine) if engine.dialect.name == "sqlite" else PostgresRecords(engine)
    with strict_world(records) as world:
        _live(world)
    return records


def _live(world: World) -> None:
    world.open_case()
    bundle, _kept = world.upload(b"one" * 100), world.upload(b"two" * 100, None)
    world.assign(world.engineer, world.partner)
    world.consent(scope=[bundle])
    world.grant()
    world.read(bundle)
    world.close_case()
    erasure_steps.request_case_erasure(world.custody, world.operator, NUMBER)
    erasure_steps.erase_bundle(world.custody, bundle)
    world.sequence()


def test_the_newest_version_is_exactly_what_the_tables_say(new_engine: MakeEngine) -> None:
    migrated, created = new_engine(), new_engine()
    upgrade(migrated)
    for tables in (metadata, audit_metadata):
        tables.create_all(created)
    assert catalog(migrated) == catalog(created)
    with migrated.connect() as connection:
        everything = MetaData()
        for table in TABLES:
            table.to_metadata(everything)
        found = compare_metadata(MigrationContext.configure(connection), everything)
    # Alembic cannot read an index with a direction in it on SQLite; the catalog above is compared to the letter.
    assert [one for one in found if "ix_erasures_pending" not in str(one)] == []


def test_every_step_can_be_taken_back_and_taken_again_with_data_in_place(new_engine: MakeEngine) -> None:
    engine = new_engine()
    upgrade(engine)
    lived_in(engine)
    with engine.connect() as connection:
        before = contents(connection)
    assert all(before[name] for name in ("bundles", "grants", "erasures", "receipts", "audit_entries"))
    schema, known = catalog(engine), versions(engine)
    for version in known[-2::-1]:
        downgrade(engine, version)
        assert current_version(engine) == version
    upgrade(engine)
    assert current_version(engine) == known[-1]
    assert catalog(engine) == schema
    with engine.connect() as connection:
        after = contents(connection)
    # What binds rows goes with its step: nothing opens until it is bound anew.
    for found in (before, after):
        del found["case_access"], found["binding"]
    # So does until when something is refused again.
    before, after = _without(before), _without(after)
    # Companies are known by the log again, by the same ids: those that a customer consented to.
    (oem,) = (row for row in before["partners"] if row[1] == "oem")
    assert [row[:2] for row in after.pop("partners")] == [oem[:2]]
    del before["partners"]
    # Receipts wait for their signature again: the clock makes the same.
    signed = [row[-1] for row in before["receipts"]]
    assert all(signed) and [row[-1] for row in after["receipts"]] == [None] * len(signed)
    for each in (before, after):
        each["receipts"] = [row[:-1] for row in each["receipts"]]
    assert after == before


_OF_THEIR_STEP = frozenset({"tag", "resend_mark", "resend_until"})


def _without(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """What stays when steps are taken back."""
    kept = {
        table.name: [
            number for number, column in enumerate(table.columns) if column.name not in _OF_THEIR_STEP
        ]
        for table in TABLES
    }
    return {
        name: [tuple(row[number] for number in kept[name]) for row in rows] if name in kept else rows
        for name, rows in found.items()
    }


def test_a_database_taken_back_to_base_is_empty_and_can_begin_anew(new_engine: MakeEngine) -> None:
    engine = new_engine()
    upgrade(engine)
    lived_in(engine)
    downgrade(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert current_version(engine) is None
    upgrade(engine)
    assert current_version(engine) == versions(engine)[-1]


def test_upgrading_what_is_newest_changes_nothing(new_engine: MakeEngine) -> None:
    engine = new_engine()
    upgrade(engine)
    assert current_version(engine) == newest_version() == versions(engine)[-1]
    before = catalog(engine)
    upgrade(engine)
    assert catalog(engine) == before


def _upgrade_at(url: str, start: Any) -> None:
    engine = postgres_engine(url)
    start.wait(30)
    upgrade(engine)


def test_processes_that_start_at_once_take_turns() -> None:
    database = shared_server().new_database()
    url = shared_server().url(database)
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(4)
    processes = [fork.Process(target=_upgrade_at, args=(url, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    engine = postgres_engine(url)
    assert current_version(engine) == versions(engine)[-1]
    engine.dispose()
    shared_server().drop(database)
