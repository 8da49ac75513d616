"""Schema versions, by Alembic. Every process brings the database to the newest version before it uses it.

Steps stand in `versions/`, one file each, written by hand and never changed once released. Both packages' tables are
covered: records and audit log live in one database, so that an act and its entry commit together (P3).
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine


def alembic_config(engine: Engine) -> Config:
    """Alembic on this engine, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine
    return config


def current_version(engine: Engine) -> str | None:
    """The version that the database has; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest version; does nothing when it is there."""
    config = alembic_config(engine)
    if current_version(engine) != ScriptDirectory.from_config(config).get_current_head():
        command.upgrade(config, "head")


def downgrade(engine: Engine, version: str) -> None:
    """Take the database back to `version` (`base`: empty it)."""
    command.downgrade(alembic_config(engine), version)
