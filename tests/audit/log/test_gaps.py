"""Tiles that a restored store lacks are written again from the leaves; nothing is published without its tiles."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.log.sequencer import TilesBehindError, TreeDamagedError
from audit.log.tail_recovery import Missing, missing_tiles, repair_tiles
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.tile_store import CHECKPOINT_PATH, TileConflictError

SIZES = st.one_of(st.integers(1, 700), st.sampled_from([255, 256, 257, 511, 512, 513]))


def _restored(log: Any, old: int, new: int, kept: str) -> None:
    """A log of `new` entries whose tiles are those of when it had `old`."""
    tiles, copy = log.folder / "tiles", log.folder / "copy"
    log.grow([old])
    shutil.copytree(tiles, copy)
    log.grow([old + (new - old) // 2, new])
    note = (tiles / CHECKPOINT_PATH).read_bytes()
    shutil.rmtree(tiles)
    if kept != "nothing":
        shutil.copytree(copy, tiles)
    shutil.rmtree(copy)
    if kept == "the newest checkpoint as well":  # as a service published it that did not look
        (tiles / CHECKPOINT_PATH).write_bytes(note)


def _published(log: Any) -> int:
    return open_checkpoint(log.tiles.get(CHECKPOINT_PATH).decode(), log.signer.verifier).size


@pytest.mark.parametrize("kept", ["the older tiles", "nothing", "the newest checkpoint as well"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=SIZES, more=SIZES)
def test_tiles_of_before_are_made_good(make_log: Any, kept: str, old: int, more: int) -> None:
    log = make_log()
    _restored(log, old, old + more, kept)
    for new_entries in (0, 3):
        log.write(new_entries)
        with pytest.raises(TilesBehindError, match="restored from a back-up"):
            log.sequence()
    if kept == "the older tiles":
        assert _published(log) == old  # nothing was published meanwhile
    missing = missing_tiles(log.engine, log.tiles, log.signer.verifier)
    assert missing is not None
    assert (missing.start, missing.newest.size) == (0 if kept == "nothing" else old, old + more)
    repair_tiles(log.engine, log.tiles, missing)
    assert missing_tiles(log.engine, log.tiles, log.signer.verifier) is None
    log.sequence()
    assert _published(log) == old + more + 3
    assert log.verify().problems == ()


def test_a_sound_store_lacks_nothing(log: Any) -> None:
    assert missing_tiles(log.engine, log.tiles, log.signer.verifier) is None
    for size in (1, 256, 300):
        log.grow([size])
        assert missing_tiles(log.engine, log.tiles, log.signer.verifier) is None


def test_a_crash_while_repairing_is_made_good_by_repairing_again(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _restored(log, 300, 3000, "the older tiles")
    real, calls = log.tiles.put, iter(range(20))

    def put(path: str, data: bytes) -> None:
        if next(calls, None) is None:
            raise OSError("the machine died")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(log.tiles, "put", put)
        missing = missing_tiles(log.engine, log.tiles, log.signer.verifier)
        with pytest.raises(OSError, match="died"):
            repair_tiles(log.engine, log.tiles, missing)
    left = missing_tiles(log.engine, log.tiles, log.signer.verifier)
    assert left is not None
    repair_tiles(log.engine, log.tiles, left)
    log.sequence()
    assert log.verify().good


def test_leaves_that_were_changed_are_not_published(log: Any) -> None:
    _restored(log, 300, 600, "the older tiles")
    log.set_leaf(500, b"another leaf")
    missing = missing_tiles(log.engine, log.tiles, log.signer.verifier)
    with pytest.raises(TreeDamagedError, match="do not lead to the checkpoint at 600"):
        repair_tiles(log.engine, log.tiles, missing)
    assert _published(log) == 300


def test_a_tile_under_the_published_checkpoint_is_not_written_over(log: Any) -> None:
    """It differs: that is damage, and what was there is evidence."""
    log.grow([600])
    tile = log.tile("tile/0/001")
    tile.write_bytes(bytes(256 * 32))
    newest = open_checkpoint(log.tiles.get(CHECKPOINT_PATH).decode(), log.signer.verifier)
    with pytest.raises(TileConflictError):
        repair_tiles(log.engine, log.tiles, Missing(0, newest))
