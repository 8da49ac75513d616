"""The log held against its witness: each way to tell another history, done for real, on every witness."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.mirror import Mirror
from audit.witness import Witness
from audit.witness_local import LocalWitness
from audit.witnessed import WitnessVerdict, lost_actions, verify_witnessed, witnessed_leaves
from tests.fakes.buckets import Buckets


@pytest.fixture(params=["folder", "bucket"])
def witness(request: pytest.FixtureRequest, tmp_path: Path) -> Witness:
    if request.param == "folder":
        return LocalWitness(tmp_path / "witness")
    found: Buckets = request.getfixturevalue("buckets")
    return found.witness()


@pytest.fixture
def witnessed(log: Any, witness: Witness) -> Any:
    """A log of 400 of which the witness keeps the checkpoints at 90 and 300."""
    for size in (90, 300):
        log.grow([size])
        copy(log, witness)
    log.grow([400])
    return log


def copy(log: Any, witness: Witness) -> None:
    Mirror(log.engine, log.tiles, log.signer.verifier, witness, log.clock, timedelta(0)).run_once()


def held(log: Any, witness: Witness, **options: Any) -> WitnessVerdict:
    with log.engine.connect() as connection:
        return verify_witnessed(connection, log.signer.verifier, log.tiles, witness, **options)


def back_up(log: Any, to: Path) -> None:
    with sqlite3.connect(log.folder / "audit.db") as source, sqlite3.connect(to) as target:
        source.backup(target)


def restore(log: Any, backup: Path) -> None:
    log.engine.dispose()
    with sqlite3.connect(backup) as source, sqlite3.connect(log.folder / "audit.db") as target:
        source.backup(target)


def test_a_log_that_grew_agrees_with_its_witness(witnessed: Any, witness: Witness) -> None:
    verdict = held(witnessed, witness)
    assert verdict.good
    assert (verdict.kept, verdict.walk.leaves, list(verdict.sentences())) == (300, 400, [])
    assert verdict.walk.checkpoints == held(witnessed, witness, since=91).walk.checkpoints + 1


def test_a_log_that_was_never_witnessed_says_so_by_the_size_kept(grown: Any, witness: Witness) -> None:
    verdict = held(grown, witness)
    assert verdict.good
    assert verdict.kept == 0


def test_a_log_rewritten_from_scratch_with_our_own_keys_is_found(
    witnessed: Any, witness: Witness, make_log: Any
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
    assert first == "leaf 47 is another than the one witnessed: the log was rewritten from there on"
    assert any("the witnessed checkpoint at 90 does not follow" in each for each in verdict.sentences())


def test_a_rolled_back_database_is_found_with_what_it_lost(
    log: Any, witness: Witness, tmp_path: Path
) -> None:
    log.grow([90])
    copy(log, witness)
    back_up(log, tmp_path / "backup.db")
    log.grow([300])
    copy(log, witness)
    restore(log, tmp_path / "backup.db")
    verdict = held(log, witness)
    assert not verdict.good
    assert verdict.missing == range(90, 300)
    assert verdict.first_other is None
    assert (
        "leaves 90 to 299 stand in the witness and not in the log: its tail is missing" in verdict.sentences()
    )
    assert lost_actions(witness, verdict.missing) == {"bundle.opened": 210}


def test_a_missing_tail_is_found_though_the_rest_agrees(
    witnessed: Any, witness: Witness, make_log: Any
) -> None:
    shorter = make_log()
    shorter.grow([90, 250])  # an honest beginning, signed, and no more
    assert shorter.verify().good
    verdict = held(shorter, witness)
    assert not verdict.good
    assert (verdict.missing, verdict.first_other) == (range(250, 300), None)


def test_a_forked_log_is_found_from_the_leaf_where_it_parts(
    witnessed: Any, witness: Witness, make_log: Any
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
    witnessed: Any, witness: Witness, make_log: Any
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
    witness = LocalWitness(tmp_path / "touched")
    copy(witnessed, witness)
    (tmp_path / "touched" / "tile" / "0" / "000").chmod(0o600)
    verdict = held(witnessed, witness)
    assert verdict.walk.good
    assert not verdict.good
    assert "tile/0/000 was made writable" in next(verdict.sentences())


def test_leaves_are_read_from_any_place(witnessed: Any, witness: Witness) -> None:
    with witnessed.engine.connect() as connection:
        rows = (
            connection.exec_driver_sql("SELECT leaf FROM audit_entries ORDER BY leaf_index").scalars().all()
        )
    for start in (0, 89, 255, 256, 299, 300):
        assert list(witnessed_leaves(witness, start, 300)) == rows[start:300]
