"""The scrubbing reads all that is stored back once a round, at its pace, and goes on where it stood (P1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import completion
from retention.domain.bundle import BundleState
from retention.domain.faults import Refused
from retention.jobs.scrub import SETTLED, Pace, Stopped, scrub_next
from retention.objects.store_errors import KeyDestroyed, KeyMissing, StoreUnavailable
from retention.records.tables import scrubs
from tests.fakes.stores import StrictObjectStore
from tests.retention.custody.world import DAY, HOUR, World, but, postgres_records, strict_world

PERIOD = 30 * DAY
CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=["sqlite", "postgres"])
def strict(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "sqlite":
        with strict_world() as made:
            yield made
        return
    with postgres_records() as records, strict_world(records) as made:
        yield made


def pace(rest: Callable[[float], object] = lambda _seconds: None) -> Pace:
    return Pace(PERIOD, rest)


def stored(world: World, number: int = 3) -> list[str]:
    world.open_case()
    world.assign(world.engineer)
    made = [world.upload(CONTENT) for _ in range(number)]
    world.clock.move(SETTLED)
    return made


def work_off(world: World, by: Pace | None = None) -> int:
    """Until there is nothing to do now; how many bundles were read."""
    before = sum(row.checked for row in rounds(world))
    while scrub_next(world.custody, by or pace()):
        pass
    return sum(row.checked for row in rounds(world)) - before


def rounds(world: World) -> list[object]:
    with world.custody.records.read() as reads:
        return list(reads.execute(select(scrubs).order_by(scrubs.c.row)))


def run_for(world: World, days: float, step: timedelta = HOUR) -> int:
    end, read = world.clock.now() + timedelta(days=days), 0
    while world.clock.now() < end:
        read += work_off(world)
        world.clock.move(step)
    return read


def summaries(world: World) -> list[dict[str, object]]:
    return [leaf["details"] for leaf in world.leaves() if leaf["action"] == "store.scrubbed"]


def damage(world: World, bundle: str) -> tuple[str, bytes]:
    objects = world.custody.objects
    assert isinstance(objects, StrictObjectStore)
    name = next(name for name in objects.parts if bundle in name)
    before = objects.parts[name]
    objects.parts[name] = bytes([before[0]]) + before[1:-1] + bytes([before[-1] ^ 1])
    return name, before


def test_a_round_reads_every_bundle_once_in_its_period_and_says_so_in_one_entry(strict: World) -> None:
    stored(strict, 5)
    before = len(strict.entries())
    assert run_for(strict, 30) == 5
    (said,) = summaries(strict)
    assert (said["checked"], said["bytes"], said["damaged"]) == (5, 5 * len(CONTENT), 0)
    assert len(strict.entries()) == before + 1, "nothing is said of a bundle that is sound"
    assert run_for(strict, 30) == 5, "the next round"


def test_it_keeps_its_pace(strict: World) -> None:
    stored(strict, 5)
    read = [run_for(strict, 6) for _ in range(5)]
    assert sum(read) == 5
    assert max(read) <= 2


def test_an_empty_store_and_a_new_one_cost_no_round(strict: World) -> None:
    assert run_for(strict, 40, DAY) == 0
    strict.open_case()
    strict.upload(CONTENT)
    assert work_off(strict) == 0
    assert rounds(strict) == [] == summaries(strict)


def test_it_goes_on_where_it_stood_after_a_stop_in_the_middle_of_a_bundle(strict: World) -> None:
    made = stored(strict, 3)
    work_off(strict)

    def stop(_seconds: float) -> None:
        raise Stopped

    strict.clock.move(15 * DAY)
    with pytest.raises(Stopped):
        scrub_next(strict.custody, pace(stop))
    again = but(strict)  # another process
    assert run_for(again, 14) == len(made) - 1
    assert [said["checked"] for said in summaries(strict)] == [len(made)]


def test_damage_is_found_twice_recorded_once_and_told_in_the_summary(strict: World) -> None:
    made = stored(strict)
    damage(strict, made[1])
    run_for(strict, 30)
    assert [strict.state(bundle) for bundle in made] == ["complete", "damaged", "complete"]
    (found,) = [leaf for leaf in strict.leaves() if leaf["action"] == "bundle.damaged"]
    assert (found["bundle"], found["outcome"], found["reason"]) == (made[1], "failed", "seal-broken")
    assert summaries(strict)[0]["damaged"] == 1
    strict.grant()
    with pytest.raises(Refused) as refused:
        strict.read(made[1])
    assert refused.value.reason == "bundle-damaged"
    run_for(strict, 60)
    assert len([leaf for leaf in strict.leaves() if leaf["action"] == "bundle.damaged"]) == 1


def test_what_is_whole_again_after_a_restore_is_complete_again(strict: World) -> None:
    made = stored(strict)
    name, before = damage(strict, made[0])
    run_for(strict, 30)
    assert strict.state(made[0]) == "damaged"
    assert isinstance(strict.custody.objects, StrictObjectStore)
    strict.custody.objects.parts[name] = before
    run_for(strict, 30)
    assert strict.state(made[0]) == "complete"
    verified = [leaf for leaf in strict.leaves() if leaf["action"] == "bundle.verified"][-1]
    assert (verified["bundle"], verified["details"]["again"]) == (made[0], "true")
    strict.grant()
    assert strict.read(made[0]) == CONTENT


def test_what_was_never_complete_is_not_repaired(strict: World) -> None:
    strict.open_case()
    bundle = strict.announce(len(CONTENT))
    strict.send(bundle, CONTENT)
    name, before = damage(strict, bundle)
    assert completion.verify_bundle(strict.custody, bundle) is BundleState.DAMAGED
    assert isinstance(strict.custody.objects, StrictObjectStore)
    strict.custody.objects.parts[name] = before
    run_for(strict, 70, DAY)
    assert strict.state(bundle) == "damaged"


class Away:
    """A store that answers one bundle's parts with an error."""

    def __init__(self, inner: object, bundle: str, error: Exception) -> None:
        self._inner, self._bundle, self._error = inner, bundle, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def open_part(self, bundle: str, part: str) -> object:
        if bundle == self._bundle:
            raise self._error
        return self._inner.open_part(bundle, part)  # type: ignore[attr-defined]

    def get(self, bundle: str) -> object:
        if bundle == self._bundle:
            raise self._error
        return self._inner.get(bundle)  # type: ignore[attr-defined]


def test_a_store_that_is_away_damages_nothing_and_holds_up_no_other_bundle(strict: World) -> None:
    made = stored(strict)
    away = but(strict, objects=Away(strict.custody.objects, made[0], StoreUnavailable("no answer")))
    for _ in range(200):
        with suppress(StoreUnavailable):
            scrub_next(away.custody, pace())
        strict.clock.move(DAY)
    assert {strict.state(bundle) for bundle in made} == {"complete"}
    assert [row.checked for row in rounds(strict)] == [2]  # type: ignore[attr-defined]
    assert summaries(strict) == []
    run_for(strict, 1)
    assert [said["checked"] for said in summaries(strict)] == [3]


@pytest.mark.parametrize("error", [KeyMissing("not here"), KeyDestroyed("erased, the records are older")])
def test_a_key_that_is_not_found_is_counted_and_damages_nothing(strict: World, error: Exception) -> None:
    made = stored(strict)
    lost = but(strict, keys=Away(strict.custody.keys, made[0], error))
    run_for(lost, 30)
    assert strict.state(made[0]) == "complete"
    assert (summaries(strict)[0]["checked"], summaries(strict)[0]["unjudged"]) == (3, 1)


def test_an_erasure_in_between_is_no_damage(strict: World) -> None:
    made = stored(strict)

    def erase(_seconds: float) -> None:
        for bundle in made:
            erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
            erasure_steps.erase_bundle(strict.custody, bundle)

    strict.clock.move(PERIOD)
    work_off(strict, pace(erase))
    assert {strict.state(bundle) for bundle in made} == {"erased"}
    assert [leaf for leaf in strict.leaves() if leaf["action"] == "bundle.damaged"] == []


def test_received_bundles_are_read_back_first(strict: World) -> None:
    stored(strict)
    strict.clock.move(PERIOD)
    bundle = strict.announce(len(CONTENT))
    strict.send(bundle, CONTENT)
    assert work_off(strict) == 0
    completion.verify_bundle(strict.custody, bundle)
    assert work_off(strict) > 0


def test_it_rests_as_long_as_it_reads(strict: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(strict, 1)
    rests: list[float] = []
    strict.clock.move(PERIOD)
    ticks = count(0.0, 1.5)
    monkeypatch.setattr("retention.jobs.scrub.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    work_off(strict, pace(rests.append))
    assert rests and set(rests) == {1.5}


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    hours=st.lists(st.integers(1, 200), max_size=30),
)
def test_however_often_it_is_called_no_bundle_is_read_before_its_time_or_twice_in_a_round(
    sizes: list[int], hours: list[int]
) -> None:
    with strict_world() as world:
        world.open_case()
        for size in sizes:
            world.upload(bytes(size))
        world.clock.move(SETTLED)
        for wait in hours:
            work_off(world)
            for row in rounds(world):
                assert row.checked <= len(sizes)  # type: ignore[attr-defined]
                share = (world.clock.now() - row.begun_at) / PERIOD  # type: ignore[attr-defined]
                assert row.bytes <= share * row.total + max(sizes)  # type: ignore[attr-defined]
            world.clock.move(wait * HOUR)
