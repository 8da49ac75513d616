"""The verbs of custody against each other on PostgreSQL.

First with every race forced: both transactions run to the brink of COMMIT before either commits. Then as it happens:
two processes, many times. That the races are real is shown by running them with less isolation.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any

import pytest
from sqlalchemy import Row, event

from retention.custody.reading.bundle_reads import open_bundle
from retention.custody.uploads import upload_session
from retention.domain.faults import CustodyError
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from tests.retention.concurrency.approval_races import APPROVAL_RACES
from tests.retention.concurrency.races import RACES as CUSTODY_RACES
from tests.retention.concurrency.races import outcome
from tests.retention.custody.world import World, build, but, postgres_records, strict_world
from tests.servers.postgres import new_schema, shared_server

RACES = {**CUSTODY_RACES, **APPROVAL_RACES}
ROUNDS = 12


class Brink:
    """Holds the first two commits that come while it is armed, until both are there or one waits for the other."""

    def __init__(self, records: PostgresRecords) -> None:
        self._both: threading.Barrier | None = None
        event.listen(records.engine, "commit", self._hold)

    def _hold(self, _connection: object) -> None:
        both = self._both
        if both is not None:
            try:
                both.wait(0.15)
            except threading.BrokenBarrierError:
                self._both = None

    @contextmanager
    def armed(self) -> Iterator[None]:
        self._both = threading.Barrier(2)
        try:
            yield
        finally:
            self._both = None


def race_on_the_brink(world: World, brink: Brink, name: str, turn: int) -> None:
    race = RACES[name]
    args = race.prepare(world, turn)
    with brink.armed(), ThreadPoolExecutor(2) as pool:
        both = [pool.submit(outcome, act, world, args) for act in (race.first, race.second)]
    race.check(world, args, [one.result() for one in both])


@pytest.fixture(scope="module")
def met() -> Iterator[tuple[World, Brink]]:
    with postgres_records() as records, strict_world(records) as world:
        yield world, Brink(records)


@pytest.mark.parametrize("name", RACES)
def test_two_who_meet_before_commit_leave_what_one_after_the_other_would(
    met: tuple[World, Brink], name: str
) -> None:
    world, brink = met
    for again in range(2):
        race_on_the_brink(world, brink, name, 100 + 10 * list(RACES).index(name) + again)


@pytest.mark.parametrize("name", ["open, close", "open, erase"])
def test_whoever_ends_what_an_opening_rests_on_waits_until_the_opening_is_entered(
    met: tuple[World, Brink], name: str
) -> None:
    world, _ = met
    race = RACES[name]
    args = race.prepare(world, 500 + list(RACES).index(name))
    with ThreadPoolExecutor(1) as pool:
        ending: list[Future[Any]] = []

        def decided(bundle: Row[Any]) -> Sequence[tuple[int, int]]:
            """The opening is decided, and its entry not written yet."""
            ending.append(pool.submit(outcome, race.second, world, args))
            while not ending[0].done() and not _somebody_waits(world):
                time.sleep(0.01)
            return [(0, bundle.size)]

        with suppress(CustodyError):  # what ended it may be done before the bundle's first byte
            open_bundle(world.custody, world.engineer, args["bundle"], decided).close()
        assert not isinstance(ending[0].result(), Exception)
    assert "bundle.opened" in [entry.action for entry in world.entries() if entry.bundle == args["bundle"]]
    race.check(world, args, [])


def _somebody_waits(world: World) -> bool:
    with world.custody.records.engine.connect() as connection:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return connection.exec_driver_sql(waiting).first() is not None


class _Snapshots(PostgresRecords):
    """Records with the isolation that most would choose."""

    ISOLATION = "REPEATABLE READ"


@pytest.mark.parametrize(
    "name",
    [
        # Not those of grants: what binds a case is one row that both sides write, so less isolation finds them too.
        "announce, close",
        "claim, close",
        "erase an empty case, erase it",
        "the last bundle, the last bundle",
    ],
)
def test_with_less_isolation_the_same_race_breaks_a_promise(name: str) -> None:
    with postgres_records() as records:
        weaker = _Snapshots(records.engine)
        with strict_world(weaker) as world, pytest.raises(AssertionError):
            _race_often(world, Brink(weaker), name)


def _race_often(world: World, brink: Brink, name: str) -> None:
    for turn in range(20):
        race_on_the_brink(world, brink, name, turn)


def _racer(world: World, url: str, which: int, start: Any, pipe: Pipe) -> None:
    """A process that runs its side of each race that it is told of."""
    records = PostgresRecords(postgres_engine(url))
    mine = but(world, records=records)
    mine.directory = type(world.directory)(mine.custody)
    mine.uploads = upload_session.Uploads()
    jitter = random.Random(which)
    while (told := pipe.recv()) is not None:
        name, args = told
        act = (RACES[name].first, RACES[name].second)[which]
        start.wait(30)
        time.sleep(jitter.random() * 0.002)
        found = outcome(act, mine, args)
        pipe.send(found if isinstance(found, int | str | None) else _Seen(found))
    records.close()
    os._exit(0)  # what was inherited belongs to the parent


class _Seen:
    """An outcome that can be sent: the attributes that checks look at."""

    def __init__(self, found: Any) -> None:
        self.kind = type(found)
        self.id = getattr(found, "id", None)
        self.confirmation = getattr(found, "confirmation", None)
        self.error = found.__class__ if isinstance(found, Exception) else None


@pytest.fixture(scope="module")
def racers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[Pipe]]]:
    """A world on local stores, and two processes that share it."""
    database, folder = new_schema(), tmp_path_factory.mktemp("racers")
    url = shared_server().url(database)
    records = PostgresRecords(postgres_engine(url))
    world = build(folder, LocalObjectStore(folder / "objects"), LocalKeyStore(folder / "keys"), records)
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(2)
    ends: list[Pipe] = []
    processes = []
    for which in (0, 1):
        here, there = fork.Pipe()
        process = fork.Process(target=_racer, args=(world, url, which, start, there), daemon=True)
        process.start()
        ends.append(here)
        processes.append(process)
    yield world, ends
    for end in ends:
        end.send(None)
    for process in processes:
        process.join(10)
    records.close()
    shared_server().drop(database)


@pytest.mark.parametrize("name", RACES)
def test_two_processes_leave_what_one_after_the_other_would(
    racers: tuple[World, list[Pipe]], name: str
) -> None:
    world, ends = racers
    race = RACES[name]
    for turn in range(ROUNDS):
        args = race.prepare(world, 10_000 + 1000 * list(RACES).index(name) + turn)
        for end in ends:
            end.send((name, args))
        race.check(world, args, [_received(end) for end in ends])


def _received(end: Pipe) -> Any:
    assert end.poll(60), "a racer died"
    found = end.recv()
    if isinstance(found, _Seen) and found.error is not None:
        return found.error.__new__(found.error)
    return found


def test_the_log_of_all_races_verifies(racers: tuple[World, list[Pipe]]) -> None:
    world, _ends = racers
    world.sequence()
    assert world.log_problems() == []
