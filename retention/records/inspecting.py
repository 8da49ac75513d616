"""Whether a database can keep the promises that rest on it (P3), and what to change if it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text

from retention.records.migrate import current_version, newest_version
from retention.records.unit_of_work import Records

_ON = ("fsync", "full_page_writes", "synchronous_commit")
_PRAGMAS = {"journal_mode": "wal", "synchronous": "2", "secure_delete": "1"}


def inspect_database(records: Records) -> list[str]:
    """What is wrong, a sentence each; empty for a database that can be used."""
    version, newest = current_version(records.engine), newest_version()
    if version is None:
        return ["the database has no tables yet: run `casevault init`, or `casevault serve`"]
    found = []
    if version > newest:
        found.append(f"the database is of version {version}, this program of {newest}: run the newer program")
    elif version != newest:
        found.append(
            f"the database is of version {version}, not {newest}: start the service, it brings it there"
        )
    with records.engine.connect().execution_options(read_only=True) as connection:
        found += _postgres(connection) if _is_postgres(records.engine) else _sqlite(connection)
    return found


def isolation(records: Records) -> str:
    """How transactions that write are kept apart."""
    if not _is_postgres(records.engine):
        return "serializable"  # SQLite knows no other
    return str(records.write(lambda tx: tx.execute(text("SHOW transaction_isolation")).scalar()))


def time_at(engine: Engine) -> datetime | None:
    """The database server's time; None where the database is a file of this machine."""
    if not _is_postgres(engine):
        return None
    with engine.connect() as connection:
        now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


def describe(engine: Engine) -> str:
    """What kind of database it is."""
    with engine.connect().execution_options(read_only=True) as connection:
        if _is_postgres(engine):
            return f"PostgreSQL {connection.execute(text('SHOW server_version')).scalar()}"
        return f"SQLite {connection.execute(text('SELECT sqlite_version()')).scalar()}"


def _is_postgres(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def _postgres(connection: Connection) -> Iterator[str]:
    for name in _ON:
        value = connection.execute(text(f"SHOW {name}")).scalar()
        if value != "on":
            yield f"{name} is {value}: what was answered as done could be lost; set it to on"
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar():
        yield "this is a read-only standby: name the primary in CASEVAULT_DATABASE_URL"


def _sqlite(connection: Connection) -> Iterator[str]:
    for name, wanted in _PRAGMAS.items():
        value = str(connection.execute(text(f"PRAGMA {name}")).scalar())
        if value != wanted:
            yield f"{name} is {value}, not {wanted}: the file is on a medium that cannot keep SQLite's promises"
