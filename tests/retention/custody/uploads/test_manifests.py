"""The sealed manifest beside the parts: objects and keys alone give a bundle back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import completion, manifests, upload_session
from retention.envelope.bundle_file import BundleOpener
from retention.envelope.manifest import Manifest
from retention.jobs.sweep import remove_orphans, sweep
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store import ObjectStore
from retention.objects.store_errors import PartMissing
from tests.fakes.stores import StrictObjectStore
from tests.retention.custody.world import World, but, local_world

CONTENT = bytes(range(256)) * 90


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)


def manifest_ids(store: ObjectStore, bundle: str) -> list[str]:
    return [name for name in store.list_parts(bundle) if name.startswith("mft_")]


def open_from_the_stores(world: World, bundle: str) -> bytes:
    """The bundle by its objects and its keys; the records are not asked."""
    objects, key = world.custody.objects, world.custody.wrapper.unwrap(world.custody.keys.get(bundle), bundle)
    (manifest_id,) = manifest_ids(objects, bundle)
    unknown = Manifest(bundle, [])
    with BundleOpener(key, unknown, lambda part_id: objects.open_part(bundle, part_id)) as sealed:
        manifest = sealed.stored_manifest(manifest_id)
    with BundleOpener(key, manifest, lambda part_id: objects.open_part(bundle, part_id)) as sealed:
        return b"".join(sealed.read(0, sealed.length))


def test_a_bundle_of_24_parts_opens_by_objects_and_keys_alone(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(len(CONTENT))
        world.send(bundle, CONTENT[:5000])
        world.send(bundle, CONTENT[5000:], 5000)
        assert len(world.custody.objects.list_parts(bundle)) == 24 + 1
        assert open_from_the_stores(world, bundle) == CONTENT
        sweep(world.custody)
        assert open_from_the_stores(world, bundle) == CONTENT


def test_the_manifest_is_durable_before_the_bundle_is_received(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.open_case()
    bundle, seen = strict.announce(len(CONTENT)), []
    write = strict.custody.records.write

    def watched(work: object) -> object:
        before = strict.state(bundle)
        value = write(work)  # type: ignore[arg-type]
        if (before, strict.state(bundle)) == ("receiving", "received"):
            seen.append(manifest_ids(strict.custody.objects, bundle))
        return value

    monkeypatch.setattr(strict.custody.records, "write", watched)
    strict.send(bundle, CONTENT)
    assert [len(found) for found in seen] == [1]


def test_the_manifest_is_erased_with_its_bundle_and_is_among_what_remains(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    (manifest_id,) = manifest_ids(strict.custody.objects, bundle)
    assert any(manifest_id in name for name in strict.custody.objects.remains(bundle))
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    sweep(strict.custody)
    assert strict.state(bundle) == "erased"
    assert strict.custody.objects.remains(bundle) == []


def test_an_erasure_between_the_manifest_and_its_completion_leaves_nothing(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(len(CONTENT))
        with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
            session.feed(CONTENT)
            session._custody = but(world, objects=Erasing(world, bundle)).custody
            session.park()
        sweep(world.custody)
        remove_orphans(world.custody)
        assert world.state(bundle) == "erased"
        assert world.custody.objects.remains(bundle) == []
        assert manifest_ids(world.custody.objects, bundle) == []


class Erasing:
    """The world's object store; the bundle is erased, wholly, when it is to be completed."""

    def __init__(self, world: World, bundle: str) -> None:
        self._world, self._bundle, self._store = world, bundle, world.custody.objects

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def complete(self, bundle_id: str, part_ids: list[str]) -> None:
        erasure_steps.request_bundle_erasure(self._world.custody, self._world.operator, self._bundle)
        sweep(self._world.custody)
        self._store.complete(bundle_id, part_ids)


def test_of_two_that_complete_at_once_one_manifest_stays(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        for _ in range(5):
            bundle = world.announce(3000)
            world.send(bundle, CONTENT[:2000])
            with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 2000) as session:
                session.feed(CONTENT[2000:3000])
                session._end_part()
            errors: list[Exception] = []

            def finish(bundle: str = bundle, errors: list[Exception] = errors) -> None:
                try:
                    completion.finish_upload(world.custody, world.stamp, bundle)
                except Exception as error:
                    errors.append(error)

            threads = [threading.Thread(target=finish) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            assert world.state(bundle) == "received"
            assert open_from_the_stores(world, bundle) == CONTENT[:3000]


def test_a_manifest_taken_away_by_another_completion_is_written_again(strict: World) -> None:
    strict.open_case()
    bundle = strict.announce(len(CONTENT))
    store = strict.custody.objects
    assert isinstance(store, StrictObjectStore)
    complete, calls = store.complete, []

    def lose_it_once(bundle_id: str, part_ids: list[str]) -> None:
        calls.append(part_ids[-1])
        if len(calls) == 1:
            del store.parts[bundle_id, part_ids[-1]]
        complete(bundle_id, part_ids)

    store.complete = lose_it_once  # type: ignore[method-assign, assignment]
    strict.send(bundle, CONTENT)
    assert len(set(calls)) == 2
    assert manifest_ids(store, bundle) == calls[1:]


def test_a_part_that_is_gone_is_not_tried_for_ever(strict: World) -> None:
    strict.open_case()
    bundle = strict.announce(3000)
    strict.send(bundle, CONTENT[:2000])
    store = strict.custody.objects
    assert isinstance(store, StrictObjectStore)
    del store.parts[sorted(store.parts)[0]]
    with pytest.raises(PartMissing):
        strict.send(bundle, CONTENT[2000:3000], 2000)
    assert strict.state(bundle) == "receiving"


def test_it_takes_a_look_by_the_read_back_to_give_an_older_bundle_its_manifest(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(3000)
        world.send(bundle, CONTENT[:3000])
        store = world.custody.objects
        assert isinstance(store, LocalObjectStore)
        store.complete(bundle, [name for name in store.list_parts(bundle) if name.startswith("prt_")])
        assert manifest_ids(store, bundle) == [], "as it was received before there were manifests"
        sweep(world.custody)
        assert world.state(bundle) == "complete"
        assert open_from_the_stores(world, bundle) == CONTENT[:3000]


def test_what_a_read_back_that_was_killed_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(3000)
        world.send(bundle, CONTENT[:3000])
        manifest = completion.read_manifest(world.custody, bundle)
        key = world.custody.wrapper.unwrap(world.custody.keys.get(bundle), bundle)
        manifests._write(world.custody, manifest, key)
        assert len(manifest_ids(world.custody.objects, bundle)) == 2
        sweep(world.custody)
        assert world.state(bundle) == "complete"
        assert open_from_the_stores(world, bundle) == CONTENT[:3000]


def test_a_wrapped_key_that_is_broken_leaves_the_damage_to_the_read_back(tmp_path: Path) -> None:
    """Otherwise the upload would be tried for ever: nothing can be sealed under that key."""
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(3000)
        path = world.folder / "keys" / f"{bundle}.key"
        with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
            session.feed(CONTENT[:3000])
            path.write_bytes(b"not a wrapped key")
            session.park()
        assert world.state(bundle) == "received"
        sweep(world.custody)
        assert world.state(bundle) == "damaged"
