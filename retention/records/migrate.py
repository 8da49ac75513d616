"""Schema versions, by Alembic. Every process brings the database to the newest version before it uses it.

Steps stand in `versions/`, one file each, written by hand and never changed once released. Both packages' tables are
covered: records and audit log live in one database, so that an act and its entry commit together (P3).

Alembic is loaded only where there is something to do: it is a tenth of a serving process's memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from retention.records.rights import give_rights

if TYPE_CHECKING:
    from alembic.config import Config

_INSUFFICIENT_PRIVILEGE = "42501"
_MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(engine: Engine) -> Config:
    """Alembic on this engine, without an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["engine"] = engine
    return config


def current_version(engine: Engine) -> str | None:
    """The version that the database has; None for an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return version


def newest_version() -> str:
    """The version of the last step: what its file's name begins with."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


class NotOurSchema(RuntimeError):
    """The database is of an older version, and this process's role may not change it."""


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version; does nothing when it is there. NotOurSchema."""
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
            f"the database is of version {found or 'none'}, not {newest}, and this process's role may not change the "
            "schema: let an administrator run `casevault init` with this version of the program"
        ) from None


def give_rights_anew(engine: Engine) -> None:
    """Give the doors' roles what they need, for the schema's owner: they may have been made after the schema was."""
    with engine.begin() as connection:
        give_rights(connection)


def downgrade(engine: Engine, version: str) -> None:
    """Take the database back to `version` (`base`: empty it)."""
    from alembic import command

    command.downgrade(alembic_config(engine), version)
