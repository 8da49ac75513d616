"""Schema versions, by Alembic. Every process brings the database to the newest version before it uses it.

Steps stand in `versions/`, one file each, written by hand and never changed once released. Both packages' tables are
covered: records and audit log live in one database, so that an act and its entry commit together (P3).

Alembic is loaded only where there is something to do: it is a tenth of a serving process's memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

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


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version; does nothing when it is there."""
    if current_version(engine) != newest_version():
        from alembic import command

        command.upgrade(alembic_config(engine), "head")


def downgrade(engine: Engine, version: str) -> None:
    """Take the database back to `version` (`base`: empty it)."""
    from alembic import command

    command.downgrade(alembic_config(engine), version)
