"""An installation that is backed up and restored: everything real, the service coming up on what is there."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from audit.mirror.compare import RecordedLog, hold_to_witness, read_kept
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.merkle import verify_consistency
from audit.tlog.proofs import prove_consistency
from retention.assembly import Services, assemble, initialise
from retention.config import MirrorSettings, Settings
from retention.custody.erasure import erasure_steps
from retention.jobs.sequencing import witness_once
from retention.jobs.sweep import sweep
from tests.retention.custody.world import FakeClock, World
from tests.servers.postgres import shared_server
from tests.servers.schema import copied_schema

CONTENT = b"PLAINTEXT-MARKER of a drill\n" * 3000


class Installation:
    """One state folder, its back-ups, and the service that comes up on it."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.folder = folder
        self.settings = Settings(
            state=folder / "state",
            witness=MirrorSettings(folder=folder / "elsewhere" / "witness"),
            database_url=database_url,
        )
        self.clock = FakeClock()
        with copied_schema():
            initialise(self.settings)

    @contextmanager
    def service(self) -> Iterator[tuple[Services, World]]:
        services = assemble(self.settings)
        try:
            custody = dataclasses.replace(services.custody, clock=self.clock)
            yield (
                services,
                World(self.settings.state, custody, self.clock, services.log_signer, services.receipt_signer),
            )
        finally:
            services.close()

    def back_up(self) -> None:
        self._back_up_database()
        shutil.copytree(self.settings.log_folder, self.folder / "log-backup")
        shutil.copytree(self.settings.objects_folder, self.folder / "objects-backup")

    def back_up_again(self) -> None:
        """In the place of the one before."""
        for place in (self.settings.log_folder, self.settings.objects_folder):
            shutil.rmtree(self.folder / f"{place.name}-backup")
        self.back_up()

    def restore(self, *, log: bool = False, objects: bool = False) -> None:
        """The database as it was; of the key store there is no back-up, on purpose."""
        self._restore_database()
        for wanted, place in ((log, self.settings.log_folder), (objects, self.settings.objects_folder)):
            if wanted:
                shutil.rmtree(place)
                shutil.copytree(self.folder / f"{place.name}-backup", place)

    def _back_up_database(self) -> None:
        self._backup.unlink(missing_ok=True)
        live, copy = sqlite3.connect(self.settings.records_file), sqlite3.connect(self._backup)
        with closing(live), closing(copy):  # as a context it would commit, and stay open
            live.backup(copy)

    def _restore_database(self) -> None:
        for tail in ("-wal", "-shm"):
            self.settings.records_file.with_name(f"records.db{tail}").unlink(missing_ok=True)
        shutil.copy(self._backup, self.settings.records_file)

    @property
    def _backup(self) -> Path:
        return self.folder / "records-backup.db"


class PostgresInstallation(Installation):
    """Its records in a PostgreSQL database, which is backed up and restored file by file."""

    def __init__(self, folder: Path) -> None:
        self._server = shared_server()
        self._database = self._server.new_database()
        super().__init__(folder, self._server.url(self._database))

    def _back_up_database(self) -> None:
        self._server.admin(f"CREATE DATABASE {self._copy} TEMPLATE {self._database}")

    def _restore_database(self) -> None:
        """Also under a service that runs: its connections are cut."""
        self._server.drop(self._database)
        self._server.admin(f"CREATE DATABASE {self._database} TEMPLATE {self._copy}")

    @property
    def _copy(self) -> str:
        return f"{self._database}_backup"

    def remove(self) -> None:
        for database in (self._database, self._copy):
            self._server.drop(database)


def publish(services: Services) -> str:
    """Sequence everything, witness it at once; the published note."""
    services.sequencer.run_once()
    services.mirror._pause = timedelta(0)
    assert witness_once(services)
    return services.custody.tiles.get("checkpoint").decode()


def log_is_good(services: Services) -> None:
    key = services.log_signer.verifier
    kept = read_kept(services.witness, key)
    with services.custody.records.read() as reads:
        verdict = hold_to_witness(RecordedLog(reads, key, services.custody.tiles), services.witness, kept)
    assert list(verdict.sentences()) == []
    assert verdict.good


def extends(services: Services, before: str) -> None:
    """The published log extends the one of this note: nothing that was signed was taken back."""
    key, tiles = services.log_signer.verifier, services.custody.tiles
    old = open_checkpoint(before, key)
    new = open_checkpoint(tiles.get("checkpoint").decode(), key)
    verify_consistency(old.size, new.size, prove_consistency(tiles, old.size, new.size), old.root, new.root)


def leaves(world: World, *actions: str) -> list[dict[str, Any]]:
    return [leaf for leaf in world.leaves() if leaf["action"] in actions]


def drill(installation: Installation) -> tuple[str, str, str, str]:
    """Two bundles; a back-up; the customer has one erased; after the back-up another one comes."""
    with installation.service() as (services, world):
        world.open_case()
        world.assign(world.engineer)
        erased, kept = world.upload(CONTENT), world.upload(CONTENT)
        world.grant()
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        erasure_steps.request_bundle_erasure(world.custody, world.operator, erased)
        sweep(world.custody)
        assert world.state(erased) == "erased"
        late = world.upload(CONTENT)
        note = publish(services)
    return erased, kept, late, note
