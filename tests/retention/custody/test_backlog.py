"""How the work stands, on SQLite and PostgreSQL: each figure moved by what it is about, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from sqlalchemy import event

from audit.mirror.copying import Mirror
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.tile_store import LocalTileStore
from retention.custody.backlog import FRESH, GRACE, State, measure
from retention.custody.erasure import erasure_steps
from retention.jobs.sweep import begin_due, erase_due
from retention.telemetry.opentelemetry import STATE
from tests.retention.custody.world import DAY, World, postgres_records, strict_world


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "sqlite":
        with strict_world() as made:
            yield made
        return
    with postgres_records() as records, strict_world(records) as made:
        yield made


_OF_OTHERS = {
    "casevault_witness_lag_seconds",
    "casevault_uploads_room_bytes",
    "casevault_clock_skew_seconds",
}
"""Gauges that are not read from the records."""


def figures(world: World) -> dict[str, float]:
    """Those that are not zero, the log's own and the scrubbing's left out."""
    with world.custody.records.read() as reads:
        found = measure(reads, world.clock.now())
    assert found.keys() | _OF_OTHERS == STATE.keys()
    left_out = "casevault_log", "casevault_scrub"
    return {name: value for name, value in found.items() if value and not name.startswith(left_out)}


def test_nothing_waits_in_a_quiet_service(world: World) -> None:
    assert figures(world) == {}


def test_an_upload_is_open_then_waits_for_its_read_back_then_for_nothing(world: World) -> None:
    world.open_case()
    bundle = world.announce(10)
    assert figures(world) == {"casevault_uploads_open": 1}
    world.send(bundle, b"0123456789")
    assert figures(world) == {"casevault_read_back_waiting": 1}


def test_a_bundle_is_due_at_its_deadline_and_overdue_an_hour_later(world: World) -> None:
    world.open_case()
    world.upload(b"logs")
    world.close_case()
    world.clock.move(90 * DAY - timedelta(seconds=1))
    assert figures(world) == {}
    world.clock.move(timedelta(seconds=1))
    assert figures(world) == {"casevault_bundles_due": 1}
    world.clock.move(GRACE)
    assert figures(world) == {"casevault_bundles_due": 1, "casevault_bundles_overdue": 1}
    assert begin_due(world.custody) == 1
    world.clock.move(timedelta(minutes=5))
    assert figures(world) == {
        "casevault_bundles_overdue": 1,
        "casevault_erasures_pending": 1,
        "casevault_erasure_oldest_pending_seconds": 300,
    }
    erase_due(world.custody)
    assert figures(world) == {}


def test_an_erasure_on_demand_is_pending_and_not_overdue(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"logs")
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle, "")
    world.clock.move(2 * GRACE)
    assert figures(world) == {
        "casevault_erasures_pending": 1,
        "casevault_erasure_oldest_pending_seconds": 7200,
    }


def test_the_oldest_entry_without_a_place_in_the_tree_ages_until_it_has_one(world: World) -> None:
    with world.custody.records.read() as reads:
        assert measure(reads, world.clock.now() + DAY)["casevault_log_oldest_unsequenced_seconds"] == 86400
    world.sequence()
    with world.custody.records.read() as reads:
        found = measure(reads, world.clock.now() + DAY)
    assert found["casevault_log_oldest_unsequenced_seconds"] == 0
    assert found["casevault_log_entries"] == len(world.entries())


def test_the_lag_is_the_witnesss_and_a_look_is_shared_while_it_is_fresh(world: World) -> None:
    world.sequence()
    tiles = LocalTileStore(world.folder / "log")
    witness = LocalMirrorStore(world.folder / "witness")
    mirror = Mirror(world.custody.records.engine, tiles, world.log_signer.verifier, witness, world.clock)
    at = 0.0
    state = State(world.custody.records, mirror, world.clock, lambda: at)
    world.clock.move(timedelta(minutes=7))
    assert state()["casevault_witness_lag_seconds"] == 420
    assert state() is state()
    mirror.run_once()
    assert state()["casevault_witness_lag_seconds"] == 420
    at += FRESH
    assert state()["casevault_witness_lag_seconds"] == 0


def test_no_figure_looks_at_every_row() -> None:
    """What grows without end is searched by an index that holds the rows in question only.

    On SQLite: with so few rows PostgreSQL scans whatever there is.
    """
    with strict_world() as world:
        _check_plans(world)


def _check_plans(world: World) -> None:
    engine, seen = world.custody.records.engine, []
    note = lambda *call: seen.append((call[2], call[3]))  # noqa: E731
    event.listen(engine, "before_cursor_execute", note)
    figures(world)
    event.remove(engine, "before_cursor_execute", note)
    plans = _plans(engine.connect(), seen)
    assert len(plans) >= 8
    for plan in plans:
        for step in plan:
            assert not (
                step.startswith("SCAN") and step.endswith(("bundles", "erasures", "audit_entries"))
            ), plan


def _plans(opened: AbstractContextManager, statements: list) -> list[list[str]]:  # type: ignore[type-arg]
    with opened as connection:
        return [
            [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            for text, values in statements
            if text.lstrip().startswith("SELECT")
        ]
