"""The suite every tile store passes. Subclass it and give the fixture `tiles`: an empty TileStore."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.tlog.checkpoint import Signer, claimed_size, sign_checkpoint
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    COSIGNED_PATH,
    TileConflictError,
    TileMissingError,
    TileStore,
    entries_path,
    tile_path,
)

SIGNER = Signer("tests.example/log", bytes(32))
PATH = tile_path(0, 0, 5)


def note(size: int, root: bytes = bytes(32)) -> bytes:
    return sign_checkpoint(size, root, SIGNER).encode()


class TileStoreContract:
    def test_what_was_put_is_got_back(self, tiles: TileStore) -> None:
        for path, data in (
            (PATH, b"tile"),
            (entries_path(1000, 7), b"\x00\xff\n" * 100_000),
            (tile_path(1, 0), b""),
            (CHECKPOINT_PATH, note(5)),
        ):
            tiles.put(path, data)
            assert tiles.get(path) == data

    def test_what_was_never_put_is_missing(self, tiles: TileStore) -> None:
        tiles.put(tile_path(0, 0, 3), b"partial")
        for path in (tile_path(0, 0), tile_path(0, 0, 2), CHECKPOINT_PATH):
            with pytest.raises(TileMissingError):
                tiles.get(path)

    def test_the_same_bytes_may_be_put_again(self, tiles: TileStore) -> None:
        tiles.put(CHECKPOINT_PATH, note(5))
        for _ in range(2):
            tiles.put(PATH, b"tile")
            tiles.put(CHECKPOINT_PATH, note(5))
        assert tiles.get(PATH) == b"tile"
        assert tiles.get(CHECKPOINT_PATH) == note(5)

    @pytest.mark.parametrize(
        "path", [PATH, entries_path(0, 5), tile_path(0, 1), entries_path(1), tile_path(1, 0, 2)]
    )
    def test_a_tile_under_the_published_checkpoint_never_changes(self, tiles: TileStore, path: str) -> None:
        tiles.put(path, b"as signed")
        tiles.put(CHECKPOINT_PATH, note(512))
        with pytest.raises(TileConflictError, match="under the published checkpoint"):
            tiles.put(path, b"another")
        assert tiles.get(path) == b"as signed"

    @pytest.mark.parametrize("path", [entries_path(2, 1), tile_path(0, 2, 1), tile_path(1, 0, 3)])
    def test_a_tile_that_was_never_signed_may_be_written_anew(self, tiles: TileStore, path: str) -> None:
        tiles.put(path, b"by a database that was restored to before this")
        tiles.put(CHECKPOINT_PATH, note(512))
        tiles.put(path, b"numbered anew")
        assert tiles.get(path) == b"numbered anew"

    @pytest.mark.parametrize("path", [CHECKPOINT_PATH, COSIGNED_PATH])
    def test_a_checkpoint_only_ever_grows(self, tiles: TileStore, path: str) -> None:
        for size in (5, 9, 10):
            tiles.put(path, note(size))
            assert tiles.get(path) == note(size)
        with pytest.raises(TileConflictError, match="with 10 entries: one with 9 must not"):
            tiles.put(path, note(9))
        assert tiles.get(path) == note(10)

    def test_what_is_no_checkpoint_takes_the_place_of_none(self, tiles: TileStore) -> None:
        tiles.put(CHECKPOINT_PATH, note(5))
        with pytest.raises(TileConflictError, match="is not a checkpoint"):
            tiles.put(CHECKPOINT_PATH, b"\xff scribble")
        assert tiles.get(CHECKPOINT_PATH) == note(5)

    def test_of_many_who_publish_at_once_the_largest_stays(self, tiles: TileStore) -> None:
        def publish(size: int) -> None:
            try:
                tiles.put(CHECKPOINT_PATH, note(size))
            except TileConflictError:
                assert claimed_size(tiles.get(CHECKPOINT_PATH).decode()) > size

        sizes = [7, 40, 3, 31, 12, 39, 8, 22]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(publish, sizes))
        assert tiles.get(CHECKPOINT_PATH) == note(40)
