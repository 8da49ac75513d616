"""The log held against its witness: each way to tell another history, done for real, on every witness."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.mirror.compare import (
    MirroredLog,
    MirrorVerdict,
    RecordedLog,
    hold_to_witness,
    mirrored_leaves,
    read_kept,
)
from audit.mirror.copying import Mirror
from audit.mirror.store import MirrorStore, MirrorTiles, checkpoint_path
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.tile_store import TileSource
from tests.fakes.buckets import Buckets


@pytest.fixture(params=["folder", "bucket"])
def witness(request: pytest.FixtureRequest, tmp_path: Path) -> MirrorStore:
    if request.param == "folder":
        return LocalMirrorStore(tmp_path / "witness")
    found: Buckets = request.getfixturevalue("buckets")
    return found.witness()


@pytest.fixture
def witnessed(log: Any, witness: MirrorStore) -> Any:
    """A log of 400 of which the witness keeps the checkpoints at 90 and 300."""
    for size in (90, 300):
        log.grow([size])
        copy(log, witness)
    log.grow([400])
    return log


def copy(log: Any, witness: MirrorStore) -> None:
    Mirror(log.engine, log.tiles, log.signer.verifier, witness, log.clock, timedelta(0)).run_once()


def held(log: Any, witness: MirrorStore) -> MirrorVerdict:
    """As the administrator sees it in the database and an outsider in the published tiles: both come to the same."""
    recorded, published = on_record(log, witness), mirrored(log.tiles, log, witness)
    assert (recorded.missing, recorded.first_other) == (published.missing, published.first_other)
    assert (recorded.good, recorded.kept, recorded.lost) == (published.good, published.kept, published.lost)
    return recorded


def on_record(log: Any, witness: MirrorStore) -> MirrorVerdict:
    key = log.signer.verifier
    kept = read_kept(witness, key)
    with log.engine.connect() as connection:
        return hold_to_witness(RecordedLog(connection, key, log.tiles), witness, kept)


def mirrored(tiles: TileSource, log: Any, witness: MirrorStore) -> MirrorVerdict:
    key = log.signer.verifier
    return hold_to_witness(MirroredLog(tiles, key), witness, read_kept(witness, key))


def back_up(log: Any, to: Path) -> None:
    with sqlite3.connect(log.folder / "audit.db") as source, sqlite3.connect(to) as target:
        source.backup(target)


def restore(log: Any, backup: Path) -> None:
    log.engine.dispose()
    with sqlite3.connect(backup) as source, sqlite3.connect(log.folder / "audit.db") as target:
        source.backup(target)


def test_a_log_that_grew_agrees_with_its_witness(witnessed: Any, witness: MirrorStore) -> None:
    verdict = held(witnessed, witness)
    assert verdict.good
    assert (verdict.kept, verdict.walk.leaves, list(verdict.sentences())) == (300, 400, [])
    assert verdict.held == 2


def test_a_log_that_was_never_witnessed_says_so_by_the_size_kept(grown: Any, witness: MirrorStore) -> None:
    verdict = held(grown, witness)
    assert verdict.good
    assert verdict.kept == 0


def test_a_log_rewritten_from_scratch_with_our_own_keys_is_found(
    witnessed: Any, witness: MirrorStore, make_log: Any
) -> None:
    forged = make_log()
    forged.write(400)
    forged.change("UPDATE audit_entries SET actor = 'nobody' WHERE row = 48")
    with forged.engine.begin() as connection:
        leaf = connection.exec_driver_sql("SELECT leaf FROM audit_entries WHERE row = 48").scalar()
        changed = bytes(leaf).replace(b'"actor":"actor-2"', b'"actor":"nobody"')
        assert changed != leaf
        connection.exec_driver_sql("UPDATE audit_entries SET leaf = ? WHERE row = 48", (changed,))
    forged.sequence()
    assert forged.verify().good  # nothing in it shows
    verdict = held(forged, witness)
    assert not verdict.good
    assert verdict.first_other == 47
    assert verdict.missing == range(0)
    first = next(verdict.sentences())
    assert first == "leaf 47 differs from the one witnessed: the log was rewritten from there on"
    assert any("the witnessed checkpoint at 90 does not follow" in each for each in verdict.sentences())


def test_a_rolled_back_database_is_found_with_what_it_lost(
    log: Any, witness: MirrorStore, tmp_path: Path
) -> None:
    log.grow([90])
    copy(log, witness)
    back_up(log, tmp_path / "backup.db")
    log.grow([300])
    copy(log, witness)
    restore(log, tmp_path / "backup.db")
    assert mirrored(log.tiles, log, witness).good  # what was published still stands
    verdict = on_record(log, witness)
    assert not verdict.good
    assert verdict.missing == range(90, 300)
    assert verdict.first_other is None
    assert (
        "leaves 90 to 299 are in the witness but not in the log: its tail is missing (210 bundle.opened)"
        in verdict.sentences()
    )
    assert verdict.lost == {"bundle.opened": 210}


def test_a_missing_tail_is_found_though_the_rest_agrees(
    witnessed: Any, witness: MirrorStore, make_log: Any
) -> None:
    shorter = make_log()
    shorter.grow([90, 250])  # an honest beginning, signed, and no more
    assert shorter.verify().good
    verdict = held(shorter, witness)
    assert not verdict.good
    assert (verdict.missing, verdict.first_other) == (range(250, 300), None)


def test_a_forked_log_is_found_from_the_leaf_where_it_parts(
    witnessed: Any, witness: MirrorStore, make_log: Any
) -> None:
    forked = make_log()
    forked.grow([90, 200])  # the same beginning
    forked.written = 5000
    forked.write(300)  # and another end, longer than ours
    forked.sequence()
    assert forked.verify().good
    verdict = held(forked, witness)
    assert not verdict.good
    assert verdict.first_other == 200


def test_an_old_checkpoint_tells_on_a_forger_who_had_the_newest_ones_kept(
    witnessed: Any, witness: MirrorStore, make_log: Any
) -> None:
    forged = make_log()
    forged.written = 5000
    forged.write(500)
    forged.sequence()
    # The forger has the bucket's credentials as well: what conflicts cannot be kept, so only the checkpoint is.
    note = (forged.folder / "tiles" / "checkpoint").read_bytes()
    witness.keep("checkpoint/000/000/000/000/000/000/500", note)
    verdict = held(forged, witness)
    assert not verdict.good
    assert verdict.first_other == 0


def test_a_witness_somebody_worked_on_is_not_good(witnessed: Any, tmp_path: Path) -> None:
    witness = LocalMirrorStore(tmp_path / "touched")
    copy(witnessed, witness)
    (tmp_path / "touched" / "tile" / "0" / "000").chmod(0o600)
    verdict = held(witnessed, witness)
    assert verdict.walk.good
    assert not verdict.good
    assert "tile/0/000 was made writable" in next(verdict.sentences())


def test_leaves_are_read_from_any_place(witnessed: Any, witness: MirrorStore) -> None:
    with witnessed.engine.connect() as connection:
        rows = (
            connection.exec_driver_sql("SELECT leaf FROM audit_entries ORDER BY leaf_index").scalars().all()
        )
    for start in (0, 89, 255, 256, 299, 300):
        assert list(mirrored_leaves(witness, start, 300)) == rows[start:300]


def test_the_whole_log_is_checked_from_the_witness_alone(witnessed: Any, witness: MirrorStore) -> None:
    verdict = mirrored(MirrorTiles(witness, 300), witnessed, witness)
    assert verdict.good
    assert (verdict.walk.leaves, verdict.held) == (300, 2)


def test_a_tile_that_was_changed_in_the_witness_is_named(witnessed: Any, tmp_path: Path) -> None:
    witness = LocalMirrorStore(tmp_path / "changed")
    copy(witnessed, witness)
    file = tmp_path / "changed" / "tile" / "entries" / "000"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"actor-0", b"actor-2", 1))
    file.chmod(0o400)
    verdict = mirrored(MirrorTiles(witness, 400), witnessed, witness)
    assert not verdict.good
    assert "leaf 0 is not the one that was signed" in next(verdict.sentences())


def test_what_is_kept_and_not_of_this_log_is_named_and_not_believed(
    witnessed: Any, witness: MirrorStore, make_log: Any
) -> None:
    note = (witnessed.folder / "tiles" / "checkpoint").read_bytes()
    witness.keep(checkpoint_path(7000), note)
    witness.keep(checkpoint_path(8000), b"nonsense\n")
    verdict = held(witnessed, witness)
    assert not verdict.good
    assert (verdict.kept, verdict.missing) == (300, range(0))
    named = list(verdict.sentences())
    assert len(named) == 2
    assert "000/007/000 in the witness is signed for a size of 400" in named[0]
    assert "000/008/000 in the witness does not verify" in named[1]


def test_a_log_that_was_emptied_lacks_everything(witnessed: Any, witness: MirrorStore, make_log: Any) -> None:
    empty = make_log()
    empty.sequence()
    verdict = held(empty, witness)
    assert (verdict.good, verdict.missing) == (False, range(300))
