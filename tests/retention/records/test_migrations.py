"""The migrations lead to the tables as the code has them, and back to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData

from audit.tables import metadata as audit_metadata
from retention.records.engine import sqlite_engine
from retention.records.migrate import alembic_config, current_version, downgrade, upgrade
from retention.records.tables import metadata

Schema = dict[tuple[str, str], object]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = sqlite_engine(tmp_path / "records.db")
    yield made
    made.dispose()


def schema(engine: Engine) -> Schema:
    """What SQLite says of tables and indexes: columns with type, null and key; references; each index as its text."""
    found: Schema = {}
    with engine.connect() as connection:

        def ask(sql: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

        for kind, name, table, sql in ask("SELECT type, name, tbl_name, sql FROM sqlite_master"):
            if str(table).startswith(("sqlite_", "alembic_")):
                continue
            if kind == "table":
                columns = ask(
                    f"PRAGMA table_info({name})"
                )  # added ones stand last, wherever the code has them
                found["columns", str(name)] = sorted(row[1:] for row in columns)
                found["references", str(name)] = sorted(
                    row[2:] for row in ask(f"PRAGMA foreign_key_list({name})")
                )
                found["strict", str(name)] = ("AUTOINCREMENT" in str(sql), "CHECK" in str(sql))
                uniques = [row[1] for row in ask(f"PRAGMA index_list({name})") if row[2] and row[3] != "c"]
                found["unique", str(name)] = sorted(
                    str(ask(f"PRAGMA index_info({index})")) for index in uniques
                )
            elif sql is not None:
                found["index", str(name)] = " ".join(str(sql).split())
    return found


def made_from(tables: list[MetaData], path: Path) -> Schema:
    engine = sqlite_engine(path)
    for one in tables:
        one.create_all(engine)
    found = schema(engine)
    engine.dispose()
    return found


def test_the_migrations_make_exactly_the_tables_of_the_code(engine: Engine, tmp_path: Path) -> None:
    upgrade(engine)
    expected = made_from([metadata, audit_metadata], tmp_path / "expected.db")
    assert schema(engine) == expected
    assert len([name for kind, name in expected if kind == "columns"]) == len(metadata.tables) + len(
        audit_metadata.tables
    )


def test_alembic_itself_sees_no_difference(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, [metadata, audit_metadata]) == []  # type: ignore[arg-type]


def test_down_leaves_nothing_and_up_again_is_the_same(engine: Engine) -> None:
    upgrade(engine)
    before = schema(engine)
    downgrade(engine, "base")
    assert (schema(engine), current_version(engine)) == ({}, None)
    upgrade(engine)
    assert schema(engine) == before


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    assert current_version(engine) is None
    upgrade(engine)
    head = ScriptDirectory.from_config(alembic_config(engine)).get_current_head()
    assert current_version(engine) == head is not None
    upgrade(engine)
    assert current_version(engine) == head
