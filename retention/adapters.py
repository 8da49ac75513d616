"""The only module that names concrete adapters: each part of custody, as the settings place it.

The embedded default is one state folder. Parts that the settings place in Azure replace their folder or file; with all
of them there, and the records in PostgreSQL, any number of machines share one service and none keeps a folder. The
parts in Azure share one identity and one client of the account, made when the first of them needs it. Their libraries
are imported only then, so that the embedded start stays quick.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from audit.cosigning.server import CosignedStore, LocalCosignedStore
from audit.mirror.store import MirrorStore
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.tile_store import LocalTileStore, TileStore
from retention.clock import Clock, DevelopmentClock, SystemClock
from retention.config import Settings
from retention.config_azure import AzureSettings
from retention.custody.timekeeping import Sources
from retention.domain.notice import Sender, Way
from retention.envelope.data_keys import RotatingKeyWrapper
from retention.keys.key_file import LocalKeyWrapper
from retention.keys.signing import SigningKeyFiles, SigningKeys
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store import KeyStore, ObjectStore
from retention.records.migrate import time_at
from retention.records.postgres_url import is_here, is_local
from retention.records.sqlite_engine import sqlite_engine
from retention.records.unit_of_work import Records, SqliteRecords
from retention.senders.mail import MailSender
from retention.senders.webhook import WebhookSender
from retention.telemetry.observer import NOTHING, Observer

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient


class AzureConnections:
    """The shared connections to Azure. Not for two processes: a client made before a fork is not used after it."""

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings
        # The libraries log every request, with its address and headers: that has no place in our logs, and writing it
        # costs more processor time than the request.
        logging.getLogger("azure").setLevel(logging.WARNING)

    @cached_property
    def credential(self) -> TokenCredential:
        """The identity of this process: workload identity, managed identity, or an administrator's own login.

        It is shared, because it remembers which of them it found, and each token until that expires.
        """
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @cached_property
    def blobs(self) -> BlobServiceClient:
        from retention.objects.azure.blob_service import connect, connect_by_string

        if self._settings.connection_string is not None:
            return connect_by_string(self._settings.connection_string)
        return connect(str(self._settings.account_url), self.credential)


class Adapters:
    """The parts, each opened when asked for: to be assembled, or checked independently of the others."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._azure = AzureConnections(settings.azure)

    def is_made(self) -> bool:
        """Tell whether the service was made before, as far as this machine can tell without a request."""
        remote = self.settings.database_url is not None or self.settings.azure.blob
        return remote or self.settings.records_file.exists()

    def records(self) -> Records:
        """Open the records; the caller closes them."""
        settings = self.settings
        if settings.database_url is None:
            return SqliteRecords(sqlite_engine(settings.records_file))
        from retention.records.postgres import PostgresRecords
        from retention.records.postgres_engine import postgres_engine

        password = None
        if settings.database_by_token:
            from retention.records.postgres_engine import entra_password

            password = entra_password(self._azure.credential)
        connections = settings.database_connections
        return PostgresRecords(
            postgres_engine(settings.database_url, connections=connections, password=password)
        )

    def stores(self) -> tuple[ObjectStore, KeyStore]:
        """Open the stores of bundles and of data keys."""
        settings = self.settings
        if not settings.azure.blob:
            reserve, beside = settings.disk_reserve, (settings.state,)
            objects_here = LocalObjectStore(settings.objects_folder, reserve=reserve, beside=beside)
            return objects_here, LocalKeyStore(settings.data_keys_folder)
        from retention.objects.azure.key_store import AzureBlobKeyStore
        from retention.objects.azure.part_store import AzureBlobObjectStore

        objects = AzureBlobObjectStore(self._azure.blobs, settings.azure.bundle_container)
        keys = AzureBlobKeyStore(self._azure.blobs, settings.azure.data_key_container)
        return objects, keys

    def tiles(self) -> TileStore:
        """Open the log's own store; one that does not respond is found out here."""
        settings = self.settings
        if not settings.azure.blob:
            return LocalTileStore(settings.log_folder)
        from audit.tlog.tile_store_azure import AzureTileStore

        tiles = AzureTileStore(self._azure.blobs.get_container_client(settings.azure.log_container))
        tiles.check()
        return tiles

    def make_containers(self) -> None:
        """Make the missing containers of the storage account."""
        if not self.settings.azure.blob:
            return
        from retention.objects.azure.account_check import make_container

        for name in self.settings.azure.containers:
            make_container(self._azure.blobs, name)

    def make_key(self) -> None:
        """Make the key-encryption key, where it is a missing file. One in a vault comes with the vault."""
        if self.settings.azure.key_url is None and not self.settings.key_file.exists():
            LocalKeyWrapper.create(self.settings.key_file, self.clock().now())

    def wrapper(self) -> RotatingKeyWrapper:
        if self.settings.azure.key_url is None:
            return LocalKeyWrapper(self.settings.key_file)
        from retention.keys.key_vault import KeyVaultWrapper

        return KeyVaultWrapper(self.settings.azure.key_url, self._azure.credential)

    def signing_keys(self) -> SigningKeys:
        if self.settings.azure.signing_vault_url is None:
            return SigningKeyFiles(self.settings.state)
        from retention.keys.signing_secrets import SigningSecrets

        return SigningSecrets(self.settings.azure.signing_vault_url, self._azure.credential)

    def cosigning_keys(self) -> SigningKeys:
        """Open the place of the key for others' logs: a file of this machine, like the last cosigned checkpoints."""
        return SigningKeyFiles(self.settings.state)

    def cosigned(self) -> CosignedStore:
        """Open the store of the last cosigned checkpoints of others' logs."""
        return LocalCosignedStore(self.settings.cosigned_folder)

    def witness(self, origin: str) -> MirrorStore:
        """Open the mirror of the log of this origin: the bucket, if one is set, else the folder.

        The bucket's library is loaded only then: it takes longer to load than all of custody.
        """
        place = self.settings.witness
        if place.bucket is None:
            return LocalMirrorStore(self.settings.witness_folder)
        from audit.mirror.store_s3 import S3MirrorStore

        return S3MirrorStore(place.bucket, origin, self.clock(), endpoint=place.endpoint, period=place.period)

    def senders(self) -> Mapping[Way, Sender]:
        """Make what sends notices, by way."""
        told = self.settings.notices
        loopback = self.settings.development
        webhooks = WebhookSender(told.networks, loopback=loopback, authorities=told.authorities)
        return {Way.WEBHOOK: webhooks, Way.MAIL: MailSender(told.mail)}

    def observer(self, process: str, *, scraped: bool = False) -> Observer:
        """Make the observer of this process, whose role is `process`, after it was forked.

        Without a collector, and not `scraped`, there is none, and no library for it is loaded.
        """
        sends = self.settings.telemetry
        if not (scraped or sends.traces or sends.metrics):
            return NOTHING
        from retention.telemetry.opentelemetry import Telemetry

        return Telemetry(process, sends, scraped=scraped)

    @cached_property
    def machine_clock(self) -> SystemClock:
        """This machine's clock: one for all parts, so that what is found out about it counts for all."""
        return SystemClock(settle=self.settings.time_settle)

    def clock(self) -> Clock:
        """Choose the clock that the service goes by."""
        machine = self.machine_clock
        return DevelopmentClock(self.settings.clock_file, machine) if self.settings.development else machine

    def other_clocks(self, records: Records, witness: MirrorStore) -> Sources:
        """Return the clocks that run on other machines, as far as their addresses tell."""
        settings, found = self.settings, {}
        if settings.database_url is not None and not is_here(settings.database_url):
            found["the database"] = lambda: time_at(records.engine)
        if settings.azure.blob and not is_local(urlsplit(self._azure.blobs.url).hostname or ""):
            found["the storage account"] = self.storage_time
        place = settings.witness
        if place.bucket is not None and not is_local(urlsplit(place.endpoint or "").hostname or "aws"):
            found["the witness"] = witness.time
        return found

    def storage_time(self) -> datetime | None:
        """Return the storage account's time; None without an account."""
        if not self.settings.azure.blob:
            return None
        from retention.objects.azure.account_check import time_there

        return time_there(self._azure.blobs, self.settings.azure.bundle_container)
