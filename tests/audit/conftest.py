"""A log of its own for each test: SQLite with IMMEDIATE transactions, a local tile store, a key, a clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from audit.entry import Action, Entry, canonical
from audit.log.append import append
from audit.log.sequencer import Sequencer
from audit.log.tables import metadata
from audit.log.verify import Verdict, verify_database
from audit.tlog.checkpoint import Signer
from audit.tlog.tile_store import LocalTileStore, TileStore
from tests.fakes.buckets import buckets as buckets

START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def make_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    metadata.create_all(engine)
    return engine


@dataclass
class SteppingClock:
    """Moves one second each time it is asked."""

    at: datetime = START

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


def make_entry(number: int, **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "id": f"entry-{number}",
        "at": START + timedelta(seconds=number),
        "action": Action.BUNDLE_OPENED,
        "actor": f"actor-{number % 3}",
        "actor_kind": "engineer",
        "tenant": "tenant-1",
        "case": f"case-{number % 2}",
        "bundle": f"bundle-{number}",
        "details": {"size": number},
        "particulars": {"name": f"Ada Lovelace {number}", "ip": "192.0.2.7"},
        "salt": bytes([number % 256]) * 16,
    }
    return Entry(**{**values, **changes})


@dataclass
class Log:
    """The whole log under test."""

    engine: Engine
    tiles: TileStore
    signer: Signer
    folder: Path
    clock: SteppingClock = field(default_factory=SteppingClock)
    written: int = 0

    def write(self, count: int, **changes: Any) -> None:
        with self.engine.begin() as connection:
            append(connection, [make_entry(self.written + at, **changes) for at in range(count)])
        self.written += count

    def sequence(self, limit: int = 5000) -> None:
        Sequencer(self.engine, self.tiles, self.signer, self.clock).run_once(limit)

    def grow(self, sizes: Sequence[int], **changes: Any) -> None:
        """Write and sequence one batch after the other: one checkpoint each."""
        for size in sizes:
            self.write(size - self.written, **changes)
            self.sequence()

    def change(self, sql: str, *values: object) -> None:
        with self.engine.begin() as connection:
            changed = connection.exec_driver_sql(sql, values)
            assert changed.rowcount, "the tampering hit nothing"

    def leaf_fields(self, index: int) -> dict[str, Any]:
        sql = "SELECT leaf FROM audit_entries WHERE leaf_index = ?"
        with self.engine.connect() as connection:
            fields: dict[str, Any] = json.loads(connection.exec_driver_sql(sql, (index,)).scalar() or "")
        return fields

    def set_leaf(self, index: int, leaf: bytes) -> None:
        self.change("UPDATE audit_entries SET leaf = ? WHERE leaf_index = ?", leaf, index)

    def rewrite_actor(self, index: int) -> None:
        """The careful forger: leaf and columns agree, and the leaf is in canonical form."""
        self.set_leaf(index, canonical({**self.leaf_fields(index), "actor": "somebody-else"}))
        self.change("UPDATE audit_entries SET actor = 'somebody-else' WHERE leaf_index = ?", index)

    def tile(self, path: str) -> Path:
        """A tile's file, to be changed or taken away."""
        found = self.folder / "tiles" / path
        assert found.is_file()
        found.chmod(0o600)  # whoever tampers with it makes it writable first
        return found

    def verify(self, **options: Any) -> Verdict:
        options = {"tiles": self.tiles, **options}
        with self.engine.connect() as connection:
            return verify_database(connection, self.signer.verifier, **options)


@pytest.fixture(scope="session", name="make_entry")
def make_entry_fixture() -> Callable[..., Entry]:
    return make_entry


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[Callable[[], Log]]:
    logs: list[Log] = []

    def make() -> Log:
        folder = tmp_path / f"log-{len(logs)}"
        folder.mkdir()
        engine = make_engine(folder / "audit.db")
        tiles = LocalTileStore(folder / "tiles")
        logs.append(Log(engine, tiles, Signer("casevault.test/log", bytes(range(32))), folder))
        return logs[-1]

    yield make
    for log in logs:
        log.engine.dispose()


@pytest.fixture
def log(make_log: Callable[[], Log]) -> Log:
    return make_log()


@pytest.fixture
def grown(log: Log) -> Log:
    """Six checkpoints over 600 leaves: two full tiles and a partial one, and one level above."""
    log.grow([1, 5, 200, 256, 300, 600])
    assert log.verify() == Verdict(leaves=600, checkpoints=7, problems=())
    return log
