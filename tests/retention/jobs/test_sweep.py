"""The sweep: bounded, resumable, and safe to run late, twice or in several places at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from retention.custody.erasure import erasure_steps
from retention.custody.uploads.concatenation import create_partial
from retention.jobs import sweep as sweeping
from retention.jobs.sweep import (
    SweepReport,
    begin_due,
    begin_expired,
    erase_pending,
    pending_erasures,
    remove_orphans,
    sweep,
    verify_received,
)
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store_errors import StoreUnavailable
from retention.records.tables import bundles
from tests.retention.custody.world import DAY, NUMBER, OTHER_NUMBER, World, but, local_world, strict_world


@pytest.fixture
def strict() -> Iterator[World]:
    with strict_world() as world:
        yield world


def many(world: World, count: int, number: str | None = NUMBER) -> list[str]:
    return [world.upload(bytes([n + 1]), number) for n in range(count)]


def test_each_call_does_at_most_what_it_is_told_to_and_the_next_goes_on(strict: World) -> None:
    strict.open_case()
    made = many(strict, 7)
    strict.close_case()
    strict.clock.move(90 * DAY)
    assert [begin_due(strict.custody, 3) for _ in range(4)] == [3, 3, 1, 0]
    report = SweepReport()
    assert [erase_pending(strict.custody, report, 4) for _ in range(3)] == [4, 3, 0]
    assert report.erased == 7
    assert {strict.state(bundle) for bundle in made} == {"erased"}


def test_erasing_in_pages_keeps_to_what_it_is_told(strict: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last page is as long as what is left of the limit: a sweep ends in time for the next one."""
    monkeypatch.setattr(sweeping, "BATCH", 3)
    strict.open_case()
    many(strict, 7)
    strict.close_case()
    strict.clock.move(90 * DAY)
    begin_due(strict.custody, 7)
    assert [erase_pending(strict.custody, SweepReport(), 4) for _ in range(3)] == [4, 3, 0]


def test_the_oldest_deadline_goes_first(strict: World) -> None:
    first = strict.upload(b"1", None)
    strict.clock.move(DAY)
    strict.upload(b"2", None)
    strict.clock.move(100 * DAY)
    begin_due(strict.custody, 1)
    assert [bundle for _, bundle in pending_erasures(strict.custody, 5)] == [first]


def test_a_case_gives_one_erasure_and_each_unclaimed_bundle_its_own(strict: World) -> None:
    strict.open_case(NUMBER)
    strict.open_case(OTHER_NUMBER)
    many(strict, 2, NUMBER)
    many(strict, 2, OTHER_NUMBER)
    strict.close_case(NUMBER)
    strict.close_case(OTHER_NUMBER)
    many(strict, 2, None)
    strict.clock.move(90 * DAY)
    sweep(strict.custody)
    found = erasure_steps.list_erasures(strict.custody, strict.operator, None, 50).items
    assert sorted((row.scope, row.cause) for row in found) == [
        ("bundle", "unclaimed"),
        ("bundle", "unclaimed"),
        ("case", "deadline"),
        ("case", "deadline"),
    ]
    assert all(row.proven_at is not None and not row.on_demand for row in found)


def test_a_page_of_wrong_index_rows_does_not_hide_the_due_behind_it(strict: World) -> None:
    strict.open_case()
    kept = many(strict, 4)
    due = strict.upload(b"due", None)
    strict.clock.move(90 * DAY)
    long_ago = strict.clock.now() - 10 * DAY
    wrong = update(bundles).where(bundles.c.id.in_(kept)).values(due_at=long_ago)
    strict.custody.records.write(lambda tx: tx.change(wrong))
    assert begin_due(strict.custody, 2) == 1
    assert [strict.state(bundle) for bundle in (*kept, due)] == ["complete"] * 4 + ["erasing"]


def test_the_index_only_proposes_and_the_rule_decides(strict: World) -> None:
    """A due_at that is wrong erases nothing, and is put right."""
    strict.open_case()
    bundle = strict.upload(b"1")
    wrong = update(bundles).where(bundles.c.id == bundle).values(due_at=strict.clock.now() - DAY)
    strict.custody.records.write(lambda tx: tx.change(wrong))
    assert begin_due(strict.custody) == 0
    assert (strict.state(bundle), strict.row(bundle).due_at) == ("complete", None)


def test_a_second_sweep_finds_nothing_to_do_and_writes_nothing(strict: World) -> None:
    strict.open_case()
    many(strict, 3)
    strict.close_case()
    strict.clock.move(90 * DAY)
    assert sweep(strict.custody).erased == 3
    before = len(strict.entries())
    assert sweep(strict.custody) == SweepReport()
    assert len(strict.entries()) == before


def test_sweeps_in_several_places_at_once_erase_each_bundle_once(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        made = many(world, 12)
        late = [world.announce(5) for _ in range(3)]
        world.close_case()
        world.clock.move(90 * DAY)
        with ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(lambda _: sweep(world.custody), range(4)))
        assert sum(report.begun + report.expired for report in reports) == len(made) + len(late)
        assert {world.state(bundle) for bundle in (*made, *late)} == {"erased"}
        done = [row.bundle for row in world.entries() if row.action == "bundle.erased"]
        assert sorted(done) == sorted([*made, *late]), "one entry each"
        assert sum(row.action == "erasure.proven" for row in world.entries()) == len(
            {row.subject for row in world.entries() if row.action == "erasure.requested"}
        )


def test_a_bundle_that_cannot_be_read_back_now_keeps_no_other_waiting(strict: World) -> None:
    strict.open_case()
    stuck, *others = [strict.announce(1) for _ in range(4)]
    for bundle in (stuck, *others):
        strict.send(bundle, b"1")
        strict.clock.move(DAY)

    class Unreadable:
        def __getattr__(self, name: str) -> object:
            return getattr(strict.custody.objects, name)

        def open_part(self, bundle_id: str, part_id: str) -> object:
            if bundle_id == stuck:
                raise StoreUnavailable("no answer")
            return strict.custody.objects.open_part(bundle_id, part_id)

    custody, report = but(strict, objects=Unreadable()).custody, SweepReport()
    for _ in range(200):
        verify_received(custody, report, limit=1)
    assert [strict.state(bundle) for bundle in (stuck, *others)] == ["received"] + ["complete"] * 3


def test_no_two_clocks_read_the_same_bundle_back(strict: World) -> None:
    strict.open_case()
    for bundle in [strict.announce(1) for _ in range(8)]:
        strict.send(bundle, b"1")
    chosen = []

    def note(_custody: object, bundle_id: str, _rest: object) -> None:
        """One that takes so long that all others come meanwhile."""
        chosen.append(bundle_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "verify_bundle", note)
        for _ in range(100):
            verify_received(strict.custody, SweepReport(), limit=1)
    assert len(chosen) == len(set(chosen)) == 8


def test_an_upload_whose_parts_cannot_be_fixed_now_stops_no_read_back(strict: World) -> None:
    strict.open_case()
    stuck, waits = strict.announce(1), strict.announce(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retention.custody.uploads.upload_session.finish_upload", lambda *_: None)
        strict.send(stuck, b"1")
    strict.send(waits, b"2")

    class Unreachable:
        def __getattr__(self, name: str) -> object:
            return getattr(strict.custody.objects, name)

        def complete(self, *_: object) -> None:
            raise StoreUnavailable("no answer")

    report = SweepReport()
    verify_received(but(strict, objects=Unreachable()).custody, report, limit=5)
    assert (report.failed, report.verified) == (1, 1)
    assert (strict.state(stuck), strict.state(waits)) == ("receiving", "complete")
    assert sweep(strict.custody).verified == 1
    assert strict.state(stuck) == "complete"


def test_expired_uploads_are_begun_in_batches(strict: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    strict.open_case()
    late = [strict.announce(5) for _ in range(5)]
    strict.clock.move(7 * DAY)
    assert begin_expired(strict.custody, 2) == 2
    assert sweep(strict.custody).expired == 3
    assert {strict.row(bundle).erased_cause for bundle in late} == {"upload-expired"}


def test_a_batch_of_expired_uploads_holds_both_kinds_together(strict: World) -> None:
    """Unfinished ones and partial ones that nobody used are found by two queries, under one limit."""
    strict.open_case()
    for _ in range(2):
        strict.announce(5)
        strict.send(create_partial(strict.custody, strict.stamp, 5, None).id, b"piece")
    strict.clock.move(7 * DAY)
    assert [begin_expired(strict.custody, 3), begin_expired(strict.custody, 3)] == [3, 1]


def test_what_comes_back_of_an_erased_bundle_goes_again_with_its_key(tmp_path: Path) -> None:
    """Its volumes were not mounted, or were put back from before: nothing was found, and so nothing remained."""
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.upload(b"content")
        empty = tmp_path / "empty"
        away = but(world, objects=LocalObjectStore(empty / "objects"), keys=LocalKeyStore(empty / "keys"))
        erasure_steps.request_bundle_erasure(away.custody, world.operator, bundle)
        sweep(away.custody)
        assert world.state(bundle) == "erased"
        remove_orphans(world.custody)
        assert world.custody.objects.remains(bundle) == []
        assert world.custody.keys.remains(bundle) == []


def test_few_erasures_are_begun_in_one_transaction_and_a_case_is_one_of_them(strict: World) -> None:
    """The lock that all writers wait for is held for some erasures, however many bundles are due."""
    strict.open_case()
    of_case = many(strict, sweeping.BEGUN_AT_ONCE + 2)
    strict.close_case()
    strict.clock.move(DAY)  # so that the case's are due first
    many(strict, sweeping.BEGUN_AT_ONCE + 2, None)
    strict.clock.move(90 * DAY)
    begun = []
    while count := begin_due(strict.custody):
        begun.append(count)
    assert begun == [len(of_case) + sweeping.BEGUN_AT_ONCE - 1, 3]


def test_without_anything_due_or_late_the_writers_lock_is_not_taken(strict: World) -> None:
    strict.open_case()
    many(strict, 2)
    strict.announce(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(strict.custody.records), "write", lambda *_: pytest.fail("it took the lock"))
        assert begin_due(strict.custody) == begin_expired(strict.custody) == 0
