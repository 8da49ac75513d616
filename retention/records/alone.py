"""One process at a time for work that is more than one transaction: a lock at the database, that nobody waits for.

- PostgreSQL: a session's advisory lock, on a connection of its own. It falls with the connection; a holder whose
  machine died is noticed by the server's keepalives within a minute.
- SQLite: a lock on a file beside the database. It falls with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

_KEY = 4153697013  # the sequencer's is one less
_KEEPALIVES = text(
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
_TAKE, _GIVE = text(f"SELECT pg_try_advisory_lock({_KEY})"), text(f"SELECT pg_advisory_unlock({_KEY})")


@contextmanager
def alone(engine: Engine) -> Iterator[bool]:
    """True while the lock is held; False when another process holds it."""
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
