"""The clock's first step: several clocks that start together after a restore, and a database restored under one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from audit.log.sequencer import RolledBackError
from audit.mirror.copying import ForkedError
from retention.assembly import assemble
from retention.config import Settings
from retention.jobs.sequencing import compare_once, reconcile_now, reconcile_once, sequence_once
from retention.jobs.sweep import sweep
from retention.records.sqlite_engine import alone
from tests.retention.restoring import (
    Installation,
    PostgresInstallation,
    drill,
    extends,
    leaves,
    log_is_good,
    publish,
)

SPAWN: Any = multiprocessing.get_context("spawn")
CLOCKS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    if request.param == "sqlite":
        yield Installation(tmp_path)
        return
    made = PostgresInstallation(tmp_path)
    yield made
    made.remove()


def clock_process(settings: Settings, start: Barrier) -> None:
    """What any clock does first, again until it is its turn."""
    services = assemble(settings)
    start.wait(60)
    while sequence_once(services) is None:
        pass
    while compare_once(services):
        pass
    services.close()


def test_clocks_that_start_together_after_a_restore_reconcile_once(installation: Installation) -> None:
    erased, _, late, note = drill(installation)
    for turn in range(1, 4):
        installation.restore()
        start = SPAWN.Barrier(CLOCKS)
        clocks = [
            SPAWN.Process(target=clock_process, args=(installation.settings, start)) for _ in range(CLOCKS)
        ]
        for clock in clocks:
            clock.start()
        for clock in clocks:
            clock.join(120)
        assert [clock.exitcode for clock in clocks] == [0] * CLOCKS
        with installation.service() as (services, world):
            # What the turns before wrote came back with the tail; each turn adds its own, once.
            assert len(leaves(world, "log.adopted")) == turn
            told = [leaf["details"] for leaf in leaves(world, "records.reconciled")]
            assert sum(details["erasing"] for details in told) == turn
            assert all(details["unrecorded"] == [late] for details in told)
            sweep(world.custody)
            assert world.state(erased) == "erased"
            extends(services, note)
            note = publish(services)
            log_is_good(services)


def test_who_finds_another_at_it_neither_waits_nor_sequences(installation: Installation) -> None:
    drill(installation)
    installation.restore()
    with installation.service() as (services, world), installation.service() as (other, _):
        with alone(other.custody.records.engine) as mine:
            assert mine
            assert not reconcile_once(services)
            assert sequence_once(services) is None
            assert not leaves(world, "log.adopted")
        assert sequence_once(services) is not None
        assert services.reconciled.is_set()
        log_is_good(services)


def hold(settings: Settings, held: Any) -> None:
    services = assemble(settings)
    with alone(services.custody.records.engine):
        held.set()
        signal.pause()


def test_a_clock_that_is_killed_while_it_reconciles_leaves_it_to_the_next(installation: Installation) -> None:
    drill(installation)
    installation.restore()
    held = SPAWN.Event()
    holder = SPAWN.Process(target=hold, args=(installation.settings, held))
    holder.start()
    assert held.wait(60)
    with installation.service() as (services, _):
        assert reconcile_now(services) is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
        for _ in range(100):  # the server notices the broken connection on its own
            if (found := reconcile_now(services)) is not None:
                break
        assert found is not None
        assert found.adopted > 0


@pytest.mark.real
def test_a_database_restored_under_a_running_clock_is_reconciled_by_its_next_step(tmp_path: Path) -> None:
    installation = PostgresInstallation(tmp_path)
    erased, *_ = drill(installation)
    with installation.service() as (services, world):
        assert sequence_once(services) is not None
        installation.restore()
        with pytest.raises(RolledBackError):
            services.sequencer.run_once()
        assert sequence_once(services) is not None
        sweep(world.custody)
        assert world.state(erased) == "erased"
        assert len(leaves(world, "log.adopted")) == 1
        log_is_good(services)
    installation.remove()


def test_two_histories_are_sequenced_by_no_clock(installation: Installation) -> None:
    drill(installation)
    installation.restore(log=True)
    with installation.service() as (services, world):
        services.sequencer._asked = 0  # a forger's service: it does not ask the witness
        world.open_case("120260301000009")
        services.sequencer.run_once()
    with installation.service() as (services, world):
        before = len(world.leaves())
        for _ in range(2):
            with pytest.raises(ForkedError):
                sequence_once(services)
        assert len(world.leaves()) == before
