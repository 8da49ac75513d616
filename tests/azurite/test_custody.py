"""Custody on the Azure stores: a bundle's life, an upload that changes hands, a key that nobody can bring back."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from retention.custody.erasure import erasure_steps
from retention.custody.key_rotation import rewrap_all
from retention.custody.uploads import completion, upload_session
from retention.domain.faults import Erased, TakenOver
from retention.envelope.format import ciphertext_length
from retention.envelope.part_stream import PartOpener
from retention.envelope.sealed_manifest import open_manifest
from retention.jobs.sweep import sweep
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from tests.azurite.scripted import Scripted
from tests.fakes.stores import MemoryKeyWrapper
from tests.retention.custody.world import DAY, TICK, World, build

CONTENT = random.Random(1).randbytes(200_000)


@pytest.fixture
def world(service: BlobServiceClient, container: str, tmp_path: Path) -> Iterator[World]:
    keys = AzureBlobKeyStore(service, f"{container}-keys")
    service.create_container(f"{container}-keys")
    world = build(tmp_path, AzureBlobObjectStore(service, container), keys)
    world.open_case()
    yield world
    world.custody.records.close()
    service.delete_container(f"{container}-keys")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 30_000)


def test_a_bundle_lives_and_ends_on_azure_storage(world: World) -> None:
    bundle = world.announce(len(CONTENT))
    world.send(bundle, CONTENT[:77_777])
    world.send(bundle, CONTENT[77_777:], 77_777)
    completion.verify_bundle(world.custody, bundle)
    assert world.row(bundle).sha256 == hashlib.sha256(CONTENT).hexdigest()
    world.assign(world.engineer)
    world.grant()
    assert world.read(bundle) == CONTENT
    world.close_case()
    world.clock.move(90 * DAY - TICK)
    assert sweep(world.custody).erased == 0
    world.clock.move(TICK)
    assert sweep(world.custody).erased == 1
    assert world.custody.objects.remains(bundle) == world.custody.keys.remains(bundle) == []
    with pytest.raises(Erased):
        world.read(bundle)
    world.sequence()
    assert world.log_problems() == []


def test_an_upload_erased_while_it_runs_leaves_nothing(world: World) -> None:
    bundle = world.announce(len(CONTENT))
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
        session.feed(CONTENT[:40_000])
        erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
        assert sweep(world.custody).erased == 1
        with pytest.raises(Erased):
            session.feed(CONTENT[40_000:])
    assert world.custody.objects.remains(bundle) == []


def test_an_upload_taken_over_in_mid_part_is_whole_in_the_end(world: World) -> None:
    bundle = world.announce(len(CONTENT))
    elsewhere = upload_session.Uploads()  # another process: it cannot be told to stop
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as first:
        first.feed(CONTENT[:20_000])
        with upload_session.begin(world.custody, elsewhere, world.stamp, bundle, 0) as second:
            second.feed(CONTENT[:100_000])
            with pytest.raises(TakenOver):
                first.feed(CONTENT[20_000:60_000])
            assert second.park() == 100_000
    world.send(bundle, CONTENT[100_000:], 100_000)
    completion.verify_bundle(world.custody, bundle)
    assert world.row(bundle).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_rewrapping_leaves_bundles_and_erased_keys_alone(world: World) -> None:
    kept, erased = world.upload(CONTENT), world.upload(CONTENT[:1000])
    erasure_steps.request_bundle_erasure(world.custody, world.operator, erased)
    sweep(world.custody)
    assert isinstance(world.custody.wrapper, MemoryKeyWrapper)
    world.custody.wrapper.rotate()
    assert rewrap_all(world.custody, world.administrator).rewrapped == 1
    assert rewrap_all(world.custody, world.administrator).rewrapped == 0
    world.assign(world.engineer)
    world.grant()
    assert world.read(kept) == CONTENT


def test_the_blob_alone_is_what_the_page_says_parts_and_then_the_manifest(
    world: World, service: BlobServiceClient, container: str
) -> None:
    bundle = world.upload(CONTENT)
    blob = service.get_blob_client(container, bundle).download_blob().readall()
    named, length = struct.unpack(">30sQ", blob[-38:])
    start = len(blob) - 38 - length
    key = world.custody.wrapper.unwrap(world.custody.keys.get(bundle), bundle)
    (name,) = [each for each in world.custody.objects.list_parts(bundle) if each.startswith("mft_")]
    assert named.decode() == name
    manifest = open_manifest(key, bundle, name, len(blob) - start, lambda at, n: blob[start + at :][:n])
    at, content = 0, b""
    for part in manifest.parts:
        size = ciphertext_length(part.length)
        sealed = blob[at : at + size]
        opener = PartOpener(key, bundle, part.part_id, size, lambda at, n, sealed=sealed: sealed[at : at + n])
        content += b"".join(opener.read_through(part.digest))
        at += size
    assert (at, content) == (start, CONTENT)


def test_the_block_list_is_read_once_and_then_asked_whether_it_still_holds(
    by_script: BlobServiceClient, scripted: Scripted, world: World, container: str
) -> None:
    bundle = world.upload(CONTENT)
    store = AzureBlobObjectStore(by_script, container)
    for part_id in store.list_parts(bundle):
        with closing(store.open_part(bundle, part_id)) as reader:
            assert len(reader.read_at(0, 100)) == 100
    parts = len(store.list_parts(bundle))
    asked = [request.split()[0] for request in scripted.requests if "comp=blocklist" not in request]
    assert asked == ["GET"] + ["HEAD", "GET"] * (parts - 1)
    assert sum("comp=blocklist" in request for request in scripted.requests) == 1 + 2
