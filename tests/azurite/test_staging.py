"""Blobs that come in blocks, kept on the Azure stores: in parallel, replaced, committed, erased."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from retention.custody.access import manage_links
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import block_list, block_staging, completion
from retention.custody.uploads.block_list import BlockKind
from retention.custody.uploads.block_staging import Stoppable, Through
from retention.domain.bundle import CollectionType
from retention.domain.upload_link import Declared, LinkTerms
from retention.jobs.sweep import sweep
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from tests.retention.custody.world import DAY, NUMBER, World, build

PIECES = {f"{number:04}": random.Random(number).randbytes(50_000 + number) for number in range(8)}


@pytest.fixture
def world(service: BlobServiceClient, container: str, tmp_path: Path) -> Iterator[World]:
    keys = AzureBlobKeyStore(service, f"{container}-keys")
    service.create_container(f"{container}-keys")
    world = build(tmp_path, AzureBlobObjectStore(service, container), keys)
    world.open_case()
    yield world
    world.custody.records.close()
    service.delete_container(f"{container}-keys")


@pytest.fixture
def by(world: World) -> Through:
    terms = LinkTerms(expires_at=world.clock.now() + DAY, type=CollectionType.ON_DEMAND)
    issued = manage_links.create_case_link(world.custody, world.operator, NUMBER, None, terms)
    link = manage_links.find_link(world.custody, issued.id)
    assert link is not None
    return Through(world.custody, link, link.actor("192.0.2.7", "r-1"))


def stage(by: Through, block_id: str, content: bytes) -> str:
    with block_staging.begin_block(by, Stoppable(), "logs.zip", block_id, len(content), Declared()) as block:
        block.feed(content)
        block.keep()
    return block.bundle_id


def commit(by: Through, *ids: str) -> None:
    wanted = [(BlockKind.LATEST, block_id) for block_id in ids]
    block_list.commit_blocks(by, "logs.zip", wanted, Declared(), {"metadata": {}, "properties": {}})


def test_blocks_in_parallel_are_the_bundle_in_the_lists_order(world: World, by: Through) -> None:
    with ThreadPoolExecutor(4) as pool:
        (bundle,) = set(
            pool.map(lambda block_id: stage(by, block_id, PIECES[block_id]), sorted(PIECES)[::-1])
        )
    stage(by, "0003", b"replaced")
    commit(by, *[block_id for block_id in PIECES if block_id != "0005"])
    completion.verify_bundle(world.custody, bundle)
    world.assign(world.engineer)
    world.grant()
    expected = {**PIECES, "0003": b"replaced", "0005": b""}
    assert world.read(bundle) == b"".join(expected.values())
    assert len(world.custody.objects.list_parts(bundle)) == 7 + 1, "and the manifest"


def test_what_was_staged_and_not_committed_is_erased_to_the_last_block(world: World, by: Through) -> None:
    bundle = stage(by, "0001", PIECES["0001"])
    stage(by, "0002", PIECES["0002"])
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    sweep(world.custody)
    assert world.state(bundle) == "erased"
    assert world.custody.objects.remains(bundle) == world.custody.keys.remains(bundle) == []
