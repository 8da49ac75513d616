"""The sequencer under crashes: the store fails at each call, before and after it persisted; then all is verified."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from audit.log.append import latest_note
from audit.log.sequencer import Sequencer, TreeDamagedError
from audit.log.tables import audit_checkpoints, audit_entries
from audit.log.verify import verify_folder
from audit.tlog.checkpoint import Checkpoint, Signer, open_checkpoint
from audit.tlog.merkle import leaf_hash, node_hash, root
from audit.tlog.tile_store import LocalTileStore

MakeLog = Callable[[], Any]


class StoreCrashedError(Exception):
    pass


class StrictTileStore:
    """A store that fails at one call, before or after persisting, and forbids changing what must not change."""

    def __init__(self, folder: Path, fail_at: int | None, persists: bool) -> None:
        self._inner = LocalTileStore(folder)
        self._fail_at = fail_at
        self._persists = persists
        self._seen: dict[str, bytes] = {}
        self.calls = 0

    def put(self, path: str, data: bytes) -> None:
        if path != "checkpoint":
            assert self._seen.setdefault(path, data) == data, f"{path} was written with other bytes"
        self.calls += 1
        if self.calls == self._fail_at:
            if self._persists:
                self._inner.put(path, data)
            raise StoreCrashedError(path)
        self._inner.put(path, data)

    def get(self, path: str) -> bytes:
        return self._inner.get(path)


def checkpoint_sizes(log: Any) -> list[int]:
    with log.engine.connect() as connection:
        sizes = select(audit_checkpoints.c.size).order_by(audit_checkpoints.c.size)
        return list(connection.execute(sizes).scalars())


def assert_everything_verifies(log: Any, size: int) -> None:
    verdict = log.verify()
    assert (verdict.problems, verdict.leaves) == ((), size)
    mirrored = verify_folder(log.tiles, log.signer.verifier)
    assert (mirrored.problems, mirrored.leaves) == ((), size)


def test_an_empty_log_has_no_checkpoint(log: Any) -> None:
    assert Sequencer(log.engine, log.tiles, log.signer, log.clock).run_once() is None
    assert log.verify().problems == ()


def test_a_run_gives_the_leaves_their_places_and_signs_the_tree(log: Any) -> None:
    log.write(5)
    checkpoint = Sequencer(log.engine, log.tiles, log.signer, log.clock).run_once()
    with log.engine.connect() as connection:
        rows = connection.execute(select(audit_entries).order_by(audit_entries.c.row)).all()
        note = latest_note(connection)
    assert [row.leaf_index for row in rows] == [0, 1, 2, 3, 4]

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(rows[index].leaf)
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    assert checkpoint == Checkpoint("casevault.test/log", 5, root(5, node))
    assert note is not None
    assert open_checkpoint(note, log.signer.verifier) == checkpoint
    assert log.tiles.get("checkpoint") == note.encode()


def test_a_run_with_nothing_new_signs_nothing_new(log: Any) -> None:
    log.grow([3])
    before = log.tiles.get("checkpoint")
    log.sequence()
    assert checkpoint_sizes(log) == [3]
    assert log.tiles.get("checkpoint") == before


def test_a_run_takes_no_more_than_its_limit(log: Any) -> None:
    log.write(7)
    for size in ([3], [3, 6], [3, 6, 7], [3, 6, 7]):
        log.sequence(limit=3)
        assert checkpoint_sizes(log) == size
    assert_everything_verifies(log, 7)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_a_log_grown_by_any_steps_verifies(make_log: MakeLog, steps: list[int]) -> None:
    log = make_log()
    for step in steps:
        log.write(step)
        log.sequence()
    assert_everything_verifies(log, sum(steps))


def test_a_log_with_a_third_level_of_tiles_verifies(log: Any) -> None:
    log.write(65_536 + 300)
    for _ in range(4):
        log.sequence(limit=20_000)
    assert log.tiles.get("tile/2/000.p/1")
    assert log.tiles.get("tile/1/000")
    assert_everything_verifies(log, 65_836)


@pytest.mark.parametrize("persists", [False, True])
@pytest.mark.parametrize("sizes", [(1, 3), (250, 260), (255, 256), (256, 513), (300, 1100)])
def test_a_crash_of_the_store_at_any_call_is_made_good(
    make_log: MakeLog, sizes: tuple[int, int], persists: bool
) -> None:
    fail_at = 1
    while True:
        log = make_log()
        log.grow([sizes[0]])
        store = StrictTileStore(log.folder / "tiles", fail_at, persists)
        log.tiles = store
        log.write(sizes[1] - sizes[0])
        try:
            log.sequence()
        except StoreCrashedError:
            published = open_checkpoint(store.get("checkpoint").decode(), log.signer.verifier)
            assert verify_folder(store, log.signer.verifier).problems == ()
            assert published.size in sizes
        else:
            break
        log.write(2)  # the log goes on being written while the store is down
        log.sequence()
        assert_everything_verifies(log, sizes[1] + 2)
        fail_at += 1
    assert fail_at == store.calls + 1 >= 4  # entries, hashes and checkpoint at the least


class _Crash:
    """A clock that fails once: the run dies between the tiles and the checkpoint."""

    def now(self) -> Any:
        raise StoreCrashedError


def test_a_crash_before_the_checkpoint_is_recorded_is_made_good(log: Any) -> None:
    log.grow([3])
    log.write(4)
    with pytest.raises(StoreCrashedError):
        Sequencer(log.engine, log.tiles, log.signer, _Crash()).run_once()
    assert checkpoint_sizes(log) == [3]
    log.sequence()
    assert checkpoint_sizes(log) == [3, 7]
    assert_everything_verifies(log, 7)


def test_an_unpublished_batch_is_signed_before_the_next_is_numbered(log: Any) -> None:
    log.grow([3])
    log.write(4)
    with pytest.raises(StoreCrashedError):
        Sequencer(log.engine, log.tiles, log.signer, _Crash()).run_once()
    log.write(5)
    log.sequence()
    assert checkpoint_sizes(log) == [3, 7, 12]


def test_a_published_checkpoint_that_was_lost_is_published_again(log: Any) -> None:
    log.grow([3, 6])
    newest = log.tiles.get("checkpoint")
    (log.folder / "tiles" / "checkpoint").unlink()
    log.sequence()
    assert log.tiles.get("checkpoint") == newest


def test_sequencers_and_writers_at_once_leave_one_log(log: Any) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(6):
                log.sequence(limit=40)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    log.write(50)
    for thread in threads:
        thread.start()
    for _ in range(10):
        log.write(20)
    for thread in threads:
        thread.join()
    while len(checkpoint_sizes(log)) == 0 or checkpoint_sizes(log)[-1] < log.written:
        log.sequence()
    assert errors == []
    assert_everything_verifies(log, 250)


def test_a_clock_set_back_does_not_make_checkpoints_look_reordered(log: Any) -> None:
    log.grow([2])
    log.clock.at = log.clock.at.replace(year=2020)
    log.grow([4])
    assert log.verify().problems == ()


def test_nothing_is_signed_over_a_leaf_changed_after_it_was_sequenced(log: Any) -> None:
    log.grow([3])
    log.write(4)
    with pytest.raises(StoreCrashedError):
        Sequencer(log.engine, log.tiles, log.signer, _Crash()).run_once()
    other = "CAST(replace(leaf, 'engineer', 'operator') AS BLOB)"
    log.change(f"UPDATE audit_entries SET leaf = {other} WHERE leaf_index = 5")  # noqa: S608
    with pytest.raises(TreeDamagedError, match="from 3 on"):
        log.sequence()
    assert checkpoint_sizes(log) == [3]


def test_nothing_is_signed_over_leaves_that_are_missing(log: Any) -> None:
    log.grow([3])
    log.write(4)
    with pytest.raises(StoreCrashedError):
        Sequencer(log.engine, log.tiles, log.signer, _Crash()).run_once()
    log.change("DELETE FROM audit_entries WHERE leaf_index = 5")
    with pytest.raises(TreeDamagedError, match="missing"):
        log.sequence()


def test_nothing_is_signed_on_top_of_tiles_that_do_not_lead_to_the_last_checkpoint(log: Any) -> None:
    log.grow([300])
    tile = log.tile("tile/1/000.p/1")
    tile.write_bytes(bytes(32))
    log.write(4)
    with pytest.raises(TreeDamagedError, match="checkpoint at 300"):
        log.sequence()
    assert checkpoint_sizes(log) == [300]


def test_nothing_is_signed_after_a_checkpoint_of_another_key(log: Any) -> None:
    log.grow([3])
    log.signer = Signer("casevault.test/other", bytes(32))
    log.write(1)
    with pytest.raises(TreeDamagedError, match="no signature by"):
        log.sequence()


def test_a_run_that_stopped_at_its_limit_says_that_more_waits(log: Any) -> None:
    log.write(5)
    sequencer = Sequencer(log.engine, log.tiles, log.signer, log.clock)
    sequencer.run_once(3)
    assert sequencer.has_more
    sequencer.run_once(3)
    assert not sequencer.has_more


def test_a_run_that_finds_nothing_new_takes_no_lock_that_appenders_wait_for(log: Any) -> None:
    log.write(5)
    sequencer = Sequencer(log.engine, log.tiles, log.signer, log.clock)
    signed = sequencer.run_once()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequencer, "_locked", lambda _self: pytest.fail("it took the lock"))
        assert sequencer.run_once() == signed
    log.write(1)
    newer = sequencer.run_once()
    assert newer is not None
    assert newer.size == 6
