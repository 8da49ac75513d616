"""Adopting the tail of a restored log: it goes on where it was, and nothing is signed twice."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.log.sequencer import RolledBackError, Sequencer, TreeDamagedError
from audit.log.tail_recovery import NotOurTailError, recorded_size, recover_tail
from audit.mirror.copying import Mirror
from audit.mirror.store import MirrorTiles
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.merkle import verify_consistency
from audit.tlog.proofs import prove_consistency
from audit.tlog.tile_store import TileMissingError, entries_path


def back_up(log: Any) -> Path:
    to: Path = log.folder / "backup.db"
    with sqlite3.connect(log.folder / "audit.db") as source, sqlite3.connect(to) as target:
        source.backup(target)
    return to


def restore(log: Any, backup: Path) -> None:
    log.engine.dispose()
    with sqlite3.connect(backup) as source, sqlite3.connect(log.folder / "audit.db") as target:
        source.backup(target)


def published(log: Any) -> Checkpoint:
    return open_checkpoint(log.tiles.get("checkpoint").decode(), log.signer.verifier)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.integers(0, 600), waiting=st.integers(0, 20), lost=st.integers(1, 600), after=st.integers(0, 20)
)
def test_a_restored_log_goes_on_where_it_was(
    before: int, waiting: int, lost: int, after: int, make_log: Any
) -> None:
    log = make_log()
    log.write(before)
    log.sequence()
    log.write(waiting)  # in the back-up, not yet numbered
    backup = back_up(log)
    log.write(lost)
    log.sequence()
    signed, note = published(log), log.tiles.get("checkpoint")
    restore(log, backup)
    log.write(after)  # the service came up and was used before anybody looked
    if after:
        with pytest.raises(RolledBackError):
            log.sequence()
    assert recover_tail(log.engine, log.tiles, signed, log.clock.now()) == waiting + lost
    log.sequence()
    assert recover_tail(log.engine, log.tiles, signed, log.clock.now()) == 0
    with log.engine.connect() as connection:
        again = connection.exec_driver_sql(
            "SELECT note FROM audit_checkpoints WHERE size = ?", (signed.size,)
        )
        assert again.scalar() == note.decode()  # the very note, not a second one
    assert published(log).size == signed.size + after
    proof = prove_consistency(log.tiles, signed.size, signed.size + after)
    verify_consistency(signed.size, signed.size + after, proof, signed.root, published(log).root)
    verdict = log.verify(witnessed=[note.decode()])
    assert verdict.good
    assert verdict.leaves == before + waiting + lost + after


def test_only_what_the_back_up_lacked_is_redacted(log: Any) -> None:
    log.grow([3])
    log.write(2)  # numbered after the back-up: row and particulars are in it
    backup = back_up(log)
    log.write(4)
    log.sequence()
    signed = published(log)
    restore(log, backup)
    recover_tail(log.engine, log.tiles, signed, log.clock.now())
    with log.engine.connect() as connection:
        sql = "SELECT leaf_index, particulars IS NULL, redacted_at IS NULL FROM audit_entries ORDER BY leaf_index"
        rows = connection.exec_driver_sql(sql).all()
    assert [tuple(row) for row in rows] == [(at, int(at > 4), int(at <= 4)) for at in range(9)]


def test_a_log_whose_tiles_were_restored_with_it_is_brought_up_from_the_witness(
    log: Any, tmp_path: Path
) -> None:
    witness = LocalMirrorStore(tmp_path / "witness")
    log.grow([300])
    backup = back_up(log)
    kept = {path: path.read_bytes() for path in (log.folder / "tiles").rglob("*") if path.is_file()}
    log.grow([700])
    Mirror(log.engine, log.tiles, log.signer.verifier, witness, log.clock, timedelta(0)).run_once()
    signed = published(log)
    restore(log, backup)
    for path in [path for path in (log.folder / "tiles").rglob("*") if path.is_file()]:
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)

    asking = Sequencer(log.engine, log.tiles, log.signer, log.clock, witnessed=lambda: witness.newest() or 0)
    log.write(1)
    with pytest.raises(RolledBackError, match="holds 300 entries of a log of 700"):
        asking.run_once()
    assert published(log).size == 300
    assert recover_tail(log.engine, MirrorTiles(witness, 700), signed, log.clock.now()) == 400
    asking.run_once()
    verdict = log.verify(witnessed=[witness.get("checkpoint/000/000/000/000/000/000/700").decode()])
    assert verdict.good
    assert verdict.leaves == 701


def test_adopting_cut_off_anywhere_is_resumed(log: Any) -> None:
    log.grow([100])
    backup = back_up(log)
    log.grow([1000])
    signed = published(log)
    restore(log, backup)

    class CutOff:
        def __init__(self, left: int) -> None:
            self.left = left

        def get(self, path: str) -> bytes:
            if path.startswith("tile/entries"):
                self.left -= 1
                if self.left < 0:
                    raise TileMissingError(path)
            data: bytes = log.tiles.get(path)
            return data

    sizes = []
    for left in (0, 1, 2):
        with pytest.raises(TileMissingError):
            recover_tail(log.engine, CutOff(left), signed, log.clock.now())
        sizes.append(recorded_size(log.engine))
        with pytest.raises(RolledBackError):
            log.sequence()
    assert sizes == [100, 256, 768]
    recover_tail(log.engine, log.tiles, signed, log.clock.now())
    log.sequence()
    assert log.verify().good
    assert published(log) == signed


def test_a_mirror_of_another_history_is_not_adopted(make_log: Any) -> None:
    log, other = make_log(), make_log()
    log.grow([100])
    other.written = 5000
    other.write(300)
    other.sequence()
    with pytest.raises(NotOurTailError, match="up to 100, is not the beginning of the mirror's of 300"):
        recover_tail(log.engine, other.tiles, published(other), log.clock.now())
    assert recorded_size(log.engine) == 100
    log.sequence()
    assert log.verify().good


@pytest.mark.parametrize("path", [entries_path(1), "tile/0/001"])
def test_a_tail_that_was_tampered_with_is_not_adopted(log: Any, path: str) -> None:
    log.grow([300])
    backup = back_up(log)
    log.grow([700])
    signed = published(log)
    restore(log, backup)
    tile = log.tile(path)
    # A hash beyond the leaves on record; in an entries tile, a digit of the last leaf's size.
    data = bytearray(tile.read_bytes())
    at = data.rindex(b'"size":') + 7 if "entries" in path else len(data) - 3
    data[at] ^= 1
    tile.write_bytes(data)
    with pytest.raises(NotOurTailError):
        recover_tail(log.engine, log.tiles, signed, log.clock.now())
    assert recorded_size(log.engine) == 300


def test_a_second_history_is_never_signed_over_a_published_one(log: Any) -> None:
    log.grow([100])
    backup = back_up(log)
    log.grow([110])
    note = log.tiles.get("checkpoint")
    restore(log, backup)
    log.write(50)  # even when the new entries are more than those that were lost
    for _ in range(2):
        with pytest.raises(RolledBackError, match="holds 100 entries of a log of 110"):
            log.sequence()
    assert log.tiles.get("checkpoint") == note


def test_a_published_checkpoint_of_another_tree_stops_the_sequencer(log: Any, make_log: Any) -> None:
    log.grow([100])
    other = make_log()
    other.written = 5000
    other.write(100)
    other.sequence()
    log.tiles.put("checkpoint", other.tiles.get("checkpoint"))
    log.write(1)
    with pytest.raises(TreeDamagedError, match="the published tree of 100 is not the one on record"):
        log.sequence()
    (log.folder / "tiles" / "checkpoint").write_bytes(b"\xff nonsense")
    with pytest.raises(TreeDamagedError, match="does not verify"):
        log.sequence()


def test_a_witness_that_cannot_be_asked_stops_signing_until_it_answers(log: Any) -> None:
    answers: list[Any] = [OSError("away"), 0]

    def witnessed() -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return int(answer)

    log.write(3)
    sequencer = Sequencer(log.engine, log.tiles, log.signer, log.clock, witnessed)
    with pytest.raises(OSError, match="away"):
        sequencer.run_once()
    first = sequencer.run_once()
    assert first is not None
    assert first.size == 3
    assert answers == []
    assert sequencer.run_once() == first  # asked once
