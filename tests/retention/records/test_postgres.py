"""Records on PostgreSQL when things go wrong: lost races, lost lines, lost servers, values that must not be shown."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, InternalError, ProgrammingError

from audit.entry import Action, Entry
from audit.log.tables import audit_entries
from retention.domain.faults import Conflict, Unavailable
from retention.domain.ids import Kind, new_id
from retention.records import postgres
from retention.records.migrate import upgrade
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from retention.records.tables import actors, tenants
from retention.records.unit_of_work import Transaction
from tests.servers.cutting_proxy import CuttingProxy
from tests.servers.postgres import PostgresServer, new_schema, shared_server

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def database() -> Iterator[str]:
    name = new_schema()
    yield name
    shared_server().drop(name)


@pytest.fixture
def records(database: str) -> Iterator[PostgresRecords]:
    made = PostgresRecords(postgres_engine(shared_server().url(database)))
    yield made
    made.close()


def an_entry(id_: str = "") -> Entry:
    return Entry(
        id=id_ or new_id(Kind.ENTRY),
        at=NOW,
        action=Action.KEY_ROTATED,
        actor="act_clock",
        actor_kind="clock",
        details={},
        particulars={"name": "Ada Secretname"},
    )


def a_tenant(id_: str, directory: str | None = None) -> Any:
    return insert(tenants).values(id=id_, name="Secretname", directory=directory or id_, registered_at=NOW)


def count(records: PostgresRecords, table: Any = tenants) -> int:
    with records.read() as reads:
        return int(reads.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_change_and_its_entry_are_kept_together_or_not_at_all(records: PostgresRecords) -> None:
    def work(tx: Transaction) -> str:
        tx.change(a_tenant("ten_1"))
        tx.audit(an_entry("ent_1"))
        return "done"

    assert records.write(work) == "done"
    with pytest.raises(IntegrityError):  # the entry's id is taken: the second tenant must not stay either
        records.write(lambda tx: (tx.change(a_tenant("ten_2")), tx.audit(an_entry("ent_1"))))
    assert (count(records), count(records, audit_entries)) == (1, 1)


def test_an_error_of_the_work_undoes_it_and_is_raised_as_it_is(records: PostgresRecords) -> None:
    runs = []

    def work(tx: Transaction) -> None:
        runs.append(1)
        tx.change(a_tenant("ten_1"))
        raise Conflict("no")

    with pytest.raises(Conflict):
        records.write(work)
    assert (runs, count(records)) == ([1], 0)


def test_the_loser_of_a_race_runs_again_on_what_the_winner_left(records: PostgresRecords) -> None:
    records.write(lambda tx: tx.change(a_tenant("ten_1")))
    seen: list[str] = []

    def work(tx: Transaction) -> str:
        name = str(tx.execute(select(tenants.c.name)).scalar_one())
        seen.append(name)
        if len(seen) == 1:
            records.write(lambda other: other.change(update(tenants).values(name="winner")))
        tx.change(update(tenants).values(name=name + "+"))
        return name

    assert records.write(work) == "winner"
    assert seen == ["Secretname", "winner"]
    with records.read() as reads:
        assert reads.execute(select(tenants.c.name)).scalar_one() == "winner+"


def test_a_work_that_always_loses_is_given_up(
    records: PostgresRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres.time, "sleep", lambda _seconds: None)
    records.write(lambda tx: tx.change(a_tenant("ten_1")))
    runs = []

    def work(tx: Transaction) -> None:
        runs.append(1)
        tx.execute(select(tenants)).all()
        records.write(lambda other: other.change(update(tenants).values(name=f"winner {len(runs)}")))
        tx.change(update(tenants).values(name="loser"))

    with pytest.raises(Unavailable) as given_up:
        records.write(work)
    assert given_up.value.reason == "contended"
    assert 10 < len(runs) < 100
    with records.read() as reads:
        assert reads.execute(select(tenants.c.name)).scalar_one() == f"winner {len(runs)}"


def test_two_who_lock_in_opposite_order_both_get_their_turn(records: PostgresRecords) -> None:
    for name in ("ten_1", "ten_2"):
        records.write(lambda tx, name=name: tx.change(a_tenant(name)))
    both = threading.Barrier(2)

    def swap(first: str, second: str) -> None:
        runs = []

        def work(tx: Transaction) -> None:
            runs.append(1)
            tx.change(update(tenants).where(tenants.c.id == first).values(name=first))
            if len(runs) == 1:
                both.wait(10)
            tx.change(update(tenants).where(tenants.c.id == second).values(name=first))

        records.write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (("ten_1", "ten_2"), ("ten_2", "ten_1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with records.read() as reads:
        assert len(set(reads.execute(select(tenants.c.name)).scalars())) == 1


def test_a_read_sees_one_moment(records: PostgresRecords) -> None:
    with records.read() as reads:
        assert reads.execute(select(func.count()).select_from(tenants)).scalar_one() == 0
        records.write(lambda tx: tx.change(a_tenant("ten_1")))
        assert reads.execute(select(func.count()).select_from(tenants)).scalar_one() == 0
    assert count(records) == 1


def test_a_read_cannot_write(records: PostgresRecords) -> None:
    with pytest.raises(InternalError, match="read-only"), records.read() as reads:
        reads.execute(a_tenant("ten_1"))


def test_no_value_comes_into_an_errors_text(records: PostgresRecords) -> None:
    nameless = insert(actors).values(
        id="act_1", issuer="https://secretname.example", subject=None, first_seen_at=NOW
    )
    failures = [nameless, text("SELECT 'Secretname' FROM nowhere"), a_tenant("ten_1", "Secretname")]
    records.write(lambda tx: tx.change(a_tenant("ten_0", "Secretname")))
    for statement in failures:
        with pytest.raises((IntegrityError, ProgrammingError)) as failed:
            records.write(lambda tx, s=statement: (tx.change(s), tx.audit(an_entry())))
        shown = str(failed.value).replace("SELECT 'Secretname'", "")
        for cause in (failed.value.orig, failed.value.__cause__):
            shown += f"{cause} {cause!r}"
        assert "ecretname" not in shown


def test_sessions_that_the_server_ended_are_replaced_before_anybody_notices(
    records: PostgresRecords, database: str
) -> None:
    terminate = "SELECT pg_terminate_backend(pid, 10000)"  # waits until it has happened
    end = f"{terminate} FROM pg_stat_activity WHERE datname = '{database}'"
    for turn in range(3):
        records.write(lambda tx, turn=turn: tx.change(a_tenant(f"ten_{turn}")))
        shared_server().admin(end)
        assert count(records) == turn + 1
        shared_server().admin(end)


def test_a_work_whose_session_is_ended_runs_again(records: PostgresRecords) -> None:
    runs = []

    def work(tx: Transaction) -> None:
        runs.append(1)
        tx.change(a_tenant("ten_1"))
        if len(runs) == 1:
            pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
            shared_server().admin(f"SELECT pg_terminate_backend({pid})")
        tx.audit(an_entry())

    records.write(work)
    assert (len(runs), count(records), count(records, audit_entries)) == (2, 1, 1)


@pytest.mark.parametrize("delivered", [True, False])
def test_a_line_cut_while_committing_is_told_as_what_it_is(database: str, delivered: bool) -> None:
    server = shared_server()
    with CuttingProxy(server.port) as proxy:
        records = PostgresRecords(postgres_engine(server.tcp_url(database, proxy.port, sslmode="disable")))
        records.write(lambda tx: tx.change(a_tenant("ten_0")))
        runs = []
        proxy.cut_at(b"COMMIT", deliver=delivered)
        with pytest.raises(Unavailable) as unknown:
            records.write(lambda tx: (runs.append(1), tx.change(a_tenant("ten_1"))))
        assert (unknown.value.reason, len(runs), proxy.cuts) == ("outcome-unknown", 1, 1)
        expected = 2 if delivered else 1
        until = time.monotonic() + 10
        while count(records) != expected and time.monotonic() < until:
            time.sleep(0.02)  # the server may still be at it
        assert count(records) == expected
        records.close()


@pytest.mark.parametrize("delivered", [True, False])
def test_a_line_cut_before_the_commit_costs_a_run_and_nothing_else(database: str, delivered: bool) -> None:
    server = shared_server()
    with CuttingProxy(server.port) as proxy:
        records = PostgresRecords(postgres_engine(server.tcp_url(database, proxy.port, sslmode="disable")))
        records.write(lambda tx: tx.change(a_tenant("ten_0")))
        for bytes_sent in (b"INSERT INTO audit_entries", b"BEGIN"):
            proxy.cut_at(bytes_sent, deliver=delivered)
            records.write(lambda tx: (tx.change(update(tenants).values(name="new")), tx.audit(an_entry())))
        assert proxy.cuts == 2
        assert count(records, audit_entries) == 2
        records.close()


def test_a_work_that_wrote_nothing_runs_again_even_after_its_commit_was_cut(database: str) -> None:
    server = shared_server()
    with CuttingProxy(server.port) as proxy:
        records = PostgresRecords(postgres_engine(server.tcp_url(database, proxy.port, sslmode="disable")))
        count(records)
        proxy.cut_at(b"COMMIT", deliver=True)
        assert records.write(lambda tx: tx.execute(select(func.count()).select_from(tenants)).scalar()) == 0
        assert proxy.cuts == 1
        records.close()


def test_what_takes_too_long_is_unavailable_and_not_tried_again(database: str) -> None:
    url = shared_server().url(database) + "&options=-c%20statement_timeout%3D100%20-c%20lock_timeout%3D50"
    records = PostgresRecords(postgres_engine(url))
    runs = []

    def slow(tx: Transaction) -> None:
        runs.append(1)
        tx.execute(select(func.pg_sleep(5)))

    with pytest.raises(Unavailable) as late:
        records.write(slow)
    assert (late.value.reason, len(runs)) == ("records-slow", 1)
    with pytest.raises(Unavailable), records.read() as reads:
        reads.execute(select(func.pg_sleep(5)))
    with psycopg.connect(shared_server().dsn(database)) as other:
        other.execute("LOCK TABLE tenants")
        with pytest.raises(Unavailable) as locked:
            records.write(lambda tx: tx.change(a_tenant("ten_1")))
    assert locked.value.reason == "records-slow"
    records.close()


def test_more_callers_than_connections_wait_their_turn(database: str) -> None:
    records = PostgresRecords(postgres_engine(shared_server().url(database), connections=2))
    errors: list[BaseException] = []

    def call(number: int) -> None:
        try:
            for turn in range(5):
                records.write(lambda tx, turn=turn: tx.change(a_tenant(f"ten_{number}_{turn}")))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert count(records) == 60
    records.close()


def test_the_session_is_as_durable_and_as_bounded_as_promised(records: PostgresRecords) -> None:
    def settings(reads: Any, *names: str) -> list[str]:
        return [str(reads.execute(text(f"SHOW {name}")).scalar_one()) for name in names]

    with records.read() as reads:
        assert settings(reads, "transaction_isolation", "transaction_read_only") == ["repeatable read", "on"]
    names = ("transaction_isolation", "synchronous_commit", "statement_timeout", "application_name")
    found = records.write(lambda tx: settings(tx, *names))
    assert found == ["serializable", "on", "30s", "casevault"]
    with records.engine.connect() as plain:
        assert settings(plain, "transaction_isolation", "transaction_read_only") == ["read committed", "off"]


def test_what_was_confirmed_survives_a_crash_of_the_server() -> None:
    server = PostgresServer(durable=True)
    try:
        records = PostgresRecords(postgres_engine(server.url("postgres")))
        upgrade(records.engine)
        kept, unknown = _write_through_a_crash(server, records)
        with records.read() as reads:
            found = set(reads.execute(select(audit_entries.c.entry_id)).scalars())
        assert len(kept) > 20
        assert kept <= found
        assert found - kept <= unknown
        records.close()
    finally:
        server.remove()


def _write_through_a_crash(server: PostgresServer, records: PostgresRecords) -> tuple[set[str], set[str]]:
    kept: set[str] = set()
    unknown: set[str] = set()
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            id_ = new_id(Kind.ENTRY)
            try:
                records.write(lambda tx, id_=id_: tx.audit(an_entry(id_)))
                kept.add(id_)
            except Unavailable as error:
                if error.reason == "outcome-unknown":
                    unknown.add(id_)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.3)
        server.stop(signal.SIGQUIT)  # every process at once, nothing written down
        server.start()
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join()
    return kept, unknown
