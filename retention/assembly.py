"""Settings in, custody out: the service's parts are made once, and put together for each process.

`initialise` makes them; afterwards every one must exist: a missing key is an error, never a reason to make a new one.
`adapters.py` chooses the adapter of each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy import Engine, select

from audit.cosigning.client import Cosigners
from audit.cosigning.cosignature import Cosigner
from audit.cosigning.server import CosigningServer
from audit.durable import alone_in
from audit.log.sequencer import Sequencer
from audit.log.tail_recovery import RowGaps
from audit.mirror.copying import Mirror, witnessed_size
from audit.mirror.store import MirrorStore
from audit.tlog.checkpoint import Signer, Verifier
from retention.adapters import Adapters
from retention.clock import Clock
from retention.config import PublicKeys, Settings, read_triggers
from retention.custody.access.first_binding import is_marked, mark_bound
from retention.custody.access.people import Directory
from retention.custody.backlog import State
from retention.custody.compare_records import Comparison
from retention.custody.context import Custody
from retention.custody.log_gate import LogGate
from retention.custody.log_rules import tell_rules
from retention.custody.notices.outbox import TellingRecords
from retention.custody.timekeeping import ClockSkew, Timekeeper
from retention.custody.uploads.lease import Uploads
from retention.domain.notice import Sender, Telling, Way
from retention.domain.row_tag import Binding
from retention.envelope.data_keys import RotatingKeyWrapper
from retention.envelope.format import KeyWrapperUnavailable, WrappedKeyBroken
from retention.keys.signing import (
    BINDING_KEY,
    COSIGNING_KEY,
    LINK_KEY,
    LOG_KEY,
    RECEIPT_KEY,
    SIGNING_KEYS,
    LinkKeys,
    SigningKeyRefused,
    SigningKeys,
)
from retention.objects.store import KeyStore
from retention.objects.store_errors import KeyDestroyed, KeyMissing
from retention.records.migrate import current_version, give_rights_anew, time_at, upgrade
from retention.records.schema import refuse_foreign
from retention.records.tables import upload_links
from retention.records.unit_of_work import Records
from retention.telemetry.observer import KEYS, NOTHING, OBJECTS, WRAPPER, Observer, WatchedRecords, watched

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Alterations:
    """Alterations of the database outside the service that this process has found (jobs/sequencing.py)."""

    gaps: RowGaps = field(default_factory=RowGaps)
    missing_rows: int = 0
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """The parts that order and sign the log, for the clock's process."""

    sequencer: Sequencer
    log: Signer
    receipts: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts that a door works with. `signing` is None where the settings name only public keys."""

    settings: Settings
    custody: Custody
    directory: Directory
    uploads: Uploads
    log_key: Verifier
    receipt_key: Verifier
    signing: Signing | None
    key_wrapper: RotatingKeyWrapper
    witness: MirrorStore
    mirror: Mirror
    cosigners: Cosigners
    link_keys: LinkKeys
    timekeeper: Timekeeper
    clock_skew: ClockSkew
    senders: Mapping[Way, Sender]
    reconciled: Event = field(default_factory=Event)
    """Set once this process has brought the records up to every copy of the log (jobs/sequencing.py)."""
    comparison: Comparison = field(default_factory=Comparison)
    """This process's comparison of the records with log and stores (jobs/sequencing.py)."""
    bound: Event = field(default_factory=Event)
    """Set once this process has seen that the records are bound, or cannot be (jobs/sequencing.py)."""
    alterations: Alterations = field(default_factory=Alterations)
    observer: Observer = NOTHING

    def signs(self) -> Signing:
        """Return the signing parts; SigningKeyRefused where this process has none."""
        if self.signing is None:
            raise SigningKeyRefused(
                "this process holds no key that signs the log: unset CASEVAULT_LOG_VERIFIER and "
                "CASEVAULT_RECEIPT_VERIFIER, and let it read the signing keys"
            )
        return self.signing

    @property
    def sequencer(self) -> Sequencer:
        return self.signs().sequencer

    @property
    def log_signer(self) -> Signer:
        return self.signs().log

    @property
    def receipt_signer(self) -> Signer:
        return self.signs().receipts

    def close(self) -> None:
        """Enter the refusals only counted so far, and close the database and the observer."""
        try:
            self.custody.write_counts(everything=True)
        except Exception:
            LOG.exception("refusals that were counted could not be entered in the log")
        self.custody.records.close()
        self.observer.close()


def is_initialised(settings: Settings) -> bool:
    """Tell whether the records, and so the keys before them, were made before."""
    return _is_initialised(Adapters(settings))


def _is_initialised(adapters: Adapters) -> bool:
    if adapters.settings.database_url is None:
        return adapters.settings.records_file.exists()
    records = adapters.records()
    try:
        return current_version(records.engine) is not None
    finally:
        records.close()


def initialise(settings: Settings) -> bool:
    """Make the service's parts: keys first, records last, so that an interrupted start can simply be repeated.

    Once there are records nothing is made, and False is returned: a missing key was lost then, and a new one would open
    nothing. Of several at once one makes the parts, and the others wait for it.
    """
    adapters = Adapters(settings)
    if _is_initialised(adapters):
        _make_binding_key(adapters)
        return False
    if settings.has_local_parts:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _initialising_alone(adapters):
        if _is_initialised(adapters):
            return False
        adapters.make_containers()
        adapters.make_key()
        signing = adapters.signing_keys()
        for name in SIGNING_KEYS:
            signing.make_missing(name)
        records = adapters.records()
        upgrade(records.engine)
        mark_bound(records, Binding(signing.read(BINDING_KEY)), adapters.clock().now())
        records.close()
    return True


def public_keys(settings: Settings) -> PublicKeys:
    """Return the keys with which outsiders check the log and its receipts."""
    return _keys(settings, Adapters(settings).signing_keys())[0]


def bring_up_to_date(settings: Settings) -> None:
    """Bring the schema to its newest version, and the doors' roles to their rights in it; as the schema's owner."""
    records = Adapters(settings).records()
    try:
        upgrade(records.engine)
        give_rights_anew(records.engine)
    finally:
        records.close()


def _make_binding_key(adapters: Adapters) -> None:
    """Make the key that binds records from before there was one, while nothing is bound with another."""
    with _initialising_alone(adapters):
        records = adapters.records()
        try:
            upgrade(records.engine)
            if not is_marked(records):
                adapters.signing_keys().make_missing(BINDING_KEY)
        finally:
            records.close()


@contextmanager
def _initialising_alone(adapters: Adapters) -> Iterator[None]:
    """Admit one at a time for each database. A vault has no "make it if it is missing": two would make a key each."""
    if adapters.settings.database_url is not None:
        from retention.records.postgres_engine import initialising

        records = adapters.records()
        try:
            with initialising(records.engine):
                yield
        finally:
            records.close()
        return
    with alone_in(adapters.settings.state):
        yield


def assemble(settings: Settings, observer: Observer = NOTHING, *, links: bool = True) -> Services:
    """Assemble custody from the settings and an initialised state folder; no key of upload links without `links`."""
    adapters = Adapters(settings)
    clock, wrapper, signing = adapters.clock(), adapters.wrapper(), adapters.signing_keys()
    public, signers = _keys(settings, signing)
    objects, keys = adapters.stores()
    if settings.azure.blob:  # an account that would keep what is erased is refused here
        objects.check()
        keys.check()
    tiles = adapters.tiles()
    _check_key(wrapper, keys)
    records = adapters.records()
    upgrade(records.engine)
    refuse_foreign(records)
    link_keys = _link_keys(settings, signing, records.engine) if links else LinkKeys(None)
    binding = _binding(settings, signing, records)
    records = TellingRecords(records, binding)
    witness = adapters.witness(settings.log_origin)
    if observer is not NOTHING:
        records = WatchedRecords(records, observer)
        objects, keys = (
            watched(objects, "objects", observer, OBJECTS),
            watched(keys, "keys", observer, KEYS),
        )
        wrapper = watched(wrapper, "key-wrapper", observer, WRAPPER)
    engine = records.engine
    skew = ClockSkew(adapters.machine_clock.wall, lambda: time_at(engine))
    others = adapters.other_clocks(records, witness)
    timekeeper = Timekeeper(adapters.machine_clock, clock, records, others, skew=skew)
    timekeeper.begin()
    custody = Custody(
        clock=clock,
        records=records,
        objects=objects,
        keys=keys,
        wrapper=wrapper,
        binding=binding,
        tiles=tiles,
        gate=LogGate(records, tiles, witness, public.log),
        triggers=read_triggers(settings),
        limits=settings.limits,
        telling=Telling(settings.notices.origin, loopback=settings.development),
        observer=observer,
    )
    return Services(
        settings=settings,
        custody=custody,
        directory=Directory(custody, stamps_named=settings.stamps_named),
        uploads=Uploads(),
        log_key=public.log,
        receipt_key=public.receipts,
        signing=signers
        and Signing(
            sequencer=Sequencer(
                records.engine, tiles, signers[0], clock, lambda: witnessed_size(witness, public.log)
            ),
            log=signers[0],
            receipts=signers[1],
        ),
        key_wrapper=wrapper,
        witness=witness,
        mirror=Mirror(records.engine, tiles, public.log, witness, clock),
        cosigners=Cosigners(
            settings.witness.cosigners, tiles, authorities=settings.witness.cosigner_authorities
        ),
        link_keys=link_keys,
        timekeeper=timekeeper,
        clock_skew=skew,
        senders=adapters.senders(),
        observer=observer,
    )


def begin(settings: Settings, observer: Observer = NOTHING, *, links: bool = True) -> Services:
    """Assemble a process that takes part in custody: it enters the rules that it goes by in the log."""
    services = assemble(settings, observer, links=links)
    try:
        tell_rules(services.custody)
    except BaseException:
        services.close()
        raise
    return services


def state_of(services: Services) -> State:
    """Return the state of the work, for an observer to export."""
    custody = services.custody
    return State(
        custody.records,
        services.mirror,
        custody.clock,
        room=custody.objects.free_space,
        skew=services.clock_skew.figures,
    )


def open_cosigning(settings: Settings, clock: Clock) -> CosigningServer | None:
    """Open the cosigning of the logs that the settings name; None if they name none.

    Its key is made with the first of them. Once something was cosigned, a missing key was lost and is not made anew.
    """
    logs = settings.witness.cosigned_logs
    if not logs:
        return None
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    adapters = Adapters(settings)
    keys = adapters.cosigning_keys()
    if not settings.cosigned_folder.exists():
        keys.make_missing(COSIGNING_KEY)
    cosigner = Cosigner(settings.cosigner_name, keys.read(COSIGNING_KEY))
    return CosigningServer({log.name: log for log in logs}, cosigner, adapters.cosigned(), clock)


def _keys(settings: Settings, signing: SigningKeys) -> tuple[PublicKeys, tuple[Signer, Signer] | None]:
    """Return the public keys, and the signers of log and receipts, unless the settings name public keys."""
    if settings.public_keys is not None:
        return settings.public_keys, None
    log = Signer(settings.log_origin, signing.read(LOG_KEY))
    receipts = Signer(settings.receipt_key_name, signing.read(RECEIPT_KEY))
    return PublicKeys(log=log.verifier, receipts=receipts.verifier), (log, receipts)


def _link_keys(settings: Settings, signing: SigningKeys, engine: Engine) -> LinkKeys:
    """Return the keys of upload links. An older state folder gets its file here, while no link is issued."""
    with engine.connect() as connection:
        issued = connection.execute(select(upload_links.c.id).limit(1)).first()
    if issued is None and settings.azure.signing_vault_url is None:
        signing.make_missing(LINK_KEY)
    return LinkKeys(signing.read(LINK_KEY))


def _binding(settings: Settings, signing: SigningKeys, records: Records) -> Binding:
    """Return the key that binds the records. A state folder from before there was one gets its file here."""
    marked = is_marked(records)
    if not marked and settings.azure.signing_vault_url is None:
        signing.make_missing(BINDING_KEY)
    binding = Binding(signing.read(BINDING_KEY))
    if marked and not is_marked(records, binding):
        raise SigningKeyRefused(
            f"the {BINDING_KEY} is not the one that these records were bound with, or their `binding` was altered: "
            "restore the one that was changed"
        )
    return binding


def _check_key(wrapper: RotatingKeyWrapper, keys: KeyStore) -> None:
    """Raise UnknownKeyEncryptionKey now, not at the first read, when the key is another installation's.

    A key that cannot be used now does not prevent a start: the log, tombstones and receipts need none.
    """
    with suppress(StopIteration, KeyDestroyed, KeyMissing, KeyWrapperUnavailable, WrappedKeyBroken):
        bundle_id = next(keys.list_bundles())
        wrapper.unwrap(keys.get(bundle_id), bundle_id)
