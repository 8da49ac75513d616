"""Group commit: many threads, one transaction, and each of them hears exactly what became of its own work."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from audit.entry import Action, CanonicalError, Entry
from audit.log.tables import audit_entries
from retention.records import unit_of_work
from retention.records.tables import tenants
from retention.records.unit_of_work import SqliteRecords, Transaction
from tests.retention.custody.world import empty_records

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqliteRecords]:
    made = empty_records(tmp_path / "records.db")
    yield made
    made.close()


def an_entry(name: str, **changes: Any) -> Entry:
    return Entry(id=name, at=NOW, action=Action.TENANT_REGISTERED, actor="a", actor_kind="k", **changes)


def add(name: str) -> Callable[[Transaction], str]:
    """A row and its entry, by the same name."""

    def work(tx: Transaction) -> str:
        tx.change(insert(tenants).values(id=name, name=name, directory=name, registered_at=NOW))
        tx.audit(an_entry(name))
        return name

    return work


def add_and_fail(name: str) -> Callable[[Transaction], str]:
    def work(tx: Transaction) -> str:
        add(name)(tx)
        raise LookupError(name)

    return work


def written(records: SqliteRecords) -> tuple[set[str], set[str]]:
    """The rows and the entries."""
    with records.read() as reads:
        rows = set(reads.execute(select(tenants.c.id)).scalars())
        return rows, set(reads.execute(select(audit_entries.c.entry_id)).scalars())


def together(records: SqliteRecords, *works: Callable[[Transaction], str]) -> list[Any]:
    """Run all works in one commit: the first leads alone and holds the lead until the rest has queued behind it."""
    leading, queued = threading.Event(), threading.Event()

    def hold(_tx: Transaction) -> None:
        leading.set()
        assert queued.wait(10)

    def answer(work: Callable[[Transaction], str]) -> Any:
        try:
            return records.write(work)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        pool.submit(records.write, hold)
        assert leading.wait(10)
        answers = []
        for count, work in enumerate(works, 1):
            answers.append(pool.submit(answer, work))
            while len(records._queue) < count:
                threading.Event().wait(0.0005)
        queued.set()
        return [future.result(10) for future in answers]


def test_what_waits_is_one_commit_and_everybody_gets_their_own_value(
    records: SqliteRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    append = unit_of_work.append.append_rows
    monkeypatch.setattr(
        unit_of_work.append,
        "append_rows",
        lambda c, entries: (commits.append(len(entries)), append(c, entries)),
    )
    names = [f"t{n}" for n in range(8)]
    assert together(records, *[add(name) for name in names]) == names
    assert commits == [0, 8]
    assert written(records) == (set(names), set(names))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["keep", "fail", "clash", "unloggable", "look"]), min_size=1, max_size=8))
def test_a_work_that_fails_undoes_itself_and_nobody_else(kinds: list[str]) -> None:
    def unloggable(name: str) -> Callable[[Transaction], str]:
        def work(tx: Transaction) -> str:
            tx.change(insert(tenants).values(id=name, name=name, directory=name, registered_at=NOW))
            tx.audit(an_entry(name, particulars={"name": "\ud800"}))
            return name

        return work

    def clash(name: str) -> Callable[[Transaction], str]:
        def work(tx: Transaction) -> str:
            add(name)(tx)
            return add(name)(tx)

        return work

    make = {"keep": add, "fail": add_and_fail, "clash": clash, "unloggable": unloggable}
    make["look"] = lambda _name: lambda tx: tx.execute(select(tenants.c.id)).scalars().first() or ""
    expected = {"fail": LookupError, "clash": IntegrityError, "unloggable": CanonicalError}
    with tempfile.TemporaryDirectory() as folder:
        records = empty_records(Path(folder) / "records.db")
        names = [f"t{n}" for n in range(len(kinds))]
        answers = together(records, *[make[kind](name) for kind, name in zip(kinds, names, strict=True)])
        kept = {name for kind, name in zip(kinds, names, strict=True) if kind == "keep"}
        assert written(records) == (kept, kept)
        for kind, name, got in zip(kinds, names, answers, strict=True):
            if kind in expected:
                assert isinstance(got, expected[kind])
            elif kind == "keep":
                assert got == name
        records.close()


def test_when_the_entries_cannot_be_written_nothing_is_and_everybody_hears(
    records: SqliteRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_connection: object, entries: list[Entry]) -> None:
        if entries:
            raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(unit_of_work.append, "append_rows", broken)
    answers = together(records, add("t1"), add("t2"), add_and_fail("t3"))
    assert [type(answer) for answer in answers] == [OperationalError] * 3
    monkeypatch.undo()
    assert written(records) == (set(), set())
    assert records.write(add("t4")) == "t4", "and the next commit works"


def test_when_the_commit_fails_nothing_is_written_and_everybody_hears(records: SqliteRecords) -> None:
    """An entry's id that is taken: the group's own INSERT fails at the very end."""
    records.write(add("t0"))

    def taken(tx: Transaction) -> str:
        tx.audit(an_entry("t0"))
        return "never"

    answers = together(records, add("t1"), taken, add("t2"))
    assert [type(answer) for answer in answers] == [IntegrityError] * 3
    assert written(records) == ({"t0"}, {"t0"})
    assert records.write(add("t4")) == "t4"


def test_an_interrupt_in_a_work_undoes_the_group_and_reaches_its_callers(records: SqliteRecords) -> None:
    def interrupted(tx: Transaction) -> str:
        add("t1")(tx)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write(interrupted)
    assert written(records) == (set(), set())
    assert records.write(add("t2")) == "t2"


def test_many_threads_that_come_as_they_like_lose_nothing(records: SqliteRecords) -> None:
    def one(number: int) -> None:
        for turn in range(10):
            name = f"t{number}-{turn}"
            if turn % 3 == 2:
                with pytest.raises(LookupError):
                    records.write(add_and_fail(name))
            else:
                records.write(add(name))
                with records.read() as reads:
                    assert reads.execute(select(tenants.c.id).where(tenants.c.id == name)).scalar() == name

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(12)))
    expected = {f"t{number}-{turn}" for number in range(12) for turn in range(10) if turn % 3 != 2}
    assert written(records) == (expected, expected)


def test_a_reader_sees_one_snapshot_and_does_not_wait_for_a_writer(records: SqliteRecords) -> None:
    with records.read() as reads:
        assert reads.execute(select(tenants.c.id)).all() == []
        records.write(add("t1"))
        assert reads.execute(select(tenants.c.id)).all() == []
    assert written(records)[0] == {"t1"}


def test_the_database_is_private_durable_and_holds_to_its_references(records: SqliteRecords) -> None:
    with records.read() as reads:
        pragmas = {
            name: reads.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
        path = Path(str(reads.execute(text("PRAGMA database_list")).one()[2]))
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    assert {file.stat().st_mode & 0o077 for file in path.parent.glob("records.db*")} == {0}


def test_when_sqlite_gives_the_transaction_up_nothing_is_written_and_everybody_hears(
    records: SqliteRecords,
) -> None:
    """It rolls back by itself after an I/O error, at a SELECT too (sqlite.org/lang_transaction.html)."""

    def failing_read(tx: Transaction) -> str:
        tx._connection.exec_driver_sql("ROLLBACK")
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    answers = together(records, add("t1"), failing_read, add("t2"))
    assert [type(answer) for answer in answers] == [OperationalError] * 3
    assert written(records) == (set(), set())
    assert records.write(add("t3")) == "t3", "and the next commit works"
