"""The mirror: what reaches the witness, when, in which order, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from audit.log.tables import audit_checkpoints
from audit.log.verify import Verdict, verify_folder
from audit.mirror.copying import ForkedError, Mirror
from audit.mirror.store import MirrorError, MirrorStore, MirrorTiles, MirrorUnavailableError, checkpoint_path
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.checkpoint import Signer, sign_checkpoint
from audit.tlog.merkle import ProofError
from audit.tlog.tile_store import TileMissingError

NOW = timedelta(0)


@dataclass
class MemoryWitness:
    """Keeps the order in which things came; `fails` says at which call it is away, and whether it kept it even so."""

    kept: dict[str, bytes] = field(default_factory=dict)
    fails: tuple[int, bool] | None = None
    calls: int = 0
    place: str = "the test's witness"

    def keep(self, path: str, data: bytes) -> None:
        self.calls += 1
        failing = self.fails is not None and self.fails[0] == self.calls
        if not failing or (self.fails and self.fails[1]):
            assert self.kept.setdefault(path, data) == data, f"{path} was kept with other bytes"
        if failing:
            raise MirrorUnavailableError("away")

    def get(self, path: str) -> bytes:
        if path not in self.kept:
            raise TileMissingError(path)
        return self.kept[path]

    def sizes(self, start: int = 0) -> Iterator[int]:
        found = [
            int(path.removeprefix("checkpoint/").replace("/", ""))
            for path in self.kept
            if "checkpoint" in path
        ]
        return iter(sorted(size for size in found if size >= start))

    def newest(self) -> int | None:
        return max(self.sizes(), default=None)

    def time(self) -> None:
        return None

    def disturbed(self) -> Iterator[str]:
        return iter(())

    def inspect(self) -> list[str]:
        return []


def mirror(log: Any, witness: MirrorStore, pause: timedelta = NOW) -> Mirror:
    return Mirror(log.engine, log.tiles, log.signer.verifier, witness, log.clock, pause)


def check_whole(log: Any, witness: MirrorStore, size: int) -> None:
    verdict = verify_folder(MirrorTiles(witness, size), log.signer.verifier)
    assert verdict == Verdict(leaves=size, checkpoints=1, problems=())


def test_an_empty_log_has_nothing_to_keep(log: Any) -> None:
    witness = MemoryWitness()
    assert mirror(log, witness).run_once() is None
    assert mirror(log, witness).lag() == timedelta(0)
    assert witness.kept == {}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(1, 700), min_size=1, max_size=5), data=st.data())
def test_the_whole_log_can_be_checked_from_the_witness_alone(
    steps: list[int], data: st.DataObject, make_log: Any
) -> None:
    log, witness = make_log(), MemoryWitness()
    copier = mirror(log, witness)
    copied = []
    for step in steps:
        log.grow([log.written + step])
        if data.draw(st.booleans(), label="copied now"):
            kept = copier.run_once()
            assert kept is not None
            copied.append(kept.size)
    kept = mirror(log, witness).run_once()  # one that has just started goes on where the other stood
    assert kept is not None
    assert kept.size == sum(steps)
    assert list(witness.sizes()) == sorted({*copied, kept.size})
    for size in witness.sizes():
        check_whole(log, witness, size)


def test_the_checkpoint_comes_last(grown: Any) -> None:
    witness = MemoryWitness()
    mirror(grown, witness).run_once()
    assert list(witness.kept)[-1] == checkpoint_path(600)
    assert set(witness.kept) == {
        checkpoint_path(600),
        *(f"tile/{level}/{name}" for level in ("0", "entries") for name in ("000", "001", "002.p/88")),
        "tile/1/000.p/2",
    }


def test_what_is_kept_already_is_not_sent_again(grown: Any) -> None:
    witness = MemoryWitness()
    mirror(grown, witness).run_once()
    before = witness.calls
    assert mirror(grown, witness).run_once() is not None
    assert witness.calls == before
    grown.grow([601])
    mirror(grown, witness).run_once()
    assert witness.calls - before == 3  # the two partial tiles that grew, the checkpoint


@pytest.mark.parametrize("persisted", [False, True])
def test_a_mirror_cut_off_anywhere_is_made_good_by_the_next(make_log: Any, persisted: bool) -> None:
    log = make_log()
    log.grow([300, 600])
    for at in range(1, 9):
        witness = MemoryWitness(fails=(at, persisted))
        with pytest.raises(MirrorUnavailableError):
            mirror(log, witness).run_once()
        for size in witness.sizes():  # whatever is kept is whole
            check_whole(log, witness, size)
        witness.fails = None
        assert mirror(log, witness).run_once() is not None
        check_whole(log, witness, 600)


def test_a_checkpoint_waits_for_the_pause_and_no_longer(log: Any) -> None:
    witness = MemoryWitness()
    copier = mirror(log, witness, timedelta(minutes=1))
    log.grow([5])
    assert copier.run_once() is None
    log.clock.at += timedelta(seconds=50)
    log.grow([6])  # a later checkpoint does not make the first one wait longer
    log.clock.at += timedelta(seconds=10)
    assert copier.lag() >= timedelta(minutes=1)
    kept = copier.run_once()
    assert kept is not None
    assert kept.size == 6
    assert copier.lag() == timedelta(0)
    log.grow([7])
    assert timedelta(0) < copier.lag() < timedelta(seconds=10)


def test_lag_is_that_of_the_oldest_checkpoint_not_covered(log: Any) -> None:
    witness = MemoryWitness(fails=(1, False))
    copier = mirror(log, witness)
    log.grow([5])
    log.clock.at += timedelta(minutes=9)
    log.grow([6])
    with pytest.raises(MirrorUnavailableError):
        copier.run_once()
    assert copier.lag() >= timedelta(minutes=9)


@pytest.mark.parametrize("path", ["tile/entries/001", "tile/0/001", "tile/1/000.p/2", "tile/0/002.p/88"])
def test_a_tile_damaged_here_is_not_locked_for_a_year(grown: Any, path: str) -> None:
    tile = grown.tile(path)
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    witness = MemoryWitness()
    with pytest.raises((MirrorError, ProofError)):
        mirror(grown, witness).run_once()
    assert path not in witness.kept
    assert witness.newest() is None


def test_a_log_rolled_back_is_not_copied(grown: Any) -> None:
    witness = MemoryWitness()
    mirror(grown, witness).run_once()
    with grown.engine.begin() as connection:
        connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.size > 300))
    with pytest.raises(ForkedError, match="keeps a log of 600; the log on record has 300"):
        mirror(grown, witness).run_once()
    grown.change("DELETE FROM audit_checkpoints")
    with pytest.raises(ForkedError, match="the one on record is empty"):
        mirror(grown, witness).run_once()


@pytest.mark.parametrize("size", [600, 700])
def test_another_log_under_the_same_keys_is_not_copied(grown: Any, make_log: Any, size: int) -> None:
    witness = MemoryWitness()
    mirror(grown, witness).run_once()
    forged = make_log()
    forged.written = 1_000_000  # other entries
    forged.write(size)
    forged.sequence()
    with pytest.raises(ForkedError, match="does not extend the one of 600"):
        mirror(forged, witness).run_once()
    assert list(witness.sizes()) == [600]


def test_a_witness_with_somebody_elses_checkpoint_is_not_built_upon(grown: Any, tmp_path: Path) -> None:
    witness = LocalMirrorStore(tmp_path / "w")
    witness.keep(
        checkpoint_path(600), sign_checkpoint(600, bytes(32), Signer("other.test/log", bytes(32))).encode()
    )
    with pytest.raises(MirrorError, match="is not this log's"):
        mirror(grown, witness).run_once()


def test_a_checkpoint_under_the_name_of_another_size_is_not_built_upon(grown: Any) -> None:
    witness = MemoryWitness()
    mirror(grown, witness).run_once()
    witness.kept[checkpoint_path(900)] = witness.kept[checkpoint_path(600)]
    with pytest.raises(MirrorError, match="is signed for a size of 600"):
        mirror(grown, witness).run_once()


def test_what_another_process_has_copied_is_no_lag_of_this_one(log: Any) -> None:
    witness = MemoryWitness()
    copies, watches = (mirror(log, witness, timedelta(minutes=1)) for _ in range(2))
    log.grow([5])
    assert copies.run_once() is None
    log.clock.at += timedelta(minutes=20)
    assert watches.lag() >= timedelta(minutes=20)
    assert copies.run_once() is not None
    assert watches.lag() == timedelta(0)


def test_a_log_that_was_signed_by_a_clock_ahead_is_copied_and_its_lag_is_told(log: Any) -> None:
    """The clock erred by 91 days and was set right; checkpoints never step back behind the one that it signed."""
    witness, ahead = MemoryWitness(), timedelta(days=91)
    copier = mirror(log, witness, pause=timedelta(minutes=1))
    log.clock.at += ahead
    log.grow([5], at=log.clock.at)
    log.clock.at -= ahead
    assert copier.lag() > timedelta(days=90), "it is seen"
    kept = copier.run_once()
    assert kept is not None
    assert kept.size == 5, "and it is over at once"
    assert copier.lag() == timedelta(0)
    log.grow([9], at=log.clock.at)
    assert timedelta(0) < copier.lag() < timedelta(minutes=1), "later ones wait their minute, and no longer"
    assert copier.run_once() == kept
    log.clock.at += timedelta(minutes=2)
    assert copier.lag() > timedelta(minutes=2)
    kept = copier.run_once()
    assert kept is not None
    assert kept.size == 9
