"""Schema versions, by Alembic, and the check that a database can keep its promises.

Every process brings the database to the newest version before it uses it. The steps are in `versions/`, one file each,
written by hand and never changed once released. They cover both packages' tables: records and audit log are in one
database, so that an act and its entry commit together (P3). Alembic is loaded only where there is something to do: it
is a tenth of a serving process's memory.

`inspect_database` says whether a database can keep the promises that rest on it (P3), and what to change if not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from retention.records.rights import give_rights
from retention.records.unit_of_work import Records

_ON = ("fsync", "full_page_writes", "synchronous_commit")
_PRAGMAS = {"journal_mode": "wal", "synchronous": "2", "secure_delete": "1"}


def inspect_database(records: Records) -> list[str]:
    """Say what is wrong, a sentence each; empty for a usable database."""
    version, newest = current_version(records.engine), newest_version()
    if version is None:
        return ["the database has no tables yet: run `casevault init`, or `casevault serve`"]
    found = []
    if version > newest:
        found.append(f"the database has version {version}, this program {newest}: run the newer program")
    elif version != newest:
        found.append(f"the database has version {version}, not {newest}: start the service to upgrade it")
    with records.engine.connect().execution_options(read_only=True) as connection:
        found += _postgres(connection) if _is_postgres(records.engine) else _sqlite(connection)
    return found


def isolation(records: Records) -> str:
    """Return the isolation level of writing transactions."""
    if not _is_postgres(records.engine):
        return "serializable"  # SQLite has no other
    return str(records.write(lambda tx: tx.execute(text("SHOW transaction_isolation")).scalar()))


def time_at(engine: Engine) -> datetime | None:
    """Return the database server's time; None where the database is a file on this machine."""
    if not _is_postgres(engine):
        return None
    with engine.connect() as connection:
        now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


def describe(engine: Engine) -> str:
    """Name the kind and version of the database."""
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
            yield f"{name} is {value}: changes reported as done could be lost; set it to on"
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar():
        yield "this is a read-only standby: name the primary in CASEVAULT_DATABASE_URL"


def _sqlite(connection: Connection) -> Iterator[str]:
    for name, wanted in _PRAGMAS.items():
        value = str(connection.execute(text(f"PRAGMA {name}")).scalar())
        if value != wanted:
            yield f"{name} is {value}, not {wanted}: the file is on a medium that cannot keep SQLite's promises"


if TYPE_CHECKING:
    from alembic.config import Config

_INSUFFICIENT_PRIVILEGE = "42501"
_MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(engine: Engine) -> Config:
    """Configure Alembic for this engine, without an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def current_version(engine: Engine) -> str | None:
    """Read the database's version; None for an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return version


def newest_version() -> str:
    """Return the version of the last step: the beginning of its file's name."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


class NotOurSchema(RuntimeError):
    """A database of an older version, which this process's role is not allowed to change."""


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version, if it is not; NotOurSchema if this process is not allowed to."""
    found, newest = current_version(engine), newest_version()
    if found == newest:
        return
    from alembic import command

    try:
        config = alembic_config(engine)
        config.attributes["newest"] = True  # the doors' rights are those of the newest version
        command.upgrade(config, "head")
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
            raise
        raise NotOurSchema(
            f"the database has version {found or 'none'}, not {newest}, and this process's role is not allowed to "
            "change the schema: let an administrator run `casevault init` with this version of the program"
        ) from None


def give_rights_anew(engine: Engine) -> None:
    """Give the doors' roles their rights, as the schema's owner: they may have been made after the schema."""
    with engine.begin() as connection:
        give_rights(connection)


def downgrade(engine: Engine, version: str) -> None:
    """Take the database back to `version` (`base`: empty it)."""
    from alembic import command

    command.downgrade(alembic_config(engine), version)
