"""Work of the clock that cannot be done: it fills no log, and keeps nothing waiting that could be done (P4, P5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from functions.timers import MOST
from intake_api.serve.clock_process import ERASURES
from retention.custody.erasure import erasure_steps
from retention.custody.failed_work import FIRST, LONGEST, back_off
from retention.domain.bundle import BundleState
from retention.jobs.sweep import (
    SweepReport,
    erase_due,
    erase_pending,
    failed_erasures,
    pending_erasures,
    sweep,
    verify_received,
)
from retention.objects.store_errors import PartMissing, StoreUnavailable
from retention.records.tables import bundles, erasure_bundles, erasures
from tests.retention.custody.world import DAY, World, but, postgres_records, strict_world

MANY = 2000
CAUSE = "customer-request"


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "sqlite":
        with strict_world() as made:
            yield made
        return
    with postgres_records() as records, strict_world(records) as made:
        yield made


class Store:
    """The world's object store; what is done to the bundles in `lost` fails."""

    def __init__(self, world: World, *lost: str, error: Exception | None = None) -> None:
        self._objects: Any = world.custody.objects
        self.lost, self.error = set(lost), error or StoreUnavailable("no answer")
        self.tried: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._objects, name)

        def call(bundle_id: str, *more: Any) -> Any:
            if name in ("destroy", "open_part", "complete"):
                self.tried.append(bundle_id)
                if bundle_id in self.lost:
                    raise self.error
            return found(bundle_id, *more)

        return call


def copies(world: World, original: str, count: int, **changes: Any) -> list[str]:
    """So many more bundles like this one, in their records alone."""
    row = dict(world.row(original)._mapping)
    made = [{**row, "id": f"bun_{_letters(number)}", **changes} for number in range(count)]
    world.custody.records.write(lambda tx: tx.change(insert(bundles), made))
    return [str(each["id"]) for each in made]


def _letters(number: int) -> str:
    return f"{number:026d}".translate(str.maketrans("0123456789", "abcdefghij"))


def being_erased(world: World, bundle_ids: list[str]) -> None:
    """As if asked for long ago: one erasure for all of them, before all others."""
    tenant, at = world.row(bundle_ids[0]).tenant_id, world.clock.now() - 30 * DAY
    row = {
        "id": "era_old",
        "confirmation": "1",
        "tenant_id": tenant,
        "scope": "case",
        "cause": "customer-request",
    }
    row |= {"on_demand": True, "requested_at": at, "actor_id": "act_x"}

    def work(tx: Any) -> None:
        tx.change(insert(erasures).values(row))
        tx.change(
            insert(erasure_bundles), [{"erasure_id": "era_old", "bundle_id": each} for each in bundle_ids]
        )

    world.custody.records.write(work)


def states(world: World) -> Counter[str]:
    with world.custody.records.read() as reads:
        found = select(bundles.c.state, func.count()).group_by(bundles.c.state)
        return Counter(dict(reads.execute(found).all()))


def failures(world: World, action: str) -> list[dict[str, Any]]:
    return [leaf for leaf in world.leaves() if (leaf["action"], leaf["outcome"]) == (action, "failed")]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_each_wait_is_longer_than_the_last_and_none_longer_than_the_longest(n: int, draw: float) -> None:
    assert FIRST / 2 <= back_off(n, draw) <= LONGEST
    assert back_off(n, draw) <= back_off(n + 1, draw)
    assert back_off(n, 0) * 2 == back_off(n, 1)
    assert back_off(30, 1) == LONGEST


@pytest.mark.timeout(900)  # four thousand erasures
def test_two_thousand_that_cannot_be_erased_keep_no_other_waiting(world: World) -> None:
    world.open_case()
    healthy = [world.upload(b"healthy") for _ in range(3)]
    lost = copies(world, healthy[0], MANY, state=BundleState.ERASING, erased_cause=CAUSE)
    being_erased(world, lost)
    for bundle in healthy:
        erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    store = Store(world, *lost)
    custody = but(world, objects=store).custody
    for _ in range(MANY // ERASURES + 1):
        erase_due(custody, ERASURES)
    assert {world.state(bundle) for bundle in healthy} == {"erased"}
    assert len(failures(world, "bundle.erased")) == MANY, "one entry each"

    asked = world.upload(b"asked for while all of them are due again")
    world.clock.move(LONGEST)
    erasure_steps.request_bundle_erasure(world.custody, world.operator, asked)
    store.tried.clear()
    erase_due(custody, ERASURES)
    assert store.tried.index(asked) < 16, "it does not wait for those that failed before"
    assert len(failures(world, "bundle.erased")) == MANY, "and they write nothing more"

    for _ in range(3):
        erase_due(custody, ERASURES)
    assert set(lost) <= set(store.tried), "the rounds go around"
    store.lost.clear()
    world.clock.move(LONGEST)
    while erase_pending(custody, SweepReport(), ERASURES):
        pass
    assert states(world) == {"erased": MANY + 4}
    assert len(failures(world, "bundle.erased")) == MANY
    told = {leaf["bundle"]: leaf["details"] for leaf in world.leaves() if leaf["action"] == "bundle.erased"}
    assert {told[bundle]["failures"] for bundle in lost} == {2}
    assert "failures" not in told[asked]


def test_what_a_function_app_sends_goes_around_too(world: World) -> None:
    world.open_case()
    healthy = world.upload(b"healthy")
    lost = copies(world, healthy, MANY + 500, state=BundleState.ERASING, erased_cause=CAUSE)
    being_erased(world, lost)
    erasure_steps.request_bundle_erasure(world.custody, world.operator, healthy)
    custody = but(world, objects=Store(world, *lost)).custody
    sent = [bundle for _, bundle in pending_erasures(custody, MOST)]
    assert healthy not in sent
    erase_pending(custody, SweepReport(), MOST)  # as their messages would
    assert healthy in [bundle for _, bundle in pending_erasures(custody, MOST)]
    world.clock.move(LONGEST)
    assert len(failed_erasures(custody, MOST)) == MOST


def test_another_reason_is_another_entry_and_the_end_counts_them_all(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"content")
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    store = Store(world, bundle)
    custody = but(world, objects=store).custody
    for error in (StoreUnavailable("x"), StoreUnavailable("y"), OSError("z"), OSError("z")):
        store.error = error
        erase_due(custody)
        world.clock.move(LONGEST)
    told = failures(world, "bundle.erased")
    assert [(leaf["reason"], leaf["details"]["failures"]) for leaf in told] == [
        ("StoreUnavailable", 1),
        ("OSError", 3),
    ]
    store.lost.clear()
    erase_due(custody)
    (last,) = [leaf for leaf in world.leaves() if leaf["action"] == "bundle.erased" and leaf not in told]
    assert (last["outcome"], last["details"]["failures"]) == ("success", 4)


def test_between_two_tries_nothing_is_tried_but_for_who_asks(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"content")
    world.close_case()
    world.clock.move(90 * DAY)
    store = Store(world, bundle)
    custody = but(world, objects=store).custody
    for _ in range(100):
        erase_due(custody)
    assert store.tried == [bundle]
    erasure_steps.request_bundle_erasure(custody, world.operator, bundle)
    erase_due(custody)
    assert store.tried == [bundle, bundle], "a customer asked"
    sweep(custody)
    assert store.tried == [bundle] * 3, "an administrator did"


def test_what_a_wrong_clock_put_off_for_years_is_tried_again(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"a")
    being_erased(world, [bundle])
    far = {
        "state": BundleState.ERASING,
        "failures": 3,
        "failure": "StoreUnavailable",
        "next_try_at": world.clock.now() + timedelta(days=9999),
    }
    world.custody.records.write(lambda tx: tx.change(update(bundles).values(far)))
    assert failed_erasures(world.custody, 10) == [bundle]


def received(world: World, count: int) -> list[str]:
    made = [world.announce(1) for _ in range(count)]
    for bundle in made:
        world.send(bundle, b"1")
        world.clock.move(timedelta(seconds=1))
    return made


def test_many_that_cannot_be_read_back_keep_no_other_waiting(world: World) -> None:
    world.open_case()
    (original,) = received(world, 1)
    lost = [original, *copies(world, original, 300, state=BundleState.RECEIVED)]
    healthy = received(world, 1)
    custody, report = but(world, objects=Store(world, *lost)).custody, SweepReport()
    tries = 0
    while world.state(healthy[0]) != "complete":
        verify_received(custody, report, limit=1)
        tries += 1
        assert tries <= len(lost) + 1, "each is tried once before any is tried again"
    assert len(failures(world, "bundle.verified")) <= len(lost)


def test_a_read_back_that_fails_for_ever_is_one_entry_and_goes_on_when_it_can(world: World) -> None:
    world.open_case()
    (bundle,) = received(world, 1)
    store = Store(world, bundle)
    custody = but(world, objects=store).custody
    for _ in range(50):
        verify_received(custody, SweepReport(), limit=1)
        world.clock.move(LONGEST)
    assert len(store.tried) == 50
    assert len(failures(world, "bundle.verified")) == 1
    store.lost.clear()
    verify_received(custody, SweepReport(), limit=1)
    (done,) = [
        leaf
        for leaf in world.leaves()
        if leaf["action"] == "bundle.verified" and leaf["outcome"] == "success"
    ]
    assert (world.state(bundle), done["details"]["failures"]) == ("complete", 50)


def unfinished(world: World) -> str:
    """An upload whose last byte is recorded, and whose last request died before it was fixed."""
    bundle = world.announce(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retention.custody.uploads.upload_session.finish_upload", lambda *_: None)
        world.send(bundle, b"1")
    return bundle


def test_an_upload_whose_part_is_gone_ends_as_damaged_and_its_sender_hears_of_it(world: World) -> None:
    world.open_case()
    bundle = unfinished(world)
    custody = but(world, objects=Store(world, bundle, error=PartMissing("gone"))).custody
    for _ in range(4):
        verify_received(custody, SweepReport(), limit=1)
        assert world.state(bundle) == "receiving"
        world.clock.move(LONGEST)
    verify_received(custody, SweepReport(), limit=1)
    assert (world.state(bundle), world.row(bundle).erased_cause) == ("erasing", "upload-damaged")
    (damaged,) = failures(world, "bundle.damaged")
    assert (damaged["reason"], damaged["details"]["failures"]) == ("part-missing", 5)
    sweep(world.custody)
    assert world.state(bundle) == "erased"


def test_an_upload_whose_store_is_away_is_given_up_never(world: World) -> None:
    world.open_case()
    bundle = unfinished(world)
    store = Store(world, bundle)
    custody = but(world, objects=store).custody
    for _ in range(50):
        verify_received(custody, SweepReport(), limit=1)
        world.clock.move(LONGEST)
    assert world.state(bundle) == "receiving"
    assert len(failures(world, "bundle.received")) == 1
    store.lost.clear()
    sweep(custody)
    assert world.state(bundle) == "complete"
