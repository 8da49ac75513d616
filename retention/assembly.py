"""The only module that names concrete adapters: settings in, custody out.

The embedded default is one state folder. It is made by `initialise`, once; afterwards every part of it must be there:
a missing key file is an error, never a reason to make a new key.

Parts that the settings place in Azure take the place of their folder or file. Their libraries are imported where they
are needed, so that the embedded start stays quick.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select

from audit.checkpoint import Signer
from audit.cosignature import Cosigner
from audit.cosigned_local import LocalCosignedStore
from audit.cosigners import Cosigners
from audit.cosigning import WitnessCore
from audit.mirror import Mirror, witnessed_size
from audit.sequencer import Sequencer
from audit.tiles import LocalTileStore
from audit.witness import Witness
from audit.witness_local import LocalWitness
from retention.clock import Clock, DevelopmentClock, SystemClock
from retention.custody.context import Custody
from retention.custody.people import Directory
from retention.custody.writers import Uploads
from retention.envelope.errors import KeyWrapperUnavailable, WrappedKeyBroken
from retention.envelope.key_file import LocalKeyWrapper
from retention.envelope.keys import RotatingKeyWrapper
from retention.link_keys import LinkKeys, load_link_keys
from retention.objects.errors import KeyDestroyed, KeyMissing
from retention.objects.local import LocalObjectStore
from retention.objects.local_keys import LocalKeyStore
from retention.objects.store import KeyStore, ObjectStore
from retention.records.engine import sqlite_engine
from retention.records.migrate import current_version, upgrade
from retention.records.tables import upload_links
from retention.records.unit_of_work import Records, SqliteRecords
from retention.settings import Settings, read_triggers
from retention.signing import create_signing_key, load_signing_key, read_secret

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient


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

    def close(self) -> None:
        """Let go of the database."""
        self.custody.records.close()


def is_initialised(settings: Settings) -> bool:
    """True when the records, and so the keys before them, were made before."""
    if settings.database_url is None:
        return settings.records_file.exists()
    records = _records(settings)
    try:
        return current_version(records.engine) is not None
    finally:
        records.close()


def initialise(settings: Settings) -> None:
    """Make the state folder: keys first, records last, so that an interrupted start is simply begun again.

    Once there are records nothing is made: a key that is missing then was lost, and a new one would open nothing.
    """
    if is_initialised(settings):
        return
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.azure.blob:
        _make_containers(settings)
    if settings.azure.key_url is None and not settings.key_file.exists():
        LocalKeyWrapper.create(settings.key_file, _clock(settings).now())
    for path in (settings.log_key_file, settings.receipt_key_file, settings.link_key_file):
        if not path.exists():
            create_signing_key(path)
    records = _records(settings)
    upgrade(records.engine)
    records.close()


def assemble(settings: Settings) -> Services:
    """Custody on what the settings name, from an initialised state folder."""
    clock = _clock(settings)
    wrapper = _wrapper(settings)
    log_signer = load_signing_key(settings.log_key_file, settings.log_origin)
    receipt_signer = load_signing_key(settings.receipt_key_file, settings.receipt_key_name)
    objects, keys = _stores(settings)
    _check_key(wrapper, keys)
    records = _records(settings)
    upgrade(records.engine)
    link_keys = _link_keys(settings, records.engine)
    tiles = LocalTileStore(settings.log_folder)
    witness = open_witness(settings, settings.log_origin)
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
    )


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
    if not settings.cosigning_key_file.exists() and not settings.cosigned_folder.exists():
        with suppress(FileExistsError):  # another process was first
            create_signing_key(settings.cosigning_key_file)
    cosigner = Cosigner(settings.cosigner_name, read_secret(settings.cosigning_key_file))
    store = LocalCosignedStore(settings.cosigned_folder)
    return WitnessCore({log.name: log for log in logs}, cosigner, store, _clock(settings))


def _link_keys(settings: Settings, engine: Engine) -> LinkKeys:
    """The keys of upload links. A state folder from before there were any gets its file here, while none is issued."""
    with engine.connect() as connection:
        issued = connection.execute(select(upload_links.c.id).limit(1)).first()
    if issued is None and not settings.link_key_file.exists():
        with suppress(FileExistsError):  # another process was first
            create_signing_key(settings.link_key_file)
    return load_link_keys(settings.link_key_file)


def _check_key(wrapper: RotatingKeyWrapper, keys: KeyStore) -> None:
    """UnknownKeyEncryptionKey when the key is another installation's: found out now, not at the first read.

    A key that cannot be used now is no reason not to start: the log, tombstones and receipts need none.
    """
    with suppress(StopIteration, KeyDestroyed, KeyMissing, KeyWrapperUnavailable, WrappedKeyBroken):
        bundle_id = next(keys.list_bundles())
        wrapper.unwrap(keys.get(bundle_id), bundle_id)


def _stores(settings: Settings) -> tuple[ObjectStore, KeyStore]:
    """Where bundles and data keys are; an account that would keep what is erased is refused here."""
    if not settings.azure.blob:
        return LocalObjectStore(settings.objects_folder), LocalKeyStore(settings.data_keys_folder)
    from retention.objects.azure_blob import AzureBlobObjectStore
    from retention.objects.azure_keys import AzureBlobKeyStore

    service = _blob_service(settings)
    objects = AzureBlobObjectStore(service, settings.azure.bundle_container)
    keys = AzureBlobKeyStore(service, settings.azure.data_key_container)
    objects.check()
    keys.check()
    return objects, keys


def _blob_service(settings: Settings) -> BlobServiceClient:
    from retention.objects.azure_service import connect, connect_by_string

    if settings.azure.connection_string is not None:
        return connect_by_string(settings.azure.connection_string)
    return connect(str(settings.azure.account_url), _credential())


def _make_containers(settings: Settings) -> None:
    from retention.objects.azure_account import make_container

    service = _blob_service(settings)
    for name in (settings.azure.bundle_container, settings.azure.data_key_container):
        make_container(service, name)


def _wrapper(settings: Settings) -> RotatingKeyWrapper:
    if settings.azure.key_url is None:
        return LocalKeyWrapper(settings.key_file)
    from retention.envelope.key_vault import KeyVaultWrapper

    return KeyVaultWrapper(settings.azure.key_url, _credential())


def _credential() -> TokenCredential:
    """The identity of this process: workload identity, managed identity, or an administrator's own login."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _records(settings: Settings) -> Records:
    if settings.database_url is None:
        return SqliteRecords(sqlite_engine(settings.records_file))
    from retention.records.postgres import PostgresRecords
    from retention.records.postgres_engine import postgres_engine

    return PostgresRecords(postgres_engine(settings.database_url, connections=settings.database_connections))


def _clock(settings: Settings) -> Clock:
    return DevelopmentClock(settings.clock_file) if settings.development else SystemClock()
