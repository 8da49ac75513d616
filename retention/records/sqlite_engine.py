"""Opening a SQLite database, the embedded default; and a lock that one process at a time holds.

Rules:
- Every commit is on the disk when it returns: WAL with synchronous=FULL.
- Deleted data is gone: secure_delete overwrites it, and `truncate_wal` empties the log that still held it.
- A write transaction takes the lock at once (BEGIN IMMEDIATE), so it never fails half way for lack of it; a read-only
  connection (execution option `read_only`) sees one snapshot and does not wait for writers.

`alone` is a lock on the database, for work of more than one transaction; nobody waits for it.
- PostgreSQL: a session's advisory lock, on a connection of its own, released with the connection; the server's
  keepalives notice within a minute that a holder's machine died.
- SQLite: a lock on a file beside the database, released with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import QueuePool

_KEY = 4153697013  # the sequencer's is one less
_KEEPALIVES = text(
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
_TAKE, _GIVE = text(f"SELECT pg_try_advisory_lock({_KEY})"), text(f"SELECT pg_advisory_unlock({_KEY})")


@contextmanager
def alone(engine: Engine) -> Iterator[bool]:
    """Try to hold the lock for the block; yield False when another process holds it."""
    held = (
        _at_server(engine) if engine.dialect.name == "postgresql" else _on_file(f"{engine.url.database}.lock")
    )
    with held as mine:
        yield mine


@contextmanager
def _at_server(engine: Engine) -> Iterator[bool]:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(_KEEPALIVES)
        mine = bool(connection.execute(_TAKE).scalar())
        try:
            yield mine
        finally:
            if mine:
                connection.execute(_GIVE)


@contextmanager
def _on_file(path: str) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(descriptor)


BUSY_TIMEOUT_MS = 30_000
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA cache_size=-32768",
)


def sqlite_engine(path: Path) -> Engine:
    """Make an engine for the file at `path`, which is made with mode 0600 when missing."""
    if not path.exists():
        path.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=40,
        max_overflow=40,
        hide_parameters=True,  # they may be particulars, and errors are logged
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _connected(dbapi_connection: Any, _record: Any) -> None:
        for pragma in _PRAGMAS:
            dbapi_connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def truncate_wal(engine: Engine) -> bool:
    """Move the write-ahead log into the database and empty it, so that no deleted value lingers there (P7).

    False when a reader is in the way. It does not wait for one: all writers would wait with it.
    """
    if engine.dialect.name != "sqlite":
        return True  # PostgreSQL's write-ahead log is the server's own; see docs/postgres.md
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA busy_timeout=50")
        busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    finally:
        raw.close()
    return not busy
