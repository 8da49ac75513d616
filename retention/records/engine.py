"""Opening the database: SQLite as the embedded default.

Rules:
- Every commit is on the disk when it returns: WAL with synchronous=FULL.
- What is deleted is gone: secure_delete overwrites it, and `truncate_wal` empties the log that still held it.
- A write transaction takes the lock at once (BEGIN IMMEDIATE), so it never fails half way for want of it; a read-only
  connection (execution option `read_only`) sees one snapshot and does not wait for writers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

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
    """An engine on the file at `path`, made with mode 0600 when it is missing."""
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

    False when a reader is in the way. It does not wait for one: whoever writes would wait with it.
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
