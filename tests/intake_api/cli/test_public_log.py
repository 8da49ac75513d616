"""The outsider's checks, over a real log: what is sound passes, what was touched does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.entry import Action, Entry
from audit.log.append import append
from audit.log.sequencer import Sequencer
from audit.tlog.checkpoint import Signer
from audit.tlog.spilled import SpillError
from audit.tlog.tile_store import CHECKPOINT_PATH, LocalTileStore, entries_path, tile_path
from intake_api.cli import public_log
from intake_api.cli.cli_errors import CliError
from intake_api.cli.commands.audit_findings import _remembering
from retention.domain.ids import Kind, new_id
from retention.records.migrate import upgrade
from retention.records.sqlite_engine import sqlite_engine

AT = datetime(2026, 11, 20, tzinfo=UTC)
SIGNER = Signer("test.example/log", b"\x07" * 32)
KEY = SIGNER.verifier


class _Still:
    def now(self) -> datetime:
        return AT


class Log:
    """A log in a folder, and its tiles."""

    def __init__(self, folder: Path) -> None:
        self.engine = sqlite_engine(folder / "records.db")
        upgrade(self.engine)
        self.folder = folder / "log"
        self.tiles = LocalTileStore(self.folder)
        self._sequencer = Sequencer(self.engine, self.tiles, SIGNER, _Still())

    def grow(self, count: int) -> str:
        """The checkpoint after `count` more entries."""
        entries = [
            Entry(
                id=new_id(Kind.ENTRY), at=AT, action=Action.AUDIT_QUERIED, actor="act_x", actor_kind="auditor"
            )
            for _ in range(count)
        ]
        with self.engine.begin() as connection:
            append(connection, entries)
        self._sequencer.run_once()
        return self.tiles.get(CHECKPOINT_PATH).decode()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.engine.dispose()


@pytest.mark.parametrize(("first", "more"), [(1, 0), (1, 1), (255, 1), (256, 1), (200, 400), (300, 0)])
def test_a_sound_log_leads_to_every_checkpoint_that_was_kept(log: Log, first: int, more: int) -> None:
    earlier = log.grow(first)
    log.grow(more)
    for see in (public_log.HashedLog, public_log.PublishedLog):
        verdict = see(log.tiles, KEY).walk([earlier])
        assert verdict.good and verdict.leaves == first + more, verdict
    assert len(list(public_log.proven_leaves(log.tiles, KEY))) == first + more


def test_a_hash_that_was_changed_is_found_without_seeing_a_leaf(log: Log) -> None:
    log.grow(300)
    path = log.folder / tile_path(0, 0)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    verdict = public_log.verify_hashes(log.tiles, KEY, [])
    assert not verdict.good and "does not follow" in verdict.problems[0].what


def test_a_log_that_was_begun_anew_does_not_lead_to_the_checkpoint_that_was_kept(
    log: Log, tmp_path: Path
) -> None:
    earlier = log.grow(10)
    (tmp_path / "again").mkdir()
    rewritten = Log(tmp_path / "again")
    rewritten.grow(12)
    for see in (public_log.HashedLog, public_log.PublishedLog):
        assert not see(rewritten.tiles, KEY).walk([earlier]).good
    rewritten.engine.dispose()


def test_a_log_that_became_shorter_is_found_out(log: Log, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    longer = Log(tmp_path / "again")
    later = longer.grow(12)
    log.grow(10)
    verdict = public_log.verify_hashes(log.tiles, KEY, [later])
    assert not verdict.good and "has only 10" in verdict.problems[0].what
    longer.engine.dispose()


@pytest.mark.parametrize("harm", ["gone", "short", "flipped"])
def test_leaves_that_are_not_those_that_were_signed_prove_nothing(log: Log, harm: str) -> None:
    log.grow(20)
    path = log.folder / entries_path(0, 20)
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "short" else data.replace(b"success", b"refused", 1))
    with pytest.raises(CliError, match="the log"):
        list(public_log.proven_leaves(log.tiles, KEY))


def test_without_tiles_there_is_nothing_to_verify(log: Log) -> None:
    for see in (public_log.HashedLog, public_log.PublishedLog):
        with pytest.raises(CliError, match="no checkpoint yet"):
            see(log.tiles, KEY).walk([])
    log.grow(5)
    (log.folder / tile_path(0, 0, 5)).unlink()
    with pytest.raises(CliError, match="cannot be rebuilt from leaf 0"):
        public_log.verify_hashes(log.tiles, KEY, [])


def test_a_full_disk_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CliError, match="SQLITE_TMPDIR"), _remembering():
        raise SpillError("database or disk is full")
