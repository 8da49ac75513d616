"""A small custody to test with: two customers, their stamps, and one person in each role.

Records are real (SQLite, from a schema made once); stores are the strict fakes or the local folders; the clock stands
still until a test moves it.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, select

from audit.entry import parse_leaf
from audit.log.sequencer import Sequencer
from audit.log.tables import audit_entries
from audit.log.verify import verify_database
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.checkpoint import Signer
from audit.tlog.tile_store import LocalTileStore
from retention.custody import receipts
from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_stamps
from retention.custody.access.people import Directory
from retention.custody.context import Custody
from retention.custody.log_gate import LogGate
from retention.custody.notices.outbox import TellingRecords
from retention.custody.reading import bundle_reads
from retention.custody.uploads import completion, declaration, upload_session
from retention.domain.actor import Actor, Role
from retention.domain.bundle import Collection, CollectionType, Triggers
from retention.domain.faults import Conflict
from retention.domain.row_tag import Binding
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store import KeyStore, ObjectStore
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from retention.records.rights import give_rights
from retention.records.sqlite_engine import sqlite_engine
from retention.records.tables import bundles
from retention.records.unit_of_work import Records, SqliteRecords
from tests.fakes.stores import MemoryKeyWrapper, StrictKeyStore, StrictObjectStore
from tests.servers.postgres import new_schema, shared_server
from tests.servers.schema import QUICK, schema

START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
NUMBER, OTHER_NUMBER = "120260301000001", "120260301000002"
REASON = "Investigate the failed drive of node 4"
ISSUER = "https://issuer.example"
TRIGGER = "Test.FaultIdType"
FILES = count()
"""Each upload is of another file, unless its name is given: in all worlds, for one may be another's, restored."""


@dataclass
class FakeClock:
    """Stands still until it is moved."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    sure = now

    def move(self, by: timedelta) -> None:
        self.at += by


def empty_records(path: Path) -> SqliteRecords:
    """Records in a new file at `path`."""
    path.touch(mode=0o600)
    path.write_bytes(schema())
    return SqliteRecords(sqlite_engine(path))


@contextmanager
def postgres_records() -> Iterator[PostgresRecords]:
    """Records in a new database of the shared server."""
    database = new_schema()
    records = PostgresRecords(postgres_engine(shared_server().url(database)))
    try:
        yield records
    finally:
        records.close()
        shared_server().drop(database)


@contextmanager
def postgres_doors() -> Iterator[tuple[PostgresRecords, PostgresRecords]]:
    """The records of a new database as the API's role and as the clock's role may use them."""
    database = new_schema()
    doors = tuple(
        PostgresRecords(postgres_engine(shared_server().url(database, door))) for door in ("api", "clock")
    )
    try:
        yield doors[0], doors[1]
    finally:
        for records in doors:
            records.close()
        shared_server().drop(database)


@contextmanager
def owned(records: Records) -> Iterator[Engine]:
    """These records' database as its owner has it; the doors' roles have their rights again at the end."""
    if records.engine.dialect.name == "sqlite":
        yield records.engine
        return
    engine = postgres_engine(shared_server().url(str(records.engine.url.database)))
    try:
        yield engine
        with engine.begin() as connection:
            give_rights(connection)
    finally:
        engine.dispose()


@dataclass
class World:
    """Custody, the people around it, and short ways to do the usual."""

    folder: Path
    custody: Custody
    clock: FakeClock
    log_signer: Signer
    receipt_signer: Signer
    uploads: upload_session.Uploads = field(default_factory=upload_session.Uploads)
    clock_records: Records | None = None

    def __post_init__(self) -> None:
        self.directory = Directory(self.custody)
        self.administrator = self.actor("root", Role.ADMINISTRATOR)
        self.case_system = self.actor("case-system", Role.CASE_SYSTEM)
        self.auditor = self.actor("audrey", Role.AUDITOR)
        self.engineer = self.actor("erin@support.example", Role.SUPPORT_ENGINEER)
        self.colleague = self.actor("carl@support.example", Role.SUPPORT_ENGINEER)
        self.partner = self.actor("pat@oem.example", Role.PARTNER_ENGINEER, partner="oem")
        self.rival = self.actor("rob@rival.example", Role.PARTNER_ENGINEER, partner="rival")
        self.tenant, self.operator, self.stamp = self._customer("contoso")
        self.other_tenant, self.other_operator, self.other_stamp = self._customer("fabrikam")

    def _customer(self, name: str) -> tuple[str, Actor, Actor]:
        with suppress(Conflict):  # a world that is started again knows them
            manage_stamps.register_tenant(self.custody, self.administrator, name.title(), name)
        operator = self.actor(f"olga@{name}.example", Role.OPERATOR, directory=name)
        with suppress(Conflict):
            manage_stamps.register_stamp(
                self.custody, operator, f"{name} north", f"stamp-{name}", proactive=True
            )
        return str(operator.tenant), operator, self.actor(f"stamp-{name}", Role.STAMP, directory=name)

    def actor(
        self, subject: str, *roles: Role, directory: str | None = None, partner: str | None = None
    ) -> Actor:
        return self.directory.resolve(
            issuer=ISSUER,
            subject=subject,
            roles=frozenset(roles),
            directory=directory,
            partner=partner,
            name=f"Name of {subject}",
            particulars={"address": "192.0.2.7"},
        )

    def open_case(self, number: str = NUMBER, directory: str = "contoso") -> Row[Any]:
        return manage_cases.open_case(self.custody, self.case_system, number, directory)

    def close_case(self, number: str = NUMBER, at: datetime | None = None) -> Row[Any]:
        return manage_cases.close_case(self.custody, self.case_system, number, at)

    def assign(self, *actors: Actor, number: str = NUMBER) -> None:
        for actor in actors:
            manage_cases.assign(self.custody, self.case_system, number, ISSUER, actor.particulars["subject"])

    def unassign(self, actor: Actor, number: str = NUMBER) -> None:
        manage_cases.unassign(self.custody, self.case_system, number, ISSUER, actor.particulars["subject"])

    def collection(self, size: int, **changes: Any) -> Collection:
        now = self.clock.now()
        values: dict[str, Any] = {
            "type": CollectionType.ON_DEMAND,
            "logs_start": now - 3 * HOUR,
            "logs_end": now - HOUR,
            "time_collected": now,
            "file_name": f"AzureStackLogs-secretname-{next(FILES)}.zip",
            "size": size,
        }
        return Collection(**{**values, **changes})

    def announce(self, size: int, number: str | None = NUMBER, **changes: Any) -> str:
        """An upload announced by the first customer's stamp; without a number it is proactive."""
        if number is None:
            changes = {"type": CollectionType.PROACTIVE, "trigger": TRIGGER, **changes}
        collection = self.collection(size, **changes)
        made = declaration.create_upload(
            self.custody, self.stamp, collection, case_number=number, stamp_id=None
        )
        return str(made.id)

    def send(self, bundle: str, content: bytes, offset: int = 0, actor: Actor | None = None) -> int:
        """One request with `content`; the offset to go on from."""
        with upload_session.begin(self.custody, self.uploads, actor or self.stamp, bundle, offset) as session:
            session.feed(content)
            return session.park()

    def upload(self, content: bytes, number: str | None = NUMBER, **changes: Any) -> str:
        """A bundle announced, sent, and read back."""
        bundle = self.announce(len(content), number, **changes)
        self.send(bundle, content)
        completion.verify_bundle(self.custody, bundle)
        return bundle

    def grant(
        self, actor: Actor | None = None, number: str = NUMBER, duration: timedelta = 8 * HOUR
    ) -> Row[Any]:
        return manage_grants.give_grant(self.custody, actor or self.engineer, number, REASON, duration)

    def consent(
        self, partner: str = "oem", scope: Sequence[str] | None = None, lasts: timedelta = 30 * DAY
    ) -> Row[Any]:
        until = self.clock.now() + lasts
        return manage_consents.give_consent(self.custody, self.operator, NUMBER, partner, until, scope)

    def open(self, bundle: str, actor: Actor | None = None) -> bundle_reads.OpenBundle:
        return bundle_reads.open_bundle(
            self.custody, actor or self.engineer, bundle, lambda row: [(0, row.size)]
        )

    def read(self, bundle: str, actor: Actor | None = None) -> bytes:
        opened = self.open(bundle, actor)
        try:
            content = b"".join(opened.pieces(opened.spans[0]))
            opened.done()
        finally:
            opened.close()
        return content

    @property
    def clocks(self) -> Custody:
        """The same custody as the clock has it."""
        return dataclasses.replace(self.custody, records=self.clock_records or self.custody.records)

    def row(self, bundle: str) -> Row[Any]:
        with self.custody.records.read() as reads:
            return reads.execute(select(bundles).where(bundles.c.id == bundle)).one()

    def state(self, bundle: str) -> str:
        return str(self.row(bundle).state)

    def entries(self) -> list[Row[Any]]:
        with self.custody.records.read() as reads:
            return list(reads.execute(select(audit_entries).order_by(audit_entries.c.row)))

    def leaves(self) -> list[dict[str, Any]]:
        """The parsed leaves, in order."""
        return [parse_leaf(row.leaf) for row in self.entries()]

    def last(self) -> tuple[str, str, str | None]:
        """The last entry: action, outcome, reason."""
        row = self.entries()[-1]
        return row.action, row.outcome, row.reason

    def sequence(self) -> None:
        tiles = self.custody.tiles
        records = self.clock_records or self.custody.records
        Sequencer(records.engine, tiles, self.log_signer, self.clock).run_once()
        receipts.sign_waiting(records, self.receipt_signer)

    def log_problems(self) -> list[object]:
        with self.custody.records.read() as reads:
            return [*verify_database(reads, self.log_signer.verifier, tiles=self.custody.tiles).problems]


def build(folder: Path, objects: ObjectStore, keys: KeyStore, records: Records | None = None) -> World:
    """A world on these stores, its records and log in `folder`."""
    clock = FakeClock()
    binding = Binding(bytes(32))
    records = TellingRecords(records or empty_records(folder / "records.db"), binding)
    tiles, log_signer = LocalTileStore(folder / "log"), Signer("casevault.test/log", bytes(range(1, 33)))
    custody = Custody(
        clock=clock,
        records=records,
        objects=objects,
        keys=keys,
        wrapper=MemoryKeyWrapper(),
        tiles=tiles,
        gate=LogGate(records, tiles, LocalMirrorStore(folder / "witness"), log_signer.verifier),
        binding=binding,
        triggers=Triggers({TRIGGER: "A fault"}),
    )
    return World(folder, custody, clock, log_signer, Signer("casevault.test/receipts", bytes(range(32))))


@contextmanager
def strict_world(records: Records | None = None, clock_records: Records | None = None) -> Iterator[World]:
    """A world on the strict fakes: a call that no correct custody makes fails the test. Records: SQLite, or these; the
    log is sequenced on `clock_records`, if they are others."""
    folder = Path(tempfile.mkdtemp(dir=QUICK))
    objects, keys = StrictObjectStore(), StrictKeyStore()
    world = build(folder, objects, keys, records)
    world.clock_records = clock_records and TellingRecords(clock_records, world.custody.binding)
    try:
        yield world
    finally:
        world.custody.records.close()
        shutil.rmtree(folder)
    assert objects.violations == []
    assert [v for v in keys.violations if not v.endswith("was read")] == []


@contextmanager
def local_world(folder: Path) -> Iterator[World]:
    """A world on the local stores."""
    world = build(folder, LocalObjectStore(folder / "objects"), LocalKeyStore(folder / "keys"))
    try:
        yield world
    finally:
        world.custody.records.close()


def but(world: World, **parts: Any) -> World:
    """The same world with other parts of custody."""
    changed = dataclasses.replace(world.custody, **parts)
    twin = object.__new__(World)
    twin.__dict__.update(world.__dict__)
    twin.custody = changed
    return twin
