from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from audit.entry import Action, Entry, Outcome, parse_leaf
from audit.log.append import UnknownEntryError, append, latest_note, read_entry, redact
from audit.log.tables import audit_entries, metadata

NOW = datetime(2027, 1, 1, tzinfo=UTC)
MakeEntry = Callable[..., Entry]


def count(log: Any) -> int:
    with log.engine.connect() as connection:
        found: int = connection.execute(select(func.count()).select_from(audit_entries)).scalar_one()
    return found


def test_entries_are_kept_in_the_order_given(log: Any, make_entry: MakeEntry) -> None:
    entries = [make_entry(number) for number in (3, 1, 2)]
    with log.engine.begin() as connection:
        append(connection, entries)
        append(connection, [])
    with log.engine.connect() as connection:
        leaves = connection.execute(select(audit_entries.c.leaf).order_by(audit_entries.c.row)).scalars()
        assert list(leaves) == [entry.leaf() for entry in entries]


def test_every_field_has_its_column(log: Any, make_entry: MakeEntry) -> None:
    entry = make_entry(
        1, outcome=Outcome.REFUSED, reason="not-assigned", subject="grant-1", action=Action.GRANT_GIVEN
    )
    with log.engine.begin() as connection:
        append(connection, [entry])
        row = connection.execute(select(audit_entries)).one()
    columns = (
        "entry_id",
        "actor",
        "actor_kind",
        "action",
        "outcome",
        "reason",
        "tenant",
        "case_id",
        "bundle",
    )
    assert [row._mapping[name] for name in columns] == [
        "entry-1",
        "actor-1",
        "engineer",
        "grant.given",
        "refused",
        "not-assigned",
        "tenant-1",
        "case-1",
        "bundle-1",
    ]
    assert (row.subject, row.leaf_index, row.redacted_at) == ("grant-1", None, None)
    assert json.loads(row.particulars) == dict(entry.particulars)
    assert row.salt == entry.salt


def test_an_entry_falls_with_the_transaction_it_was_written_in(log: Any, make_entry: MakeEntry) -> None:
    with pytest.raises(RuntimeError), log.engine.begin() as connection:  # noqa: PT012
        append(connection, [make_entry(1)])
        raise RuntimeError
    assert count(log) == 0


def test_an_entry_that_cannot_be_written_fails_the_whole_transaction(log: Any, make_entry: MakeEntry) -> None:
    with pytest.raises(IntegrityError), log.engine.begin() as connection:  # noqa: PT012
        append(connection, [make_entry(1)])
        append(connection, [make_entry(2), make_entry(1)])
    assert count(log) == 0


def test_redaction_destroys_particulars_and_salt_and_keeps_the_leaf(log: Any, make_entry: MakeEntry) -> None:
    entry = make_entry(1)
    with log.engine.begin() as connection:
        append(connection, [entry, make_entry(2)])
        before = read_entry(connection, "entry-1")
        assert (before.particulars, before.salt) == (entry.particulars, entry.salt)
        redact(connection, "entry-1", NOW)
        redact(connection, "entry-1", NOW.replace(year=2028))
        after = read_entry(connection, "entry-1")
        untouched = read_entry(connection, "entry-2")
    assert (after.particulars, after.salt, after.redacted_at) == (None, None, NOW)
    assert after.leaf == entry.leaf()
    assert after.fields == parse_leaf(entry.leaf())
    assert untouched.particulars is not None


def test_an_entry_without_particulars_stores_no_salt(log: Any, make_entry: MakeEntry) -> None:
    with log.engine.begin() as connection:
        append(connection, [make_entry(1, particulars={})])
        found = read_entry(connection, "entry-1")
    assert (found.particulars, found.salt) == ({}, None)


def test_an_unknown_entry_is_an_error(log: Any) -> None:
    with log.engine.begin() as connection:
        with pytest.raises(UnknownEntryError):
            read_entry(connection, "entry-1")
        with pytest.raises(UnknownEntryError):
            redact(connection, "entry-1", NOW)


def test_a_logged_entry_shows_no_particulars(log: Any, make_entry: MakeEntry) -> None:
    with log.engine.begin() as connection:
        append(connection, [make_entry(1)])
        assert "Lovelace" not in repr(read_entry(connection, "entry-1"))


def test_there_is_no_checkpoint_before_the_first(log: Any) -> None:
    with log.engine.connect() as connection:
        assert latest_note(connection) is None


def test_a_deleted_last_row_leaves_its_number_unused(log: Any) -> None:
    log.write(2)
    log.change("DELETE FROM audit_entries WHERE row = 2")
    log.write(1)
    with log.engine.connect() as connection:
        rows = connection.execute(select(audit_entries.c.row).order_by(audit_entries.c.row)).scalars()
        assert list(rows) == [1, 3]


class _RecordingConnection:
    """What a PostgreSQL driver would be given."""

    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[object, ...]]]] = []

    def exec_driver_sql(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        self.calls.append((sql, rows))


def test_postgresql_is_given_positional_parameters(make_entry: MakeEntry) -> None:
    connection: Any = _RecordingConnection()
    append(connection, [make_entry(1), make_entry(2)])
    ((sql, rows),) = connection.calls
    assert sql.count("%s") == len(rows[0]) == 14
    assert "RETURNING" not in sql and "%(" not in sql
    assert len(rows) == 2


def test_the_tables_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made = "\n".join(str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables)
    assert "row BIGSERIAL" in made.replace('"', "")
    indexes = [str(CreateIndex(index).compile(dialect=dialect)) for index in audit_entries.indexes]
    assert any("unsequenced" in sql and "WHERE leaf_index IS NULL" in sql for sql in indexes)


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("case_id = 'c'", "ix_audit_entries_case_id"),
        ("bundle = 'b'", "ix_audit_entries_bundle"),
        ("tenant = 't'", "ix_audit_entries_tenant"),
        ("actor = 'a'", "ix_audit_entries_actor"),
        ("action = 'bundle.opened'", "ix_audit_entries_action"),
        ("at_us > 5", "ix_audit_entries_at"),
        ("leaf_index IS NULL ORDER BY row", "ix_audit_entries_unsequenced"),
        ("leaf_index >= 5 ORDER BY leaf_index", "ux_audit_entries_leaf_index"),
    ],
)
def test_every_query_has_its_index(log: Any, condition: str, index: str) -> None:
    sql = f"EXPLAIN QUERY PLAN SELECT leaf FROM audit_entries WHERE {condition}"  # noqa: S608
    with log.engine.connect() as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(sql))
    assert index in plan
