"""Several sweepers on one PostgreSQL, beside callers who change what the sweep looks at: none starves (P4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text, update

from retention.domain.bundle import BundleState
from retention.domain.faults import Unavailable
from retention.jobs import sweep as sweeping
from retention.jobs.sweep import BEGUN_AT_ONCE, begin_due, begin_expired
from retention.records import postgres
from retention.records.tables import bundles
from retention.records.unit_of_work import Turn
from tests.retention.custody.world import DAY, NUMBER, World, postgres_records, strict_world

MANY = BEGUN_AT_ONCE
"""As many erasures as are begun in one transaction."""


@pytest.fixture
def world() -> Iterator[World]:
    with postgres_records() as records, strict_world(records) as world:
        yield world


def due_bundles(world: World) -> list[str]:
    """In a case each, so that each is an erasure."""
    made = []
    for number in range(int(NUMBER), int(NUMBER) + MANY):
        world.open_case(str(number))
        made.append(world.announce(100, str(number)))
        world.close_case(str(number))
    world.clock.move(90 * DAY)
    return made


def test_who_meets_another_sweeper_leaves_the_search_to_it(world: World) -> None:
    due_bundles(world)
    with world.custody.records.engine.begin() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({Turn.SWEEP})"))
        assert begin_due(world.custody) == 0
        assert begin_expired(world.custody) == 0
    assert begin_due(world.custody) == MANY


def test_a_batch_that_always_loses_is_begun_in_smaller_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres.time, "sleep", lambda _seconds: None)
    made = due_bundles(world)
    begin, sizes = sweeping.erasure_steps.begin, []

    def meet(tx: Any, binding: Any, due: Any, now: Any) -> None:
        """Somebody changes one of them meanwhile, whenever several are begun at once."""
        sizes.append(len(due))
        if len(due) > 1:
            touched = update(bundles).where(bundles.c.id == due[0][0].id).values(writer="somebody")
            world.custody.records.write(lambda other: other.change(touched))
        begin(tx, binding, due, now)

    monkeypatch.setattr(sweeping.erasure_steps, "begin", meet)
    begun = 0
    while one := begin_due(world.custody):
        begun += one
    assert begun == MANY
    assert sizes[0] == MANY
    assert {world.state(bundle) for bundle in made} == {BundleState.ERASING}


def test_one_that_always_loses_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.time, "sleep", lambda _seconds: None)
    due_bundles(world)

    def lose(*_: Any) -> None:
        raise Unavailable("too many changes at once", reason="contended")

    monkeypatch.setattr(sweeping.erasure_steps, "begin", lose)
    with pytest.raises(Unavailable) as given_up:
        begin_due(world.custody)
    assert given_up.value.reason == "contended"
