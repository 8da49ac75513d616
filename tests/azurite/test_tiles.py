"""The log's tiles on Blob Storage, where others write at the worst moment, and where the service refuses."""

from __future__ import annotations

import pytest
from azure.storage.blob import BlobServiceClient

from audit.tlog.tile_store import CHECKPOINT_PATH, TileConflictError, TilesUnavailableError, tile_path
from audit.tlog.tile_store_azure import AzureTileStore
from tests.azurite.conftest import ACCOUNT_KEY
from tests.azurite.scripted import Said, Scripted
from tests.contracts.tile_store_contract import note

TILE = tile_path(0, 0, 5)


@pytest.fixture
def slow(by_script: BlobServiceClient, container: str) -> AzureTileStore:
    """The store whose requests others overtake."""
    return AzureTileStore(by_script.get_container_client(container))


def test_a_writer_that_lost_its_lock_does_not_publish_over_a_newer_checkpoint(
    tiles: AzureTileStore, slow: AzureTileStore, scripted: Scripted
) -> None:
    tiles.put(CHECKPOINT_PATH, note(5))
    scripted.first("PUT", lambda: tiles.put(CHECKPOINT_PATH, note(9)))
    with pytest.raises(TileConflictError, match="with 9 entries: one with 7 must not"):
        slow.put(CHECKPOINT_PATH, note(7))
    assert tiles.get(CHECKPOINT_PATH) == note(9)


def test_the_first_checkpoint_of_a_slow_writer_gives_way_to_a_newer_one(
    tiles: AzureTileStore, slow: AzureTileStore, scripted: Scripted
) -> None:
    scripted.first("PUT", lambda: tiles.put(CHECKPOINT_PATH, note(9)))
    with pytest.raises(TileConflictError):
        slow.put(CHECKPOINT_PATH, note(7))
    assert tiles.get(CHECKPOINT_PATH) == note(9)


def test_a_larger_checkpoint_is_published_though_another_came_between(
    tiles: AzureTileStore, slow: AzureTileStore, scripted: Scripted
) -> None:
    tiles.put(CHECKPOINT_PATH, note(5))
    scripted.first("PUT", lambda: tiles.put(CHECKPOINT_PATH, note(6)))
    slow.put(CHECKPOINT_PATH, note(7))
    assert tiles.get(CHECKPOINT_PATH) == note(7)


def test_an_answer_that_was_lost_is_no_conflict(
    tiles: AzureTileStore, slow: AzureTileStore, scripted: Scripted
) -> None:
    scripted.says("PUT", Said(503, after=True), Said(500, after=True))
    slow.put(TILE, b"tile")
    slow.put(CHECKPOINT_PATH, note(5))
    assert (tiles.get(TILE), tiles.get(CHECKPOINT_PATH)) == (b"tile", note(5))


def test_a_new_tile_is_one_request_and_so_is_reading_it(slow: AzureTileStore, scripted: Scripted) -> None:
    slow.put(TILE, b"tile")
    slow.get(TILE)
    assert [request.split()[0] for request in scripted.requests] == ["PUT", "GET"]


def test_throttling_is_waited_out(slow: AzureTileStore, scripted: Scripted, waits: list[float]) -> None:
    scripted.says("PUT", Said(503, headers={"Retry-After": "3"}), Said(429, headers={"Retry-After": "2"}))
    slow.put(TILE, b"tile")
    assert waits == [3, 2]


def test_a_container_that_is_missing_is_named_and_is_no_empty_log(service: BlobServiceClient) -> None:
    lost = AzureTileStore(service.get_container_client("no-such-log"))
    for act in (lambda: lost.get(CHECKPOINT_PATH), lambda: lost.put(CHECKPOINT_PATH, note(5))):
        with pytest.raises(TilesUnavailableError, match="no-such-log: ContainerNotFound; make the container"):
            act()


@pytest.mark.usefixtures("waits")
def test_a_service_that_refuses_is_told_in_words_without_its_address(
    slow: AzureTileStore, scripted: Scripted
) -> None:
    scripted.says("GET", Said(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(TilesUnavailableError, match="Storage Blob Data Contributor") as caught:
        slow.get(TILE)
    assert "127.0.0.1" not in str(caught.value)
    assert ACCOUNT_KEY not in str(caught.value)


def test_a_service_that_is_away_is_told_so(slow: AzureTileStore, scripted: Scripted) -> None:
    scripted.says("GET", *[Said(503)] * 7)
    with pytest.raises(TilesUnavailableError, match="cannot be read in the container"):
        slow.get(TILE)
