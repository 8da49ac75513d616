"""A machine whose clock is wrong, and what custody does meanwhile (P4)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.mirror.store_local import LocalMirrorStore
from retention.adapters import Adapters
from retention.clock import DevelopmentClock, SystemClock
from retention.config import MirrorSettings, Settings
from retention.config_azure import AzureSettings
from retention.custody.access import manage_cases
from retention.custody.erasure import erasure_steps
from retention.custody.timekeeping import Timekeeper, doubt, read_mark
from retention.domain.faults import Conflict, Unavailable
from retention.jobs.sweep import sweep
from tests.retention.custody.world import (
    DAY,
    HOUR,
    START,
    World,
    but,
    empty_records,
    postgres_records,
    strict_world,
)

SECOND = timedelta(seconds=1)


@dataclass
class Machine:
    """`truth` is what a stopwatch outside would say, `wrong` how far its clock is from it."""

    world: World
    truth: datetime = START
    wrong: timedelta = timedelta(0)
    other: Callable[[], datetime | None] | None = None

    def start(self) -> None:
        """A process of the service starts, with nothing but what is on record."""
        booted = self.truth
        self.clock = SystemClock(self.wall, lambda: (self.truth - booted).total_seconds())
        sources = {"the other": self.other} if self.other else {}
        records = self.world.custody.records
        self.keeper = Timekeeper(self.clock, self.clock, records, sources, self.ticks)
        self.keeper.begin()
        self.keeper.keep()
        self.world = but(self.world, clock=self.clock)
        self.world.clock = self.clock  # type: ignore[assignment]  # it is not moved by hand here

    def wall(self) -> datetime:
        return self.truth + self.wrong

    def ticks(self) -> float:
        return (self.truth - START).total_seconds()

    def run(self, time: timedelta, look: timedelta = HOUR) -> None:
        """Let time pass, and the clock's beats with it."""
        end = self.truth + time
        while self.truth < end:
            self.truth = min(end, self.truth + look)
            self.keeper.keep()
            sweep(self.world.custody)

    def actions(self) -> list[str]:
        return [row.action for row in self.world.entries() if row.action.startswith("time.")]


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "sqlite":
        with strict_world() as world:
            yield started(world)
    else:
        with postgres_records() as records, strict_world(records) as world:
            yield started(world)


def started(world: World) -> Machine:
    made = Machine(world)
    made.start()
    return made


def closed_case(machine: Machine) -> str:
    machine.world.open_case()
    bundle = machine.world.upload(b"content")
    machine.world.close_case()
    return bundle


def test_a_clock_that_jumps_for_seconds_destroys_nothing_and_raises_an_alarm(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = closed_case(machine)
    unclaimed, begun = machine.world.upload(b"unclaimed", None), machine.world.announce(5, None)
    machine.run(DAY)
    machine.wrong = 91 * DAY
    machine.run(12 * SECOND, SECOND)
    assert [machine.world.state(each) for each in (bundle, unclaimed, begun)] == ["complete"] * 2 + [
        "receiving"
    ]
    with machine.world.custody.records.read() as reads:
        assert "ahead of what is sure" in str(doubt(read_mark(reads)))
    machine.wrong = timedelta(0)
    machine.run(DAY)
    assert machine.actions() == ["time.doubted", "time.trusted"]
    assert [line.levelno for line in caplog.records if "what is sure" in line.message] == [logging.ERROR]
    with machine.world.custody.records.read() as reads:
        assert doubt(read_mark(reads)) is None
    assert machine.world.state(bundle) == "complete"
    machine.run(90 * DAY, DAY)
    assert machine.world.state(bundle) == "erased", "and at its time it goes"


def test_while_a_clock_is_doubted_everything_but_destruction_goes_on(machine: Machine) -> None:
    machine.world.open_case()
    machine.world.assign(machine.world.engineer)
    bundle = machine.world.upload(b"content")
    machine.world.grant()
    machine.wrong = 91 * DAY
    machine.run(SECOND)
    assert machine.world.read(bundle) == b"content"
    fresh = machine.world.upload(b"more")
    erasure_steps.request_bundle_erasure(machine.world.custody, machine.world.operator, bundle)
    machine.run(SECOND)
    assert (machine.world.state(bundle), machine.world.state(fresh)) == ("erased", "complete")


def test_no_entry_and_no_checkpoint_bears_a_time_ahead_of_what_is_believed(machine: Machine) -> None:
    closed_case(machine)
    machine.run(HOUR)
    machine.wrong = 91 * DAY
    machine.run(12 * SECOND, SECOND)
    machine.world.upload(b"meanwhile", None)
    machine.world.sequence()
    machine.wrong = timedelta(0)
    latest = max(row.at_us for row in machine.world.entries())
    assert latest <= (machine.truth.timestamp() + 60) * 1_000_000
    assert machine.world.log_problems() == []


def test_a_restart_while_the_clock_is_wrong_destroys_nothing_either(machine: Machine) -> None:
    bundle = closed_case(machine)
    machine.run(DAY)
    machine.wrong = 91 * DAY
    for _ in range(5):
        machine.start()
        machine.world.upload(b"written at a wrong time", None)  # its entry is no source
        machine.run(HOUR)
    assert machine.world.state(bundle) == "complete"
    machine.wrong = timedelta(0)
    machine.start()
    machine.run(DAY)
    assert machine.world.state(bundle) == "complete"
    assert not machine.keeper.belief.is_apart


def test_a_machine_that_was_off_destroys_again_by_itself_after_a_day(machine: Machine) -> None:
    bundle = closed_case(machine)
    machine.run(HOUR)
    machine.truth += 100 * DAY
    machine.start()
    late = machine.world.upload(b"received at once, with the right time", None)
    machine.run(23 * HOUR)
    assert machine.world.state(bundle) == "complete"
    machine.run(HOUR)
    assert machine.world.state(bundle) == "erased"
    assert machine.world.state(late) == "complete"
    assert machine.actions() == ["time.doubted", "time.trusted"]
    machine.run(88 * DAY, DAY)
    assert machine.world.state(late) == "complete"
    machine.run(2 * DAY)
    assert machine.world.state(late) == "erased"


def test_a_short_absence_holds_nothing(machine: Machine) -> None:
    bundle = closed_case(machine)
    machine.run(90 * DAY - 30 * SECOND, DAY)
    machine.truth += timedelta(minutes=50)
    machine.start()
    machine.run(SECOND)
    assert machine.world.state(bundle) == "erased"
    assert machine.actions() == []


def test_an_administrator_s_word_ends_the_wait_and_stands_in_the_log(machine: Machine) -> None:
    bundle = closed_case(machine)
    machine.run(HOUR)
    machine.truth += 100 * DAY
    machine.start()
    running, clock = machine.keeper, machine.clock
    machine.start()  # the command's own process
    machine.keeper.confirm(machine.world.administrator)
    machine.keeper, machine.world = running, but(machine.world, clock=clock)
    machine.run(SECOND)
    assert machine.world.state(bundle) == "erased"
    assert machine.actions() == ["time.doubted", "time.confirmed", "time.trusted"]
    confirmed = next(leaf for leaf in machine.world.leaves() if leaf["action"] == "time.confirmed")
    assert (confirmed["actor_kind"], confirmed["details"]["moved_seconds"] // 86400) == ("administrator", 100)


def test_another_clock_that_agrees_ends_the_wait_at_once(machine: Machine) -> None:
    bundle = closed_case(machine)
    machine.run(HOUR)
    machine.truth += 100 * DAY
    machine.other = lambda: machine.truth
    machine.start()
    machine.run(SECOND)
    assert machine.world.state(bundle) == "erased"
    assert machine.actions() == []


def test_another_clock_that_contradicts_is_believed_and_nobody_can_confirm_against_it(
    machine: Machine,
) -> None:
    bundle = closed_case(machine)
    machine.other = lambda: machine.truth
    machine.start()
    machine.wrong = 91 * DAY
    machine.run(60 * DAY, DAY)
    assert machine.world.state(bundle) == "complete"
    with pytest.raises(Conflict, match="the other says"):
        machine.keeper.confirm(machine.world.administrator)
    machine.run(30 * DAY, DAY)
    assert machine.world.state(bundle) == "erased", "at its time: two clocks agree on it"


def test_another_clock_that_fails_or_jumps_alone_changes_nothing(machine: Machine) -> None:
    bundle = closed_case(machine)
    answers = iter([None, OSError(), machine.truth + 91 * DAY] * 100)

    def other() -> datetime | None:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    machine.other = other
    machine.start()
    machine.run(DAY)
    assert machine.world.state(bundle) == "complete"
    assert not machine.keeper.belief.is_apart


def test_a_clock_set_back_prolongs_no_grant_and_moves_no_deadline(machine: Machine) -> None:
    machine.world.open_case()
    machine.world.assign(machine.world.engineer)
    grant = machine.world.grant(duration=HOUR)
    machine.wrong = -30 * DAY
    machine.run(HOUR, timedelta(minutes=10))
    assert machine.clock.now() >= grant.expires_at
    assert machine.actions() == ["time.doubted"]


def test_other_processes_follow_what_the_keeper_has_found(machine: Machine) -> None:
    """A process that was paused while the machine's clock ran on."""
    frozen = SystemClock(machine.wall, lambda: 0.0)
    follower = Timekeeper(frozen, frozen, machine.world.custody.records, {}, machine.ticks)
    follower.begin()
    machine.run(3 * HOUR)
    assert frozen.now() < machine.truth - 2 * HOUR
    assert not follower.follow().is_apart
    assert frozen.now() == machine.truth


def test_a_deadline_that_may_have_come_is_not_cancelled_by_reopening(machine: Machine) -> None:
    closed_case(machine)
    machine.run(HOUR)
    machine.truth += 100 * DAY
    machine.start()
    with pytest.raises(Unavailable, match="in doubt"):
        manage_cases.reopen_case(machine.world.custody, machine.world.case_system, "120260301000001")
    machine.run(DAY)
    manage_cases.reopen_case(machine.world.custody, machine.world.case_system, "120260301000001")


def test_a_clock_that_flaps_fills_no_log(machine: Machine) -> None:
    for _ in range(200):
        machine.wrong = 91 * DAY - machine.wrong
        machine.run(SECOND)
    assert machine.actions() == ["time.doubted", "time.trusted"]


def test_a_rehearsal_s_clock_is_moved_on_purpose_and_is_sure(machine: Machine) -> None:
    clock = DevelopmentClock(machine.world.folder / "development-clock", machine.clock)
    rehearsal = but(machine.world, clock=clock)
    bundle = closed_case(machine)
    clock.set(clock.now() + 90 * DAY)
    assert clock.sure() == clock.now() == machine.truth + 90 * DAY
    sweep(rehearsal.custody)
    assert rehearsal.state(bundle) == "erased"


EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=AAAA;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
BUCKET = MirrorSettings(bucket="kept")
ELSEWHERE = "postgresql://casevault@db.example/casevault?sslmode=verify-full"


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, set()),
        ({"database_url": "postgresql:///casevault"}, set()),
        ({"database_url": "postgresql://casevault@127.0.0.1/casevault"}, set()),
        ({"database_url": "postgresql:///casevault?host=/run/postgresql"}, set()),
        ({"database_url": ELSEWHERE}, {"the database"}),
        (
            {"azure": AzureSettings(account_url="https://bundles.blob.core.windows.net")},
            {"the storage account"},
        ),
        ({"azure": AzureSettings(connection_string=EMULATOR)}, set()),
        ({"witness": BUCKET}, {"the witness"}),
        ({"witness": replace(BUCKET, endpoint="https://localhost:9000")}, set()),
        ({"witness": replace(BUCKET, endpoint="https://s3.example")}, {"the witness"}),
        ({"database_url": ELSEWHERE, "witness": BUCKET}, {"the database", "the witness"}),
    ],
)
def test_only_clocks_of_other_machines_are_asked(
    more: dict[str, Any], asked: set[str], tmp_path: Path
) -> None:
    adapters = Adapters(Settings(state=tmp_path, **more))
    others = adapters.other_clocks(empty_records(tmp_path / "r.db"), LocalMirrorStore(tmp_path / "witness"))
    assert set(others) == asked
