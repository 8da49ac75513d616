"""Two at once, at the worst moment: another process acts just before a request arrives."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from azure.storage.blob import BlobServiceClient

from retention.envelope.data_keys import WrappedKey
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing, PartExists, PartMissing
from tests.azurite.scripted import Scripted
from tests.contracts.object_store_contract import pattern, read, write
from tests.fakes.ids import bundle, part

B = bundle(1)
FIRST = WrappedKey("kek-1", "test", b"first" * 12)
SECOND = WrappedKey("kek-2", "test", b"second" * 12)
THIRD = WrappedKey("kek-3", "test", b"third" * 12)


@pytest.fixture
def slow(by_script: BlobServiceClient, container: str) -> AzureBlobObjectStore:
    """The store whose requests others overtake."""
    return AzureBlobObjectStore(by_script, container)


@pytest.fixture
def slow_keys(by_script: BlobServiceClient, container: str) -> AzureBlobKeyStore:
    return AzureBlobKeyStore(by_script, container)


def assert_destroyed(keys: AzureBlobKeyStore) -> None:
    assert keys.remains(B) == []
    with pytest.raises(KeyDestroyed):
        keys.get(B)


def test_a_key_destroyed_before_the_first_put_arrives_stays_destroyed(
    keys: AzureBlobKeyStore, slow_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    scripted.first("PUT", lambda: keys.destroy(B))
    with pytest.raises(KeyDestroyed):
        slow_keys.put(B, FIRST)
    assert_destroyed(keys)


def test_a_key_destroyed_while_it_is_rewrapped_stays_destroyed(
    keys: AzureBlobKeyStore, slow_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    keys.put(B, FIRST)
    scripted.first("PUT", lambda: keys.destroy(B))
    with pytest.raises(KeyDestroyed):
        slow_keys.replace(B, SECOND)
    assert_destroyed(keys)


def test_of_two_first_keys_one_is_kept(
    keys: AzureBlobKeyStore, slow_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    scripted.first("PUT", lambda: keys.put(B, FIRST))
    with pytest.raises(KeyExists):
        slow_keys.put(B, SECOND)
    assert keys.get(B) == FIRST


def test_two_rewrappings_at_once_leave_a_whole_key(
    keys: AzureBlobKeyStore, slow_keys: AzureBlobKeyStore, scripted: Scripted
) -> None:
    keys.put(B, FIRST)
    scripted.first("PUT", lambda: keys.replace(B, SECOND))
    slow_keys.replace(B, THIRD)
    assert keys.get(B) == THIRD


def test_whatever_many_do_at_once_a_destroyed_key_is_gone(keys: AzureBlobKeyStore) -> None:
    def change(number: int) -> None:
        mine = WrappedKey(f"kek-{number}", "test", bytes([number]) * 60)
        for _ in range(5):
            with suppress(KeyExists, KeyDestroyed):
                keys.put(B, mine)
            with suppress(KeyMissing, KeyDestroyed):
                keys.replace(B, mine)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 3:
            keys.destroy(B)
    for thread in threads:
        thread.join()
    assert_destroyed(keys)


def test_a_part_whose_bundle_is_completed_before_its_last_block_arrives_is_missing_and_leaves_nothing(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    write(store, B, part(1), pattern(1000))
    late = slow.new_part(B, part(2))
    late.reserve(5)
    late.advance(5)
    scripted.first("PUT", lambda: store.complete(B, [part(1)]))
    with pytest.raises(PartMissing):
        late.commit()
    assert [name.rpartition("/")[2] for name in store.remains(B)] == [f"{part(1)}.sealed"]
    assert read(store, B, part(1)) == pattern(1000)


@pytest.mark.parametrize("request_overtaken", ["GET comp=blocklist", "PUT comp=block&"])
def test_an_abort_never_takes_away_a_bundle_completed_meanwhile(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted, request_overtaken: str
) -> None:
    def other_completes() -> None:
        write(store, B, part(1), pattern(1000))
        store.complete(B, [part(1)])

    aborted = slow.new_part(B, part(2))
    scripted.first(request_overtaken, other_completes)
    aborted.abort()
    assert read(store, B, part(1)) == pattern(1000)
    assert len(store.remains(B)) == 1


def test_a_bundle_destroyed_while_a_writer_aborts_is_gone(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    for request in ("GET comp=blocklist", "PUT comp=block&"):
        aborted = slow.new_part(B, part(2))
        scripted.first(request, lambda: store.destroy(B))
        aborted.abort()
        assert store.remains(B) == []


def test_a_part_destroyed_before_its_last_block_arrives_is_missing_and_leaves_nothing(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    late = slow.new_part(B, part(1))
    late.reserve(5)
    late.advance(5)
    scripted.first("PUT", lambda: store.destroy(B))
    with pytest.raises(PartMissing):
        late.commit()
    assert store.remains(B) == []


def test_of_two_writers_of_one_part_that_finish_at_once_at_most_one_succeeds(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    """The second finishes between the first's last block and the first's look at what is there."""
    first, second = slow.new_part(B, part(1)), store.new_part(B, part(1))
    for writer, content in ((first, b"first"), (second, b"other")):
        writer.reserve(5)[:] = content
        writer.advance(5)
    outcomes = []

    def finish_second() -> None:
        with pytest.raises(PartExists):
            second.commit()
        outcomes.append("second refused")

    scripted.first("GET comp=blocklist", finish_second)
    first.commit()
    store.complete(B, [part(1)])
    assert read(store, B, part(1)) == b"first"
    assert outcomes == ["second refused"]


def test_completing_twice_at_once_is_completing_once(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    write(store, B, part(1), pattern(1000))
    scripted.first("PUT comp=blocklist", lambda: store.complete(B, [part(1)]))
    slow.complete(B, [part(1)])
    assert read(store, B, part(1)) == pattern(1000)


def test_a_bundle_destroyed_while_it_is_completed_does_not_come_back(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted
) -> None:
    write(store, B, part(1), pattern(1000))
    scripted.first("PUT comp=blocklist", lambda: store.destroy(B))
    with pytest.raises(PartMissing):
        slow.complete(B, [part(1)])
    assert store.remains(B) == []


@pytest.mark.parametrize("late", ["completed once more", "a late writer's blocks dropped"])
def test_a_reader_reads_on_when_the_same_list_is_committed_beside_it(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted, late: str
) -> None:
    write(store, B, part(1), pattern(1000))
    if late == "completed once more":
        readers = []

        def other_completes() -> None:
            store.complete(B, [part(1)])
            readers.append(store.open_part(B, part(1)))

        scripted.first("PUT comp=blocklist", other_completes)
        slow.complete(B, [part(1)])
        reader = readers[0]
    else:
        store.complete(B, [part(1)])
        reader = store.open_part(B, part(1))
        slow.new_part(B, part(2)).abort()
    assert reader.read_at(0, 1000) == pattern(1000)
    reader.close()


@pytest.mark.parametrize("request_overtaken", ["GET comp=blocklist", "PUT comp=block"])
def test_an_abort_never_takes_away_a_part_that_was_finished_meanwhile(
    store: AzureBlobObjectStore, slow: AzureBlobObjectStore, scripted: Scripted, request_overtaken: str
) -> None:
    aborted = slow.new_part(B, part(2))
    scripted.first(request_overtaken, lambda: write(store, B, part(1), pattern(1000)))
    aborted.abort()
    store.complete(B, [part(1)])
    assert read(store, B, part(1)) == pattern(1000)
