"""The log in a state folder on this machine, without asking the service: for administrators, and for copies of a log.

Nothing is written where the folder holds all of the log. Where the environment's settings put records, tiles or signing
key elsewhere, the log is opened as the service opens it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from sqlalchemy import Connection, create_engine

from audit.tlog.checkpoint import Verifier
from audit.tlog.tile_store import CHECKPOINT_PATH, LocalTileStore, TileSource
from intake_api.cli.cli_errors import CliError
from intake_api.cli.connection import read_keys
from intake_api.cli.options import PATH
from retention.assembly import assemble, is_initialised
from retention.config import Settings, from_environment
from retention.keys.signing import load_signing_key

with_database = click.option(
    "--state",
    type=PATH,
    help="Read this state folder, on this machine, instead of asking the service.",
)


@dataclass(frozen=True, slots=True)
class LocalLog:
    """The records, tiles and key of one log."""

    read: Callable[[], AbstractContextManager[Connection]]
    """One snapshot of the records."""
    tiles: TileSource
    key: Verifier


def local_settings(state: Path) -> Settings:
    """Read the environment's settings, for this folder."""
    return replace(from_environment(os.environ), state=state.resolve())


@contextmanager
def open_local_log(state: Path, keys: Path | None) -> Iterator[LocalLog]:
    """Open this folder's log. Its key is the pinned one; without one, the folder's own."""
    settings = local_settings(state)
    elsewhere = settings.azure.blob or settings.azure.signing_vault_url is not None
    if elsewhere or not settings.records_file.exists():
        with _open_as_service(settings, keys) as log:
            yield log
        return
    tiles = LocalTileStore(settings.log_folder)
    engine = create_engine(f"sqlite:///file:{settings.records_file}?mode=ro&uri=true")
    try:
        yield LocalLog(engine.connect, tiles, _key(settings, tiles, keys))
    finally:
        engine.dispose()


@contextmanager
def _open_as_service(settings: Settings, keys: Path | None) -> Iterator[LocalLog]:
    if not is_initialised(settings):
        raise CliError(
            f"{settings.state} holds no log: name the state folder of a service, and set CASEVAULT_DATABASE_URL "
            "when its records are in PostgreSQL"
        )
    with closing(assemble(settings)) as services:
        key = services.log_key if keys is None else read_keys(keys)[0]
        yield LocalLog(services.custody.records.read, services.custody.tiles, key)


def _key(settings: Settings, tiles: TileSource, keys: Path | None) -> Verifier:
    """Return the log's key, by the name in its own checkpoint."""
    if keys is not None:
        return read_keys(keys)[0]
    try:
        origin = tiles.get(CHECKPOINT_PATH).decode().partition("\n")[0]
    except (LookupError, OSError, UnicodeDecodeError):
        raise CliError(
            f"{settings.state} holds no log with a checkpoint: has its service ever run?"
        ) from None
    return load_signing_key(settings.log_key_file, origin).verifier
