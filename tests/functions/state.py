"""A service with a past: made by custody's own verbs, left at the moment that a case's deadline has come.

In a state folder its clock is the development clock, moved by 90 days; in Azure the past is lived by a clock of its
own, 90 days ago, and the app finds it by the machine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from audit.entry import Action, Outcome, parse_leaf
from audit.log.tables import audit_entries
from audit.log.verify import Verdict, verify_database
from audit.tlog.overdue import overdue
from retention.assembly import Services, assemble, initialise
from retention.clock import DevelopmentClock
from retention.config import from_environment
from retention.custody.access.manage_cases import close_case, open_case
from retention.custody.access.manage_stamps import register_stamp, register_tenant
from retention.custody.uploads.declaration import create_upload
from retention.custody.uploads.upload_session import begin
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState, Collection, CollectionType
from retention.jobs.sweep import SweepReport, verify_received
from retention.records.tables import bundles, erasures
from tests.servers.schema import copied_schema

CLOSED, OPEN = "100000000000001", "100000000000002"
CASE_SYSTEM = Actor(id="act_case_system", roles=frozenset({Role.CASE_SYSTEM}))
ADMINISTRATOR = Actor(id="act_administrator", roles=frozenset({Role.ADMINISTRATOR}))


@dataclass(frozen=True, slots=True)
class Past:
    """What the service holds: `due` bundles of a case closed 90 days ago, an upload nobody finished, one to keep."""

    app_settings: Mapping[str, str]
    """What a function app on it is configured with."""
    due: tuple[str, ...]
    expired: str
    kept: str

    @property
    def folder(self) -> Path:
        """The state folder; of a service in Azure there need not be one."""
        return Path(self.app_settings["CASEVAULT_STATE"])

    @property
    def going(self) -> set[str]:
        """The bundles that are to be erased."""
        return {*self.due, self.expired}


@dataclass(frozen=True, slots=True)
class Then:
    """A clock that stands."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    sure = now


def in_folder(folder: Path) -> dict[str, str]:
    """The app settings of the embedded default."""
    return {"CASEVAULT_STATE": str(folder), "CASEVAULT_DEVELOPMENT": "1"}


@contextmanager
def services_on(app_settings: Mapping[str, str]) -> Iterator[Services]:
    services = assemble(from_environment(app_settings))
    try:
        yield services
    finally:
        services.close()


def make_past(folder: Path, count: int = 4, *, verified: bool = True) -> Past:
    """In a new state folder: live it, and let 90 days go by."""
    with copied_schema():
        initialise(from_environment(in_folder(folder)))
    with services_on(in_folder(folder)) as services:
        past = _live(services, in_folder(folder), count, verified)
        move_clock(services, timedelta(days=90))
    return past


def make_past_in_azure(app_settings: Mapping[str, str]) -> Past:
    """The same, lived 90 days ago; an administrator has said since that the clock is right."""
    with copied_schema():
        initialise(from_environment(app_settings))
    with services_on(app_settings) as services:
        then = Then(services.custody.clock.now() - timedelta(days=90))
        earlier = replace(services, custody=replace(services.custody, clock=then))
        past = _live(earlier, app_settings, 4, verified=True)
        services.timekeeper.confirm(ADMINISTRATOR)  # nothing was marked in these 90 days
        return past


def _live(services: Services, app_settings: Mapping[str, str], count: int, verified: bool) -> Past:
    """Register, collect, close."""
    stamp = _make_stamp(services)
    for number in (CLOSED, OPEN):
        open_case(services.custody, CASE_SYSTEM, number, "contoso")
    due = tuple(_send(services, stamp, CLOSED, 1000 + n) for n in range(count))
    expired = _send(services, stamp, CLOSED, 1000, kept=400)
    kept = _send(services, stamp, OPEN, 1000)
    if verified:
        verify_received(services.custody, SweepReport(), limit=count + 1)
    close_case(services.custody, CASE_SYSTEM, CLOSED)
    return Past(app_settings, due, expired, kept)


def _make_stamp(services: Services) -> Actor:
    tenant = register_tenant(services.custody, ADMINISTRATOR, "Contoso", "contoso").id
    operator = Actor(id="act_operator", roles=frozenset({Role.OPERATOR}), tenant=tenant)
    stamp = register_stamp(services.custody, operator, "stamp one", "stamp-one")
    return Actor(id="act_stamp", roles=frozenset({Role.STAMP}), tenant=tenant, stamp=stamp.id)


def _send(services: Services, stamp: Actor, case: str, size: int, kept: int | None = None) -> str:
    now = services.custody.clock.now()
    collection = Collection(
        type=CollectionType.ON_DEMAND,
        logs_start=now - timedelta(hours=2),
        logs_end=now,
        time_collected=now,
        file_name="logs.zip",
        size=size,
    )
    made = create_upload(services.custody, stamp, collection, case_number=case, stamp_id=None)
    with begin(services.custody, services.uploads, stamp, made.id, 0) as session:
        session.feed(b"L" * (kept or size))
        session.park()
    return str(made.id)


def move_clock(services: Services, by: timedelta) -> None:
    clock = services.custody.clock
    assert isinstance(clock, DevelopmentClock)
    clock.set(clock.now() + by)


def states(services: Services) -> dict[str, str]:
    """Every bundle's state."""
    with services.custody.records.read() as reads:
        return {row.id: row.state for row in reads.execute(select(bundles.c.id, bundles.c.state))}


def erased(services: Services) -> set[str]:
    return {id_ for id_, state in states(services).items() if state == BundleState.ERASED}


def unproven(services: Services) -> list[str]:
    """Erasures that are begun and not proven."""
    with services.custody.records.read() as reads:
        return list(reads.execute(select(erasures.c.id).where(erasures.c.proven_at.is_(None))).scalars())


def remains(services: Services, bundle_id: str) -> list[str]:
    """What the stores still hold of a bundle."""
    custody = services.custody
    return [*custody.keys.remains(bundle_id), *custody.objects.remains(bundle_id)]


def entries(services: Services) -> list[dict[str, Any]]:
    """Every entry's leaf, in order of commit."""
    with services.custody.records.read() as reads:
        found = reads.execute(select(audit_entries.c.leaf).order_by(audit_entries.c.row)).scalars()
        return [parse_leaf(leaf) for leaf in found]


def count(services: Services, action: Action, outcome: Outcome = Outcome.SUCCESS) -> int:
    """How many entries tell of `action`."""
    return sum(leaf["action"] == action and leaf["outcome"] == outcome for leaf in entries(services))


def overdue_bundles(services: Services) -> list[str]:
    """What `casevault audit overdue` would print, by the log alone."""
    return [found.bundle for found in overdue(entries(services), services.custody.clock.now())]


def verdict(services: Services) -> Verdict:
    """The log, walked by the independent verifier over rows and tiles."""
    with services.custody.records.read() as reads:
        return verify_database(reads, services.log_signer.verifier, services.custody.tiles)
