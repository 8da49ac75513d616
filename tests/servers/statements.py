"""SQL statements are compiled once in a process, not once for each of its databases.

SQLAlchemy keeps what it compiled for each engine. A service has one engine and these tests have thousands, so most of
what many of them did was to compile the same statements again. What is kept depends on the statement and the kind of
database alone: engines of one kind, driver and server version are told the same SQL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_MOST = 5000
_compiled: LRUCache[Any, Any] = LRUCache(_MOST)


def compile_once() -> None:
    """From now on all engines of this process share what they compile."""
    Engine._compiled_cache = property(lambda _: _compiled, lambda _self, _own: None)  # type: ignore[assignment]
    for kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        kind.__hash__ = lambda self: hash(type(self))  # type: ignore[assignment]
        kind.__eq__ = _is_alike  # type: ignore[assignment]


def _is_alike(one: Any, other: object) -> bool:
    return _kind(one) == _kind(other)


def _kind(dialect: Any) -> tuple[object, ...]:
    """What the SQL for a database depends on: of one that was not connected to yet, nothing is known but itself."""
    version = getattr(dialect, "server_version_info", None)
    return type(dialect), id(dialect) if version is None else version, getattr(dialect, "paramstyle", None)
