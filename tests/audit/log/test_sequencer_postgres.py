"""The sequencer on PostgreSQL: several at once, one killed at any commit, rows that appear out of their order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, select

from audit.entry import Entry
from audit.log.append import append
from audit.log.sequencer import Sequencer
from audit.log.tables import audit_entries
from audit.log.verify import verify_database, verify_folder
from audit.tlog.checkpoint import Signer
from audit.tlog.tile_store import LocalTileStore
from retention.clock import SystemClock
from retention.records.postgres_engine import postgres_engine
from tests.servers.postgres import new_schema, shared_server

SIGNER = Signer("casevault.test/log", bytes(range(32)))
MakeEntry = Callable[[int], Entry]


class Log:
    """A log in a database of its own, its tiles in a folder."""

    def __init__(self, folder: Path, make_entry: MakeEntry) -> None:
        self.database = new_schema()
        self.url = shared_server().url(self.database)
        self.engine = postgres_engine(self.url)
        self.tiles = LocalTileStore(folder / "tiles")
        self.make_entry = make_entry
        self.written = 0
        self._numbers = threading.Lock()

    def entries(self, count: int) -> list[Entry]:
        with self._numbers:
            first, self.written = self.written, self.written + count
        return [self.make_entry(first + at) for at in range(count)]

    def write(self, count: int) -> None:
        with self.engine.begin() as connection:
            append(connection, self.entries(count))

    def sequencer(self, engine: Engine | None = None) -> Sequencer:
        return Sequencer(engine or self.engine, self.tiles, SIGNER, SystemClock())

    def sequence_all(self) -> None:
        while (checkpoint := self.sequencer().run_once()) is None or checkpoint.size < self.written:
            pass

    def assert_whole(self) -> None:
        """No leaf lost, none numbered twice, all under a signed tree that verifies, in the database and from tiles."""
        with self.engine.connect() as connection:
            indexes = connection.execute(select(audit_entries.c.leaf_index)).scalars().all()
            verdict = verify_database(connection, SIGNER.verifier, tiles=self.tiles)
        assert sorted(indexes) == list(range(self.written))
        assert (verdict.problems, verdict.leaves) == ((), self.written)
        mirrored = verify_folder(self.tiles, SIGNER.verifier)
        assert (mirrored.problems, mirrored.leaves) == ((), self.written)


@pytest.fixture
def log(tmp_path: Path, make_entry: MakeEntry) -> Iterator[Log]:
    made = Log(tmp_path, make_entry)
    yield made
    made.engine.dispose()
    shared_server().drop(made.database)


def test_a_slow_transaction_with_lower_rows_is_sequenced_when_it_commits(log: Log) -> None:
    with log.engine.connect() as slow, slow.begin():
        append(slow, log.entries(3))
        log.write(4)
        checkpoint = log.sequencer().run_once()
        assert checkpoint is not None
        assert checkpoint.size == 4
    log.sequence_all()
    log.assert_whole()
    with log.engine.connect() as connection:
        order = select(audit_entries.c.leaf_index).order_by(audit_entries.c.row)
        assert connection.execute(order).scalars().all() == [4, 5, 6, 0, 1, 2, 3]


def test_a_transaction_that_is_undone_leaves_a_gap_in_rows_and_none_in_leaves(log: Log) -> None:
    log.write(2)
    with log.engine.connect() as connection:
        append(connection, [log.make_entry(1000)])
        connection.rollback()
    log.write(2)
    log.sequence_all()
    log.assert_whole()


def _write_slowly(log: Log, errors: list[BaseException]) -> None:
    """Transactions that take their row numbers early and commit late."""
    try:
        for turn in range(15):
            with log.engine.begin() as connection:
                append(connection, log.entries(5))
                time.sleep(0.002 * (turn % 4))
                append(connection, log.entries(2))
    except BaseException as error:
        errors.append(error)


def _sequence_until(log: Log, engine: Engine, over: threading.Event, errors: list[BaseException]) -> None:
    try:
        while not over.is_set():
            log.sequencer(engine).run_once(limit=11)
    except BaseException as error:
        errors.append(error)


@pytest.mark.parametrize("default", ["read committed", "serializable"])
def test_two_sequencers_and_slow_writers_at_once_leave_one_whole_log(log: Log, default: str) -> None:
    shared_server().admin(f"ALTER DATABASE {log.database} SET default_transaction_isolation = '{default}'")
    engines = [create_engine(log.engine.url) for _ in range(2)]
    errors: list[BaseException] = []
    over = threading.Event()
    sequencers = [
        threading.Thread(target=_sequence_until, args=(log, engine, over, errors)) for engine in engines
    ]
    writers = [threading.Thread(target=_write_slowly, args=(log, errors)) for _ in range(3)]
    for thread in sequencers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in sequencers:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert errors == []
    log.sequence_all()
    log.assert_whole()


def _sequence_and_hang(log: Log, commits: int, hangs: Any) -> None:
    """In a process of its own: a sequencer that stops for ever before its commit of that number."""
    engine = postgres_engine(log.url)
    seen = 0

    @event.listens_for(engine, "commit")
    def _hang(_connection: object) -> None:
        nonlocal seen
        seen += 1
        if seen == commits:
            hangs.set()
            signal.pause()

    log.sequencer(engine).run_once()
    os._exit(3)  # it was to be killed before


@pytest.mark.parametrize("commits", range(1, 7))
def test_a_sequencer_killed_before_any_of_its_commits_is_taken_over_from(log: Log, commits: int) -> None:
    log.write(300)
    log.sequence_all()
    log.write(300)
    log.engine.dispose()
    fork = multiprocessing.get_context("fork")
    hangs = fork.Event()
    victim = fork.Process(target=_sequence_and_hang, args=(log, commits, hangs), daemon=True)
    victim.start()
    assert hangs.wait(30)
    waiting = threading.Thread(target=log.sequence_all)
    waiting.start()  # it waits for the lock that the other holds
    log.write(7)
    waiting.join(0.3)
    assert waiting.is_alive()
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    waiting.join(20)
    assert not waiting.is_alive(), "the lock was not given back"
    victim.join()
    log.sequence_all()
    log.assert_whole()
