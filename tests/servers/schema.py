"""The newest SQLite schema, made once in a process by the real migrations and copied from then on.

The migrations themselves are tested in `tests/retention/records`; elsewhere each database begins as this copy of them.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import Engine

from retention import assembly
from retention.records.migrate import current_version, upgrade
from retention.records.sqlite_engine import sqlite_engine
from tests.servers import postgres

QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where databases of tests that make many of them stand: what is tested there is order, not durability."""


@cache
def schema() -> bytes:
    """A database of the newest version, empty."""
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        path = Path(folder) / "records.db"
        engine = sqlite_engine(path)
        upgrade(engine)
        engine.dispose()
        return path.read_bytes()


@contextmanager
def copied_schema() -> Iterator[None]:
    """Within it `initialise` copies the schema into an empty database, SQLite or of the shared PostgreSQL, instead of
    migrating it step by step."""
    with patch.object(assembly, "upgrade", _copy):
        yield


def _copy(engine: Engine) -> None:
    if current_version(engine) is not None:
        upgrade(engine)
    elif engine.dialect.name == "sqlite":
        _copy_file(engine)
    elif engine.url.query.get("host") == str(postgres.shared_server().folder):
        _run_script(engine)
    else:
        upgrade(engine)


def _copy_file(engine: Engine) -> None:
    made = engine.raw_connection()
    with closing(made), closing(sqlite3.connect(":memory:")) as copy:
        copy.deserialize(
            b"".join((schema()[:18], b"\1\1", schema()[20:]))
        )  # not WAL: memory has no such file
        copy.backup(made.driver_connection)  # type: ignore[arg-type]  # sqlite3's own


def _run_script(engine: Engine) -> None:
    made = engine.raw_connection()
    made.cursor().execute(postgres.schema_script())
    made.commit()
    made.invalidate()  # the script leaves settings of its own
