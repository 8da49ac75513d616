"""The only module that names concrete adapters: settings in, custody out.

The embedded default is one state folder. It is made by `initialise`, once; afterwards every part of it must be there:
a missing key file is an error, never a reason to make a new key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from audit.checkpoint import Signer
from audit.sequencer import Sequencer
from audit.tiles import LocalTileStore
from retention.clock import Clock, DevelopmentClock, SystemClock
from retention.custody.context import Custody
from retention.custody.people import Directory
from retention.custody.writers import Uploads
from retention.envelope.errors import WrappedKeyBroken
from retention.envelope.key_file import LocalKeyWrapper
from retention.objects.errors import KeyDestroyed, KeyMissing
from retention.objects.local import LocalObjectStore
from retention.objects.local_keys import LocalKeyStore
from retention.records.engine import sqlite_engine
from retention.records.migrate import upgrade
from retention.records.unit_of_work import SqliteRecords
from retention.settings import Settings, read_triggers
from retention.signing import create_signing_key, load_signing_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a door works with."""

    settings: Settings
    custody: Custody
    directory: Directory
    uploads: Uploads
    sequencer: Sequencer
    log_signer: Signer
    key_wrapper: LocalKeyWrapper

    def close(self) -> None:
        """Let go of the database."""
        self.custody.records.close()


def is_initialised(settings: Settings) -> bool:
    """True when the state folder was made before."""
    return settings.records_file.exists()


def initialise(settings: Settings) -> None:
    """Make the state folder: keys first, records last, so that an interrupted start is simply begun again.

    Once there are records nothing is made: a key that is missing then was lost, and a new one would open nothing.
    """
    if is_initialised(settings):
        return
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not settings.key_file.exists():
        LocalKeyWrapper.create(settings.key_file, _clock(settings).now())
    for path in (settings.log_key_file, settings.receipt_key_file):
        if not path.exists():
            create_signing_key(path)
    engine = sqlite_engine(settings.records_file)
    upgrade(engine)
    engine.dispose()


def assemble(settings: Settings) -> Services:
    """Custody on the embedded default, from an initialised state folder."""
    clock = _clock(settings)
    wrapper = LocalKeyWrapper(settings.key_file)
    log_signer = load_signing_key(settings.log_key_file, settings.log_origin)
    receipt_signer = load_signing_key(settings.receipt_key_file, settings.receipt_key_name)
    keys = LocalKeyStore(settings.data_keys_folder)
    _check_key_file(wrapper, keys)
    engine = sqlite_engine(settings.records_file)
    upgrade(engine)
    tiles = LocalTileStore(settings.log_folder)
    custody = Custody(
        clock=clock,
        records=SqliteRecords(engine),
        objects=LocalObjectStore(settings.objects_folder),
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
        sequencer=Sequencer(engine, tiles, log_signer, clock),
        log_signer=log_signer,
        key_wrapper=wrapper,
    )


def _check_key_file(wrapper: LocalKeyWrapper, keys: LocalKeyStore) -> None:
    """UnknownKeyEncryptionKey when the key file is another installation's: found out now, not at the first read."""
    with suppress(StopIteration, KeyDestroyed, KeyMissing, WrappedKeyBroken):
        bundle_id = next(keys.list_bundles())
        wrapper.unwrap(keys.get(bundle_id), bundle_id)


def _clock(settings: Settings) -> Clock:
    return DevelopmentClock(settings.clock_file) if settings.development else SystemClock()
