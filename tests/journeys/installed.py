"""What a service is installed on, and how its administrator backs it up and restores it.

Of the key store there is no back-up, on purpose (P7); the witness is in other hands.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from azure.storage.blob import BlobBlock, BlobClient, BlobServiceClient

from tests.journeys.served import Served, start
from tests.servers.postgres import shared_server


class Installed(Protocol):
    """One installation; it is stopped when it is backed up and restored."""

    folder: Path
    settings: dict[str, str]

    def back_up(self) -> None: ...

    def restore(self) -> None: ...


class OneMachine:
    """The embedded default: SQLite and folders."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder, self.settings = folder, settings
        self._copy = folder / "copy"

    def back_up(self) -> None:
        shutil.copytree(self.folder / "state", self._copy, ignore=shutil.ignore_patterns("data-keys", "tls"))

    def restore(self) -> None:
        state = self.folder / "state"
        for file in state.glob("records.db*"):
            file.unlink()
        shutil.copy(self._copy / "records.db", state)
        shutil.rmtree(state / "objects")
        shutil.copytree(self._copy / "objects", state / "objects")


class OnAzure:
    """PostgreSQL, backed up by file, and Blob Storage, whose bundles somebody copied."""

    def __init__(
        self, folder: Path, settings: dict[str, str], account: BlobServiceClient, connection: str, name: str
    ) -> None:
        self.folder = folder
        self._database = shared_server().new_database()
        self._bundles, self._keys = f"{name}-bundles", f"{name}-keys"
        self._account = account
        self._copied: dict[
            str, list[tuple[str, bytes]]
        ] = {}  # a bundle is its blocks: their ids are its part list
        self.settings = {
            **settings,
            "CASEVAULT_DATABASE_URL": shared_server().url(self._database),
            "CASEVAULT_BLOB_CONNECTION_STRING": connection,
            "CASEVAULT_BLOB_CONTAINER": self._bundles,
            "CASEVAULT_DATA_KEY_CONTAINER": self._keys,
        }

    def back_up(self) -> None:
        shared_server().admin(f"CREATE DATABASE {self._database}_copy TEMPLATE {self._database}")
        with self._account.get_container_client(self._bundles) as container:
            self._copied = {
                name: _blocks(container.get_blob_client(name)) for name in container.list_blob_names()
            }

    def restore(self) -> None:
        shared_server().drop(self._database)
        shared_server().admin(f"CREATE DATABASE {self._database} TEMPLATE {self._database}_copy")
        with self._account.get_container_client(self._bundles) as container:
            for name in container.list_blob_names():
                container.delete_blob(name)
            for name, blocks in self._copied.items():
                blob = container.get_blob_client(name)
                for block_id, data in blocks:
                    blob.stage_block(block_id, data)
                blob.commit_block_list([BlobBlock(block_id) for block_id, _ in blocks])

    def remove(self) -> None:
        for database in (self._database, f"{self._database}_copy"):
            shared_server().drop(database)
        for name in (self._bundles, self._keys):
            self._account.delete_container(name)


def _blocks(blob: BlobClient) -> list[tuple[str, bytes]]:
    committed, _ = blob.get_block_list()
    data = io.BytesIO(blob.download_blob().readall())
    return [(block.id, data.read(block.size)) for block in committed]


@contextmanager
def serving(folder: Path, *, ready: bool = True, **settings: str) -> Iterator[Served]:
    """The service on what is in the folder, for as long as the block lasts."""
    served = start(folder, ready=ready, **settings)
    try:
        yield served
    finally:
        served.stop()
