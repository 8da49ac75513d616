"""Processes whose clocks are apart: a metric, a line in the log, and past a limit not ready."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from retention.clock import SystemClock
from retention.config_telemetry import TelemetrySettings
from retention.custody.timekeeping import ASK_SECONDS, METRIC, MOST, NOTED, ClockSkew, Timekeeper
from retention.domain.faults import Unavailable
from retention.records.migrate import time_at
from retention.telemetry.opentelemetry import Telemetry
from tests.retention.custody.world import START, postgres_records, strict_world


class Clocks:
    """This machine's clock and the shared one."""

    def __init__(self) -> None:
        self.here = self.there = START
        self.seconds, self.asked = 0.0, 0
        self.skew = ClockSkew(lambda: self.here, self.ask, lambda: self.seconds)

    def ask(self) -> datetime:
        self.asked += 1
        return self.there

    def pass_(self, apart: timedelta) -> None:
        """Some time later they are apart by this."""
        self.seconds += ASK_SECONDS
        self.here = self.there + apart
        self.skew.look()


def test_two_minutes_are_a_metric_and_one_line_until_they_are_over(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks()
    assert clocks.skew.figures() == {}
    clocks.pass_(timedelta(seconds=1))
    assert caplog.records == []
    for _ in range(3):
        clocks.pass_(timedelta(minutes=2))
    (line,) = caplog.records
    assert (line.levelno, "120 s ahead of the database server's" in line.getMessage()) == (
        logging.ERROR,
        True,
    )
    assert clocks.skew.figures() == {METRIC: 120.0}
    clocks.skew.require()  # no more than told: it serves on
    clocks.pass_(timedelta(0))
    assert "again" in caplog.records[-1].getMessage() and len(caplog.records) == 2
    clocks.pass_(timedelta(minutes=-2))
    assert "120 s behind the database server's" in caplog.records[-1].getMessage()
    assert clocks.skew.figures() == {METRIC: 120.0}


def test_of_two_processes_that_are_two_minutes_apart_one_at_least_says_so() -> None:
    assert timedelta(minutes=2) >= 2 * NOTED


@pytest.mark.parametrize("way", [1, -1])
def test_past_the_limit_the_process_is_not_ready(way: int) -> None:
    clocks = Clocks()
    clocks.pass_(way * MOST)
    clocks.skew.require()
    clocks.pass_(way * (MOST + timedelta(seconds=1)))
    with pytest.raises(Unavailable, match=r"301 s .* the database server's: set both by NTP"):
        clocks.skew.require()
    clocks.pass_(timedelta(0))
    clocks.skew.require()


def test_it_asks_no_more_often_than_it_should_and_a_silence_changes_nothing() -> None:
    clocks = Clocks()
    clocks.pass_(timedelta(minutes=10))
    for _ in range(5):
        clocks.skew.look()
    assert clocks.asked == 1

    def away() -> datetime:
        raise OSError("no database")

    clocks.skew._there = away
    clocks.seconds += ASK_SECONDS
    with pytest.raises(OSError, match="no database"):
        clocks.skew.look()
    with pytest.raises(Unavailable):
        clocks.skew.require()


def test_a_database_that_is_a_file_here_has_no_clock_to_compare() -> None:
    with strict_world() as world:
        skew = ClockSkew(lambda: START, lambda: time_at(world.custody.records.engine))
        skew.look()
    assert (skew.apart, skew.figures()) == (None, {})


def test_a_process_that_answers_callers_exports_its_own_skew_and_nothing_of_the_state() -> None:
    clocks, telemetry = Clocks(), Telemetry("api", TelemetrySettings(), scraped=True)
    telemetry.watch_state(clocks.skew.figures)
    assert METRIC + " " not in telemetry.exposition().decode(), "nothing is known yet"
    clocks.pass_(timedelta(minutes=2))
    samples = [line for line in telemetry.exposition().decode().splitlines() if line.startswith("casevault_")]
    assert samples == [f"{METRIC} 120.0"]


@pytest.mark.real
@pytest.mark.parametrize("way", ["follow", "keep"])
def test_a_process_two_minutes_ahead_of_a_real_server_says_so(
    caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Whether it follows the time, as those that answer callers do, or keeps it, as the clock does."""
    with postgres_records() as records:
        machine = SystemClock(lambda: datetime.now(UTC) + timedelta(minutes=2))
        skew = ClockSkew(machine.wall, lambda: time_at(records.engine))
        keeper = Timekeeper(machine, machine, records, {}, skew=skew)
        keeper.begin()
        caplog.clear()
        getattr(keeper, way)()
    assert skew.apart is not None
    assert timedelta(seconds=110) < skew.apart < timedelta(seconds=130)
    assert any("ahead of the database server's" in line.getMessage() for line in caplog.records)
