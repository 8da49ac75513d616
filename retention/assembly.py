"""The only module that names concrete adapters: settings in, custody out.

The embedded default is one state folder. It is made by `initialise`, once; afterwards every part of it must be there:
a missing key is an error, never a reason to make a new one.

Parts that the settings place in Azure take the place of their folder or file; with all of them there, and the records
in PostgreSQL, any number of machines share one service and none keeps a folder. Their libraries are imported where
they are needed, so that the embedded start stays quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event

from sqlalchemy import Engine, select

from audit.checkpoint import Signer
from audit.cosignature import Cosigner
from audit.cosigned_local import LocalCosignedStore
from audit.cosigners import Cosigners
from audit.cosigning import WitnessCore
from audit.folders import alone_in
from audit.mirror import Mirror, witnessed_size
from audit.sequencer import Sequencer
from audit.tiles import CHECKPOINT_PATH, LocalTileStore, TileMissingError, TileStore
from audit.witness import Witness
from audit.witness_local import LocalWitness
from retention.azure_connections import AzureConnections
from retention.clock import Clock, DevelopmentClock, SystemClock
from retention.custody.context import Custody
from retention.custody.people import Directory
from retention.custody.writers import Uploads
from retention.envelope.errors import KeyWrapperUnavailable, WrappedKeyBroken
from retention.envelope.key_file import LocalKeyWrapper
from retention.envelope.keys import RotatingKeyWrapper
from retention.link_keys import LinkKeys
from retention.objects.errors import KeyDestroyed, KeyMissing
from retention.objects.local import LocalObjectStore
from retention.objects.local_keys import LocalKeyStore
from retention.objects.store import KeyStore, ObjectStore
from retention.observing.observer import NOTHING, Observer
from retention.observing.parts import KEYS, OBJECTS, WRAPPER, WatchedRecords, watched
from retention.observing.state import State
from retention.records.engine import sqlite_engine
from retention.records.migrate import current_version, upgrade
from retention.records.tables import upload_links
from retention.records.unit_of_work import Records, SqliteRecords
from retention.settings import Settings, read_triggers
from retention.signing import (
    COSIGNING_KEY,
    LINK_KEY,
    LOG_KEY,
    RECEIPT_KEY,
    SIGNING_KEYS,
    SigningKeyFiles,
    SigningKeys,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a door works with."""

    settings: Settings
    custody: Custody
    directory: Directory
    uploads: Uploads
    sequencer: Sequencer
    log_signer: Signer
    key_wrapper: RotatingKeyWrapper
    witness: Witness
    mirror: Mirror
    cosigners: Cosigners
    link_keys: LinkKeys
    reconciled: Event = field(default_factory=Event)
    """Set once this process has held the records against log and key store (sequencing.py)."""
    observer: Observer = NOTHING

    def close(self) -> None:
        """Let go of the database, and of what was observed."""
        self.custody.records.close()
        self.observer.close()


def is_initialised(settings: Settings) -> bool:
    """True when the records, and so the keys before them, were made before."""
    return _is_initialised(settings, AzureConnections(settings.azure))


def _is_initialised(settings: Settings, azure: AzureConnections) -> bool:
    if settings.database_url is None:
        return settings.records_file.exists()
    records = _records(settings, azure)
    try:
        return current_version(records.engine) is not None
    finally:
        records.close()


def initialise(settings: Settings) -> bool:
    """Make the service's parts: keys first, records last, so that an interrupted start is simply begun again.

    Once there are records nothing is made: a key that is missing then was lost, and a new one would open nothing.
    False then. Of several at once one makes the parts, and the others wait for it.
    """
    azure = AzureConnections(settings.azure)
    if _is_initialised(settings, azure):
        return False
    if settings.has_local_parts:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _taking_turns(settings, azure):
        if _is_initialised(settings, azure):
            return False
        if settings.azure.blob:
            _make_containers(settings, azure)
        if settings.azure.key_url is None and not settings.key_file.exists():
            LocalKeyWrapper.create(settings.key_file, _clock(settings).now())
        signing = _signing_keys(settings, azure)
        for name in SIGNING_KEYS:
            signing.make_missing(name)
        records = _records(settings, azure)
        upgrade(records.engine)
        records.close()
    return True


@contextmanager
def _taking_turns(settings: Settings, azure: AzureConnections) -> Iterator[None]:
    """One at a time for each database. A vault has no "make it if it is missing": two would make a key each."""
    if settings.database_url is not None:
        from retention.records.postgres_engine import initialising

        records = _records(settings, azure)
        try:
            with initialising(records.engine):
                yield
        finally:
            records.close()
        return
    with alone_in(settings.state):
        yield


def observe(settings: Settings, process: str, *, scraped: bool = False) -> Observer:
    """What watches this process, whose role `process` names; made after it was forked.

    Without a collector, and not `scraped`, nobody does, and no library for it is loaded.
    """
    sends = settings.telemetry
    if not (scraped or sends.traces or sends.metrics):
        return NOTHING
    from retention.observing.telemetry import Telemetry

    return Telemetry(process, sends, scraped=scraped)


def assemble(settings: Settings, observer: Observer = NOTHING) -> Services:
    """Custody on what the settings name, from an initialised state folder."""
    clock, azure = _clock(settings), AzureConnections(settings.azure)
    wrapper = _wrapper(settings, azure)
    signing = _signing_keys(settings, azure)
    log_signer = Signer(settings.log_origin, signing.read(LOG_KEY))
    receipt_signer = Signer(settings.receipt_key_name, signing.read(RECEIPT_KEY))
    objects, keys = _stores(settings, azure)
    if settings.azure.blob:  # an account that would keep what is erased is refused here
        objects.check()
        keys.check()
    tiles = _tiles(settings, azure)
    _check_key(wrapper, keys)
    records = _records(settings, azure)
    upgrade(records.engine)
    link_keys = _link_keys(settings, signing, records.engine)
    witness = open_witness(settings, settings.log_origin)
    if observer is not NOTHING:
        records = WatchedRecords(records, observer)
        objects, keys = (
            watched(objects, "objects", observer, OBJECTS),
            watched(keys, "keys", observer, KEYS),
        )
        wrapper = watched(wrapper, "key-wrapper", observer, WRAPPER)
    custody = Custody(
        clock=clock,
        records=records,
        objects=objects,
        keys=keys,
        wrapper=wrapper,
        receipt_signer=receipt_signer,
        tiles=tiles,
        triggers=read_triggers(settings),
        limits=settings.limits,
        observer=observer,
    )
    return Services(
        settings=settings,
        custody=custody,
        directory=Directory(custody),
        uploads=Uploads(),
        sequencer=Sequencer(
            records.engine, tiles, log_signer, clock, lambda: witnessed_size(witness, log_signer.verifier)
        ),
        log_signer=log_signer,
        key_wrapper=wrapper,
        witness=witness,
        mirror=Mirror(records.engine, tiles, log_signer.verifier, witness, clock),
        cosigners=Cosigners(settings.witness.cosigners, tiles),
        link_keys=link_keys,
        observer=observer,
    )


class Parts:
    """Custody's parts one by one, opened when asked for and not yet used: to look at each whatever the others do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._azure = AzureConnections(settings.azure)

    def is_made(self) -> bool:
        """Whether this is a service that was made before, as far as this machine can tell without asking anybody."""
        remote = self.settings.database_url is not None or self.settings.azure.blob
        return remote or self.settings.records_file.exists()

    def records(self) -> Records:
        """To be closed."""
        return _records(self.settings, self._azure)

    def stores(self) -> tuple[ObjectStore, KeyStore]:
        return _stores(self.settings, self._azure)

    def tiles(self) -> TileStore:
        return _tiles(self.settings, self._azure)

    def wrapper(self) -> RotatingKeyWrapper:
        return _wrapper(self.settings, self._azure)

    def signing_keys(self) -> SigningKeys:
        return _signing_keys(self.settings, self._azure)

    def cosigning_keys(self) -> SigningKeys:
        """Where the key for others' logs is: a file of this machine, as is what it cosigned last."""
        return SigningKeyFiles(self.settings.state)

    def clock(self) -> Clock:
        return _clock(self.settings)

    def storage_time(self) -> datetime | None:
        """What time it is in the storage account; None without one."""
        if not self.settings.azure.blob:
            return None
        from retention.objects.azure_account import time_there

        return time_there(self._azure.blobs, self.settings.azure.bundle_container)


def state_of(services: Services) -> State:
    """How the work stands, for an observer to export."""
    return State(services.custody.records, services.mirror, services.custody.clock)


def open_witness(settings: Settings, origin: str) -> Witness:
    """Where the log of this origin is witnessed: the bucket, if one is set, else the folder.

    The bucket's library is loaded only then: it takes longer to load than all of custody.
    """
    place = settings.witness
    if place.bucket is None:
        return LocalWitness(settings.witness_folder)
    from audit.witness_s3 import S3Witness

    return S3Witness(place.bucket, origin, _clock(settings), endpoint=place.endpoint, period=place.period)


def open_cosigning(settings: Settings) -> WitnessCore | None:
    """Cosigning of the logs that the settings name; None if they name none.

    Its key is made with the first of them. Once something was cosigned a missing key was lost, and is not made anew.
    """
    logs = settings.witness.cosigned_logs
    if not logs:
        return None
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = SigningKeyFiles(settings.state)
    if not settings.cosigned_folder.exists():
        keys.make_missing(COSIGNING_KEY)
    cosigner = Cosigner(settings.cosigner_name, keys.read(COSIGNING_KEY))
    store = LocalCosignedStore(settings.cosigned_folder)
    return WitnessCore({log.name: log for log in logs}, cosigner, store, _clock(settings))


def _link_keys(settings: Settings, signing: SigningKeys, engine: Engine) -> LinkKeys:
    """The keys of upload links. A state folder from before there were any gets its file here, while none is issued."""
    with engine.connect() as connection:
        issued = connection.execute(select(upload_links.c.id).limit(1)).first()
    if issued is None and settings.azure.signing_vault_url is None:
        signing.make_missing(LINK_KEY)
    return LinkKeys(signing.read(LINK_KEY))


def _check_key(wrapper: RotatingKeyWrapper, keys: KeyStore) -> None:
    """UnknownKeyEncryptionKey when the key is another installation's: found out now, not at the first read.

    A key that cannot be used now is no reason not to start: the log, tombstones and receipts need none.
    """
    with suppress(StopIteration, KeyDestroyed, KeyMissing, KeyWrapperUnavailable, WrappedKeyBroken):
        bundle_id = next(keys.list_bundles())
        wrapper.unwrap(keys.get(bundle_id), bundle_id)


def _stores(settings: Settings, azure: AzureConnections) -> tuple[ObjectStore, KeyStore]:
    """Where bundles and data keys are."""
    if not settings.azure.blob:
        return LocalObjectStore(settings.objects_folder), LocalKeyStore(settings.data_keys_folder)
    from retention.objects.azure_blob import AzureBlobObjectStore
    from retention.objects.azure_keys import AzureBlobKeyStore

    objects = AzureBlobObjectStore(azure.blobs, settings.azure.bundle_container)
    keys = AzureBlobKeyStore(azure.blobs, settings.azure.data_key_container)
    return objects, keys


def _tiles(settings: Settings, azure: AzureConnections) -> TileStore:
    """The log's own store; one that does not answer is found out here."""
    if not settings.azure.blob:
        return LocalTileStore(settings.log_folder)
    from audit.tiles_azure import AzureTileStore

    tiles = AzureTileStore(azure.blobs.get_container_client(settings.azure.log_container))
    with suppress(TileMissingError):  # a log that has just been begun
        tiles.get(CHECKPOINT_PATH)
    return tiles


def _make_containers(settings: Settings, azure: AzureConnections) -> None:
    from retention.objects.azure_account import make_container

    for name in settings.azure.containers:
        make_container(azure.blobs, name)


def _wrapper(settings: Settings, azure: AzureConnections) -> RotatingKeyWrapper:
    if settings.azure.key_url is None:
        return LocalKeyWrapper(settings.key_file)
    from retention.envelope.key_vault import KeyVaultWrapper

    return KeyVaultWrapper(settings.azure.key_url, azure.credential)


def _signing_keys(settings: Settings, azure: AzureConnections) -> SigningKeys:
    if settings.azure.signing_vault_url is None:
        return SigningKeyFiles(settings.state)
    from retention.signing_vault import SigningSecrets

    return SigningSecrets(settings.azure.signing_vault_url, azure.credential)


def _records(settings: Settings, azure: AzureConnections) -> Records:
    if settings.database_url is None:
        return SqliteRecords(sqlite_engine(settings.records_file))
    from retention.records.postgres import PostgresRecords
    from retention.records.postgres_engine import postgres_engine

    password = None
    if settings.database_by_token:
        from retention.records.entra import entra_password

        password = entra_password(azure.credential)
    connections = settings.database_connections
    return PostgresRecords(postgres_engine(settings.database_url, connections=connections, password=password))


def _clock(settings: Settings) -> Clock:
    return DevelopmentClock(settings.clock_file) if settings.development else SystemClock()
