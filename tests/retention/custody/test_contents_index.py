"""A bundle's contents index is made once, sealed, and goes with the bundle; without it everything is as it was."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from retention.archive import contents as contents_module
from retention.custody import contents_index
from retention.custody.contents_index import LEASE, LONGEST, Pace, Stopped, index_next, stored_contents
from retention.custody.erasure import erasure_steps
from retention.custody.uploads.completion import opener, received_manifest, verify_bundle
from retention.envelope.format import SealBroken
from retention.jobs.scrub import SETTLED, scrub_next
from retention.jobs.scrub import Pace as ScrubPace
from retention.jobs.sweep import remove_orphans
from retention.objects.store_errors import StoreUnavailable
from retention.records.tables import bundles
from tests.fakes.stores import StrictObjectStore
from tests.retention.archive.making import tgz_of, zip_of
from tests.retention.custody.world import DAY, World, but, local_world, postgres_records, strict_world

CANARY = "canary-7f3a"
LINES = b"".join(b"2026-11-29 02:00:%02d %s line %d\n" % (n % 60, CANARY.encode(), n) for n in range(20_000))
CONTENT = zip_of({f"{CANARY}.log": LINES, f"in-{CANARY}.tgz": tgz_of({f"deep-{CANARY}.log": LINES})})
PACE = Pace(60)


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "sqlite":
        with strict_world() as made:
            yield opened_case(made)
        return
    with postgres_records() as records, strict_world(records) as made:
        yield opened_case(made)


def opened_case(world: World) -> World:
    world.open_case()
    world.assign(world.engineer)
    return world


def work_off(world: World, pace: Pace = PACE) -> int:
    number = 0
    while index_next(world.custody, pace):
        number += 1
    return number


def keys_of(world: World, bundle: str) -> list[str] | None:
    """The keys of the bundle's files, by its index."""
    row = world.row(bundle)
    manifest = received_manifest(world.custody, bundle)
    with (
        opener(world.custody, manifest) as sealed,
        stored_contents(sealed.stored_index, row.index_id) as index,
    ):
        if index is None:
            return None
        found = [index.archive(key) for key in index.archives]
        return [one.file.key for archive in found if archive for one in index.files(archive)]


def objects(world: World) -> StrictObjectStore:
    assert isinstance(world.custody.objects, StrictObjectStore)
    return world.custody.objects


def indexes(world: World) -> list[str]:
    return [part for _, part in objects(world).parts if part.startswith("idx_")]


def test_each_complete_bundle_gets_one_index_and_no_entry_of_it(world: World) -> None:
    two = [world.upload(CONTENT), world.upload(b"no archive\n")]
    before = len(world.entries())
    assert work_off(world) == 2
    assert work_off(world) == 0
    assert keys_of(world, two[0]) == [
        *(f"in-{CANARY}.tgz!/deep-{CANARY}.log", f"{CANARY}.log", f"in-{CANARY}.tgz"),
    ]
    assert keys_of(world, two[1]) == []
    assert len(indexes(world)) == 2
    assert len(world.entries()) == before, "it is nobody's read"


def test_what_is_not_complete_or_has_no_byte_gets_none(world: World) -> None:
    world.announce(10)
    received = world.announce(4)
    world.send(received, b"logs")
    empty = world.announce(0)
    assert verify_bundle(world.custody, empty) == "complete"
    assert work_off(world) == 0


def test_bundles_from_before_get_theirs(world: World) -> None:
    """The migration marks them by the time of their last check, which is long ago."""
    bundle = world.upload(CONTENT)
    world.clock.move(80 * DAY)
    assert world.row(bundle).index_next_at == world.row(bundle).checked_at
    assert work_off(world) == 1
    assert keys_of(world, bundle) is not None


def test_nothing_of_it_is_readable_outside_its_seal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with local_world(tmp_path) as world:
        opened_case(world)
        bundle = world.upload(CONTENT, file_name="a.zip")
        work_off(world)
        assert keys_of(world, bundle)
        world.sequence()
        found = [
            path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
        ]
        assert found == []
        assert CANARY not in caplog.text
        assert [CANARY in str(value) for value in world.row(bundle)] == [False] * len(world.row(bundle))
        world.custody.keys.destroy(bundle)
        (stored,) = tmp_path.rglob("idx_*")
        assert stored.read_bytes(), "what is left without the key tells nothing"
        assert CANARY.encode() not in stored.read_bytes()


def test_it_is_erased_with_its_bundle(world: World) -> None:
    bundle = world.upload(CONTENT)
    work_off(world)
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    assert erasure_steps.erase_bundle(world.custody, bundle) == "erased"
    assert indexes(world) == world.custody.objects.remains(bundle) == []
    assert (world.row(bundle).index_id, world.row(bundle).index_next_at) == (None, None)


@pytest.mark.parametrize("when", ["walking", "committed", "kept"])
def test_an_erasure_that_comes_between_leaves_nothing(world: World, when: str) -> None:
    bundle = world.upload(CONTENT)

    def erase(*_: object) -> None:
        if world.state(bundle) != "erased":
            erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
            erasure_steps.erase_bundle(world.custody, bundle)

    late = Between(
        world.custody.objects, {"committed": "keep_index", "kept": "keep_index"}.get(when), when, erase
    )
    twin = but(world, objects=late)
    assert index_next(twin.custody, Pace(60, erase) if when == "walking" else PACE)
    assert (world.state(bundle), world.custody.objects.remains(bundle)) == ("erased", [])
    assert work_off(world) == 0
    objects(world).violations.clear()  # a late writer's object is what this is about


class Between:
    """A store beside which something else happens, before or after a call."""

    def __init__(self, inner: Any, call: str | None, when: str, act: Callable[[], None]) -> None:
        self._inner, self._call, self._when, self._act = inner, call, when, act

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name != self._call:
            return real

        def call(*given: Any) -> Any:
            if self._when == "committed":
                self._act()
            real(*given)
            if self._when == "kept":
                self._act()

        return call


def test_a_late_index_of_an_erased_bundle_is_an_orphan_and_found(world: World) -> None:
    bundle = world.upload(CONTENT)
    work_off(world)
    late = dict(objects(world).parts)
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    erasure_steps.erase_bundle(world.custody, bundle)
    objects(world).parts.update({name: raw for name, raw in late.items() if name[1].startswith("idx_")})
    assert remove_orphans(world.custody) == 1
    assert world.custody.objects.remains(bundle) == []


def test_a_failure_is_tried_again_later_and_ever_later_and_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.upload(CONTENT)
    tries = 0

    def failing(*_: Any, **__: Any) -> bool:
        nonlocal tries
        tries += 1
        raise ValueError(f"{CANARY} is in the message")

    with monkeypatch.context() as patch:
        patch.setattr(contents_index, "write_index", failing)
        for _ in range(14 * 24):
            work_off(world)
            world.clock.move(timedelta(hours=1))
    assert 8 <= tries <= 22, "ten minutes, twenty ... a day"
    assert CANARY not in caplog.text and "ValueError at " in caplog.text
    other = world.upload(b"sound\n")
    assert work_off(world) == 1
    assert world.row(other).index_id is not None
    world.clock.move(LONGEST)
    assert work_off(world) == 1
    assert len(indexes(world)) == 2


def test_a_store_that_is_away_costs_time_only(world: World) -> None:
    bundle = world.upload(CONTENT)

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    twin = but(world, objects=Between(world.custody.objects, "keep_index", "committed", away))
    assert index_next(twin.custody, PACE)
    assert world.row(bundle).index_id is None
    world.clock.move(LEASE)
    assert work_off(world) == 1
    assert world.row(bundle).index_id is not None
    assert len(indexes(world)) == 1, "what the first try stored is gone"


def test_a_process_that_is_told_to_stop_lets_go_and_the_next_one_goes_on(world: World) -> None:
    bundle = world.upload(CONTENT)
    before = world.row(bundle)

    def stop(_seconds: float) -> None:
        raise Stopped

    assert index_next(world.custody, Pace(60, stop)) is False
    after = world.row(bundle)
    assert (after.index_next_at, after.index_tries) == (before.index_next_at, before.index_tries)
    assert objects(world).writing == {}
    assert work_off(world) == 1


def test_one_process_has_the_bundle_for_as_long_as_it_reads_and_no_longer_when_it_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_index, "RENEW_SECONDS", 0.0)
    bundle = world.upload(CONTENT)
    seen: list[bool] = []

    def busy(_seconds: float) -> None:
        world.clock.move(LEASE / 2)
        seen.append(index_next(world.custody, PACE))

    assert index_next(world.custody, Pace(60, busy))
    assert seen and not any(seen)
    kept = world.row(bundle).index_id
    assert kept is not None

    other = world.upload(CONTENT)
    taken: list[bool] = []

    def silent(_seconds: float) -> None:
        if not taken:
            world.clock.move(LEASE)
            taken.append(True)
            taken.append(index_next(world.custody, PACE))

    assert index_next(world.custody, Pace(60, silent))
    assert taken == [True, True]
    assert len([name for name in objects(world).parts if name == (other, world.row(other).index_id)]) == 1


def test_when_its_time_is_over_what_was_reached_is_kept(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bundle = world.upload(CONTENT)
    ticks = iter(range(10**9))
    assert index_next(world.custody, Pace(8, ticks=lambda: float(next(ticks))))
    assert keys_of(world, bundle) == []
    assert "ends before the bundle does" in caplog.text
    assert work_off(world) == 0


@pytest.mark.parametrize("how", ["missing", "flipped", "version"])
def test_an_index_that_is_not_what_was_kept_is_passed_over_and_made_anew_by_the_scrubbing(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = world.upload(CONTENT)
    with monkeypatch.context() as patch:
        if how == "version":
            patch.setattr(contents_module, "FORMAT", b"cvindex9")
        work_off(world)
    (name,) = [name for name in objects(world).parts if name[1].startswith("idx_")]
    if how == "missing":
        del objects(world).parts[name]
    if how == "flipped":
        raw = objects(world).parts[name]
        objects(world).parts[name] = raw[:-1] + bytes([raw[-1] ^ 1])
    assert keys_of(world, bundle) is None
    world.clock.move(SETTLED)
    while scrub_next(world.custody, ScrubPace(30 * DAY, lambda _: None)):
        pass
    assert world.state(bundle) == "complete", "nothing is wrong with the bundle"
    assert work_off(world) == 1
    assert keys_of(world, bundle)
    kept = world.row(bundle).index_id
    world.clock.move(31 * DAY)
    while scrub_next(world.custody, ScrubPace(30 * DAY, lambda _: None)):
        pass
    assert world.row(bundle).index_id == kept


def test_damage_that_the_pass_meets_is_found_as_a_reader_would_find_it(world: World) -> None:
    bundle = world.upload(CONTENT)
    (name, *_) = [name for name in objects(world).parts if name[1].startswith("prt_")]
    raw = objects(world).parts[name]
    objects(world).parts[name] = raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:]
    assert work_off(world) == 1
    assert world.state(bundle) == "damaged"
    world.clock.move(LONGEST)
    assert work_off(world) == 0


def test_a_bad_archive_costs_its_index_the_rest_and_nothing_else(world: World) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as made:
        made.writestr("first.log", b"x" * 100)
        made.writestr("second.log", b"y" * 100)
    bundle = world.upload(raw.getvalue()[:250])
    assert world.state(bundle) == "complete"
    assert work_off(world) == 1
    assert keys_of(world, bundle) == ["first.log", "second.log"]


def test_an_index_named_by_the_record_of_another_bundle_does_not_open(world: World) -> None:
    one, other = world.upload(CONTENT), world.upload(b"other\n")
    work_off(world)
    kept = world.row(one).index_id
    objects(world).parts[other, kept] = objects(world).parts[one, kept]
    world.custody.records.write(
        lambda tx: tx.change(update(bundles).where(bundles.c.id == other).values(index_id=kept))
    )
    assert keys_of(world, other) is None
    with (
        opener(world.custody, received_manifest(world.custody, other)) as sealed,
        sealed.stored_index(kept) as stored,
        pytest.raises(SealBroken),
    ):
        stored.read_at(0, 1)
