"""Lines that break and a service that is busy: nothing is lost, nothing is taken for done that is not."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from azure.storage.blob import BlobServiceClient

from retention.envelope.data_keys import WrappedKey
from retention.objects.azure.blob_service import LONGEST_PAUSE, TRIES
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.azure.part_writer import BLOCK
from retention.objects.store import RESERVE_MAX, PartWriter
from retention.objects.store_errors import KeyDestroyed, KeyExists, PartMissing, StoreFull, StoreUnavailable
from tests.azurite.proxy import CuttingProxy
from tests.azurite.scripted import Said, Scripted
from tests.contracts.object_store_contract import pattern, read, write
from tests.fakes.ids import bundle, part

B = bundle(1)
FIRST = WrappedKey("kek-1", "test", b"first" * 12)
SECOND = WrappedKey("kek-2", "test", b"second" * 12)
CONTENT = pattern(2 * BLOCK + 12345)


@pytest.fixture
def cut(by_proxy: BlobServiceClient, container: str) -> AzureBlobObjectStore:
    return AzureBlobObjectStore(by_proxy, container)


@pytest.fixture
def busy(by_script: BlobServiceClient, container: str) -> AzureBlobObjectStore:
    return AzureBlobObjectStore(by_script, container)


@pytest.fixture
def busy_keys(by_script: BlobServiceClient, container: str) -> AzureBlobKeyStore:
    return AzureBlobKeyStore(by_script, container)


def test_a_line_cut_in_the_middle_of_blocks_loses_nothing(
    store: AzureBlobObjectStore, cut: AzureBlobObjectStore, proxy: CuttingProxy
) -> None:
    proxy.up.extend([BLOCK // 2, BLOCK // 3, 1000])
    write(cut, B, part(1), CONTENT)
    store.complete(B, [part(1)])
    assert read(store, B, part(1)) == CONTENT
    assert proxy.cut == 3


def test_an_answer_that_is_lost_changes_nothing(
    store: AzureBlobObjectStore, busy: AzureBlobObjectStore, scripted: Scripted
) -> None:
    """The service did it, and the client hears 503: it asks again."""
    scripted.says("PUT comp=block&", *[Said(503, after=True)] * 3)
    write(busy, B, part(1), CONTENT)
    scripted.says("PUT comp=blocklist", Said(500, "InternalError", after=True))
    busy.complete(B, [part(1)])
    assert read(store, B, part(1)) == CONTENT
    scripted.says("DELETE", Said(500, "OperationTimedOut", after=True))
    assert busy.destroy(B) == 1
    assert store.remains(B) == []


def test_a_line_cut_in_the_middle_of_a_read_is_read_again(
    store: AzureBlobObjectStore, cut: AzureBlobObjectStore, proxy: CuttingProxy
) -> None:
    write(store, B, part(1), CONTENT)
    store.complete(B, [part(1)])
    with closing(cut.open_part(B, part(1))) as reader:
        proxy.down.extend([400_000, 300_000])
        assert reader.read_at(0, reader.size) == CONTENT
    assert proxy.cut == 2


def test_a_line_that_stays_cut_is_unavailable_and_the_part_is_not_there(
    store: AzureBlobObjectStore, cut: AzureBlobObjectStore, proxy: CuttingProxy, waits: list[float]
) -> None:
    writer = cut.new_part(B, part(1))
    writer.reserve(1000)
    writer.advance(1000)
    proxy.up.extend([10] * TRIES)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        writer.commit()
    assert len(waits) == TRIES - 1
    assert store.list_parts(B) == []
    store.destroy(B)
    assert store.remains(B) == []


def fill(writer: PartWriter, blocks: int) -> None:
    for _ in range(blocks * (BLOCK // RESERVE_MAX)):
        writer.reserve(RESERVE_MAX)
        writer.advance(RESERVE_MAX)


def test_a_failure_while_blocks_are_on_their_way_comes_out_of_reserve(
    busy: AzureBlobObjectStore, scripted: Scripted
) -> None:
    with busy.new_part(B, part(1)) as writer:
        scripted.says("PUT comp=block&", *[Said(503)] * (2 * TRIES))
        with pytest.raises(StoreUnavailable, match="ServerBusy"):
            fill(writer, 5)
        with pytest.raises(ValueError, match="committed or aborted"):
            writer.reserve(1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_given_the_time_it_asks_for(
    busy: AzureBlobObjectStore, scripted: Scripted, waits: list[float], status: int
) -> None:
    scripted.says("PUT comp=block&", Said(status, headers={"Retry-After": "7"}))
    scripted.says("PUT comp=block&", Said(status, headers={"Retry-After": "7200"}))
    write(busy, B, part(1), b"x")
    assert waits == [7, LONGEST_PAUSE]
    assert busy.list_parts(B) == [part(1)]


@pytest.mark.parametrize("said", [Said(429), Said(503), Said(500, "InternalError"), Said(408)], ids=repr)
def test_a_service_that_stays_busy_is_unavailable_after_so_many_tries(
    busy: AzureBlobObjectStore,
    busy_keys: AzureBlobKeyStore,
    scripted: Scripted,
    waits: list[float],
    said: Said,
) -> None:
    scripted.says("GET", *[said] * TRIES)
    with pytest.raises(StoreUnavailable):
        busy.remains(B)
    assert len(waits) == TRIES - 1
    assert all(0 < wait <= LONGEST_PAUSE for wait in waits)
    scripted.says("GET", *[said] * TRIES)
    with pytest.raises(StoreUnavailable):
        busy_keys.get(B)


def test_a_missing_container_is_never_taken_for_an_empty_one(by_script: BlobServiceClient) -> None:
    store, keys = AzureBlobObjectStore(by_script, "nowhere"), AzureBlobKeyStore(by_script, "nowhere")
    for call in (
        lambda: store.remains(B),
        lambda: store.list_parts(B),
        lambda: store.destroy(B),
        lambda: store.complete(B, []),
        lambda: list(store.list_bundles()),
        lambda: keys.get(B),
        lambda: keys.exists(B),
        lambda: keys.remains(B),
        lambda: keys.destroy(B),
        lambda: keys.put(B, FIRST),
        lambda: list(keys.list_bundles()),
    ):
        with pytest.raises(StoreUnavailable, match="ContainerNotFound; make the container"):
            call()


def test_a_refused_identity_is_told_what_it_lacks(busy: AzureBlobObjectStore, scripted: Scripted) -> None:
    scripted.says("PUT", Said(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(StoreUnavailable, match="Storage Blob Data Contributor"):
        busy.new_part(B, part(1))


def test_too_many_blocks_are_a_full_store(busy: AzureBlobObjectStore, scripted: Scripted) -> None:
    scripted.says("PUT", Said(409, "BlockCountExceedsLimit"))
    with pytest.raises(StoreFull):
        busy.new_part(B, part(1))


def test_no_message_holds_an_address_or_a_signature(busy: AzureBlobObjectStore, scripted: Scripted) -> None:
    scripted.says(
        "PUT", Said(403, "AuthorizationFailure", body=b"<Error><Message>sig=secret</Message></Error>")
    )
    with pytest.raises(StoreUnavailable) as told:
        busy.new_part(B, part(1))
    assert not {"127.0.0.1", "sig", "secret", str(scripted.port)} & set(str(told.value).split())
    assert "sig" not in str(told.value)


def test_a_kept_key_whose_answer_was_lost_is_found_there(
    busy_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    scripted.says("PUT", Said(503, after=True))
    with pytest.raises(KeyExists):
        busy_keys.put(B, FIRST)
    assert busy_keys.get(B) == FIRST


def test_a_replaced_or_destroyed_key_whose_answer_was_lost_is_done(
    busy_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    busy_keys.put(B, FIRST)
    scripted.says("PUT", Said(503, after=True))
    busy_keys.replace(B, SECOND)
    assert busy_keys.get(B) == SECOND
    scripted.says("PUT", Said(503, after=True))
    busy_keys.destroy(B)
    with pytest.raises(KeyDestroyed):
        busy_keys.get(B)


def test_a_part_destroyed_while_it_is_read_is_missing(store: AzureBlobObjectStore) -> None:
    write(store, B, part(1), CONTENT)
    store.complete(B, [part(1)])
    with closing(store.open_part(B, part(1))) as reader:
        store.destroy(B)
        write(store, B, part(1), CONTENT[::-1])
        store.complete(B, [part(1)])
        with pytest.raises(PartMissing):
            reader.read_at(0, 10)


def test_reading_ahead_gives_the_same_bytes_for_any_steps(store: AzureBlobObjectStore) -> None:
    content = pattern(3 << 20)
    write(store, B, part(1), pattern(777))
    write(store, B, part(2), content)
    store.complete(B, [part(1), part(2)])
    choose = random.Random(20261120)
    with closing(store.open_part(B, part(2))) as reader:
        for _ in range(12):
            start, step, length = (
                choose.randrange(1 << 20),
                choose.randrange(1, 300_000),
                choose.randrange(1, 70_000),
            )
            for offset in range(start, start + 8 * step, step):
                assert reader.read_at(offset, length) == content[offset : offset + length]
