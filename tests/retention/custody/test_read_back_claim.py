"""Of several who read bundles back at once, one has each of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from retention.custody.uploads import completion
from retention.custody.uploads.read_back_claim import LEASE, RENEW_SECONDS, ClaimLost, claim
from retention.jobs.sweep import SweepReport, read_back_one, verify_received
from retention.objects.store_errors import StoreUnavailable
from retention.records.tables import bundles
from tests.retention.custody.world import World, strict_world

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def world() -> Iterator[World]:
    with strict_world() as made:
        made.open_case()
        yield made


def received(world: World) -> str:
    bundle = world.announce(len(CONTENT))
    world.send(bundle, CONTENT)
    return bundle


def held_until(world: World, bundle: str) -> Any:
    with world.custody.records.read() as reads:
        return reads.execute(select(bundles.c.claimed_until).where(bundles.c.id == bundle)).scalar()


def test_four_clocks_at_once_read_each_bundle_back_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [received(world) for _ in range(12)]
    read: Counter[str] = Counter()
    together = threading.Barrier(4)
    real = completion.verify_bundle

    def counted(custody: Any, bundle_id: str, *more: Any) -> Any:
        read[bundle_id] += 1
        return real(custody, bundle_id, *more)

    monkeypatch.setattr("retention.jobs.sweep.verify_bundle", counted)

    def clock() -> None:
        together.wait(60)
        while any(world.state(bundle) == "received" for bundle in waiting):
            verify_received(world.custody, SweepReport(), limit=3)

    clocks = [threading.Thread(target=clock) for _ in range(4)]
    for each in clocks:
        each.start()
    for each in clocks:
        each.join(120)
    assert read == Counter(waiting)
    assert {world.state(bundle) for bundle in waiting} == {"complete"}
    assert [row.action for row in world.entries()].count("bundle.verified") == 12


def test_a_claim_is_one_persons_and_goes_with_the_state(world: World) -> None:
    bundle = received(world)
    assert claim(world.custody, bundle) is not None
    assert claim(world.custody, bundle) is None
    assert not read_back_one(world.custody, bundle, SweepReport())
    assert world.state(bundle) == "received"
    world.clock.move(LEASE)
    assert read_back_one(world.custody, bundle, SweepReport()), "who died holds it no longer than that"
    assert (world.state(bundle), held_until(world, bundle)) == ("complete", None)
    assert claim(world.custody, bundle) is None, "there is nothing to read back"


def test_a_claim_of_a_clock_that_was_ahead_holds_nobody_up(world: World) -> None:
    bundle = received(world)
    far = world.clock.now() + timedelta(days=400)
    world.custody.records.write(lambda tx: tx.change(update(bundles).values(claimed_until=far)))
    assert read_back_one(world.custody, bundle, SweepReport())


def test_a_read_back_that_takes_long_keeps_its_claim(world: World) -> None:
    bundle, ticks = received(world), [0.0]
    mine = claim(world.custody, bundle, lambda: ticks[0])
    assert mine is not None
    first = held_until(world, bundle)
    for _ in range(30):
        ticks[0] += RENEW_SECONDS / 2
        world.clock.move(timedelta(seconds=RENEW_SECONDS / 2))
        mine.keep()
        assert claim(world.custody, bundle) is None
    assert held_until(world, bundle) > first


def test_who_was_silent_for_too_long_stops_and_records_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, real = received(world), completion.verify_bundle
    monkeypatch.setattr("retention.custody.uploads.read_back_claim.RENEW_SECONDS", 0.0)

    def slept(custody: Any, bundle_id: str, rest: Any) -> Any:
        """A process that is suspended between two pieces, while another reads the bundle back."""
        world.clock.move(LEASE)
        monkeypatch.setattr("retention.jobs.sweep.verify_bundle", real)
        assert read_back_one(world.custody, bundle, SweepReport())
        rest()
        raise AssertionError("it went on")

    monkeypatch.setattr("retention.jobs.sweep.verify_bundle", slept)
    report = SweepReport()
    assert not read_back_one(world.custody, bundle, report)
    assert (report.verified, report.failed) == (0, 0)
    assert [row.action for row in world.entries()].count("bundle.verified") == 1


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), -timedelta(seconds=1)])
def test_a_claim_that_another_took_is_left_alone_wherever_its_clock_stands(
    world: World, ahead: timedelta
) -> None:
    """Whoever took it may have a clock that is behind: then its claim ends before the one that was lost."""
    bundle = received(world)
    mine = claim(world.custody, bundle, iter([0.0, RENEW_SECONDS, RENEW_SECONDS]).__next__)
    assert mine is not None
    theirs = held_until(world, bundle) + ahead
    world.custody.records.write(lambda tx: tx.change(update(bundles).values(claimed_until=theirs)))
    mine.let_go()
    assert held_until(world, bundle) == theirs
    with pytest.raises(ClaimLost):
        mine.keep()
    assert held_until(world, bundle) == theirs


def test_a_read_back_that_fails_lets_go_and_waits_for_its_next_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, report = received(world), SweepReport()

    def away(*_: object) -> Any:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(world.custody.objects, "open_part", away)
        assert read_back_one(world.custody, bundle, report)
    assert (report.failed, held_until(world, bundle)) == (1, None)
    world.clock.move(timedelta(hours=1))
    verify_received(world.custody, SweepReport(), limit=1)
    assert world.state(bundle) == "complete"


def test_an_error_that_nobody_foresaw_lets_go_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = received(world)

    def broken(*_: object) -> Any:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr("retention.jobs.sweep.verify_bundle", broken)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            read_back_one(world.custody, bundle, SweepReport())
    assert held_until(world, bundle) is None
    assert read_back_one(world.custody, bundle, SweepReport()), "at once"
