from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.durable import replace_file
from audit.tlog.merkle import leaf_hash, node_hash, root
from audit.tlog.tile_store import (
    LocalTileStore,
    TileConflictError,
    TileError,
    TileMissingError,
    TileReader,
    decode_entries,
    encode_entries,
    entries_path,
    leaves_under,
    tile_path,
)
from tests.contracts.tile_store_contract import note


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (tile_path(0, 0), "tile/0/000"),
        (tile_path(0, 999), "tile/0/999"),
        (tile_path(0, 1000), "tile/0/x001/000"),
        (tile_path(1, 1234067), "tile/1/x001/x234/067"),  # the example of C2SP tlog-tiles
        (tile_path(2, 0, 1), "tile/2/000.p/1"),
        (entries_path(1234067), "tile/entries/x001/x234/067"),
        (entries_path(273, 112), "tile/entries/273.p/112"),
    ],
)
def test_paths_are_those_of_tlog_tiles(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("width", [0, 257, -1])
def test_there_is_no_tile_of_another_width(width: int) -> None:
    with pytest.raises(ValueError, match="1 to 256"):
        tile_path(0, 0, width)


@given(st.integers(0, 7), st.integers(0, 10**7), st.integers(1, 256))
def test_a_tiles_path_tells_how_many_leaves_it_needs(level: int, number: int, width: int) -> None:
    assert leaves_under(tile_path(level, number, width)) == (number * 256 + width) * 256**level
    assert leaves_under(entries_path(number, width)) == number * 256 + width


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/1000", "tile/0/000.p/", "tile/x/000", "tile/0/000/1"])
def test_what_is_no_tile_needs_none(path: str) -> None:
    assert leaves_under(path) is None


@given(st.lists(st.binary(max_size=40) | st.just(b"x" * 65535), max_size=20))
def test_entries_survive_their_tile(leaves: list[bytes]) -> None:
    assert decode_entries(encode_entries(leaves)) == leaves


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01a\x00"])
def test_an_entries_tile_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(TileError):
        decode_entries(data)


class _Memory(dict[str, bytes]):
    def put(self, path: str, data: bytes) -> None:
        self[path] = data

    def get(self, path: str) -> bytes:  # type: ignore[override]
        try:
            return self[path]
        except KeyError:
            raise TileMissingError(path) from None


def _memory_of(size: int) -> tuple[_Memory, Callable[[int, int], bytes]]:
    """The tiles of a tree of `size` as C2SP tlog-tiles defines each hash, and the definition itself."""
    levels = [[leaf_hash(number.to_bytes(3, "big")) for number in range(size)]]
    while len(levels[-1]) > 1:
        row = levels[-1]
        levels.append([node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)])
    memory = _Memory()
    for level in range(0, len(levels), 8):
        for start in range(0, len(levels[level]), 256):
            tile = levels[level][start : start + 256]
            memory[tile_path(level // 8, start // 256, len(tile))] = b"".join(tile)
    return memory, lambda level, index: levels[level][index]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70_000), st.data())
def test_any_node_of_the_tree_is_read_from_its_tile(size: int, data: st.DataObject) -> None:
    memory, node = _memory_of(size)
    reader = TileReader(memory, size)
    level = data.draw(st.integers(0, size.bit_length() - 1))
    index = data.draw(st.integers(0, (size >> level) - 1))
    assert reader.get_node(level, index) == node(level, index)
    assert root(size, reader.get_node) == root(size, node)
    with pytest.raises(TileError):
        reader.get_node(level, size >> level)


def test_a_tile_of_the_wrong_length_is_refused() -> None:
    memory, _ = _memory_of(5)
    memory["tile/0/000.p/5"] += b"x"
    with pytest.raises(TileError, match="5 hashes"):
        TileReader(memory, 5).get_node(0, 0)


def test_a_local_store_gives_back_what_was_put(tmp_path: Path) -> None:
    store = LocalTileStore(tmp_path / "deep" / "tiles")
    with pytest.raises(TileMissingError):
        store.get("tile/0/000.p/1")
    for data in (b"one", b"two", hashlib.sha256().digest()):
        store.put("tile/0/x001/000.p/1", data)
        assert store.get("tile/0/x001/000.p/1") == data
    store.put("tile/0/x001/000", b"full")
    assert store.get("tile/0/x001/000") == b"full"


def test_a_local_store_is_its_owners_only_and_leaves_no_scraps(tmp_path: Path) -> None:
    LocalTileStore(tmp_path / "tiles").put("tile/0/000", b"data")
    found = [path for path in (tmp_path / "tiles").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "tiles").as_posix() for path in found] == ["tile/0/000"]
    for path in (tmp_path / "tiles").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_tile_is_read_only_once_it_is_there_and_may_be_put_again(tmp_path: Path) -> None:
    store = LocalTileStore(tmp_path)
    for data in (b"never signed", b"numbered anew", b"numbered anew"):
        store.put("tile/0/000.p/7", data)
    store.put("checkpoint", note(5))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"7": 0o400, "checkpoint": 0o600}


def test_a_writer_that_is_suspended_cannot_write_over_what_another_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock from its look at what is there to its write, so the other one waits, and comes after it."""
    looked, goes_on = threading.Event(), threading.Event()

    def suspended(*args: Any) -> None:
        looked.set()
        goes_on.wait(60)
        replace_file(*args)

    monkeypatch.setattr("audit.tlog.tile_store.replace_file", suspended)
    first = threading.Thread(target=LocalTileStore(tmp_path).put, args=("tile/0/000.p/5", b"of before"))
    first.start()
    assert looked.wait(60)
    monkeypatch.setattr("audit.tlog.tile_store.replace_file", replace_file)

    def publish() -> None:
        other = LocalTileStore(tmp_path)
        other.put("tile/0/000.p/5", b"signed")
        other.put("checkpoint", note(5))

    second = threading.Thread(target=publish)
    second.start()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    goes_on.set()
    for thread in (first, second):
        thread.join(60)
    assert LocalTileStore(tmp_path).get("tile/0/000.p/5") == b"signed"
    with pytest.raises(TileConflictError):
        LocalTileStore(tmp_path).put("tile/0/000.p/5", b"of before")


def test_a_put_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalTileStore(tmp_path)
    store.put("checkpoint", note(5))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audit.tlog.tile_store.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put("checkpoint", note(6))
    assert store.get("checkpoint") == note(5)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_put_is_durable_file_first_then_every_folder_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    target = tmp_path / "tile" / "0" / "000"
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, target.exists()))
        fsync(descriptor)

    monkeypatch.setattr("audit.tlog.tile_store.os.fsync", record)
    LocalTileStore(tmp_path).put("tile/0/000", b"data")
    number = {path: path.stat().st_ino for path in (tmp_path, tmp_path / "tile", target.parent, target)}
    assert synced == [
        (number[tmp_path], False),  # the two new folders
        (number[tmp_path / "tile"], False),
        (number[target], False),  # the bytes, before they have their name
        (number[target.parent], True),  # the name
    ]
