"""The sweep over a million bundle records of which a hundred thousand are due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from measure import peaks_mb
from sqlalchemy import insert
from table import Row

from retention.assembly import Services, assemble, initialise
from retention.config import Settings
from retention.custody.access import manage_stamps as custody_stamps
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState, CollectionType
from retention.domain.ids import Kind, new_id
from retention.jobs.sweep import begin_due, erase_due
from retention.records.tables import bundles

ALL, DUE = 1_000_000, 100_000
BATCH = 10_000


def sweep(folder: Path, erased_seconds: float) -> list[Row]:
    """Erasing is measured for a while, not to its end: each erasure is the same work."""
    import os

    settings = Settings(state=folder / "sweep", development=True)
    initialise(settings)
    services = assemble(settings)
    _fill(services)
    begun = time.perf_counter()
    first = begin_due(services.custody, 1)
    find = time.perf_counter() - begun
    assert first == 1
    begun, count, started = time.perf_counter(), 0, 0
    while (spent := time.perf_counter() - begun) < erased_seconds:
        report = erase_due(services.custody, 1000)
        count, started = count + report.erased, started + report.begun
    peak = peaks_mb(os.getpid())[os.getpid()]
    services.close()
    note = f"{count:,} erased, each with its entries and synced key and folder"
    return [
        Row("sweep: the first due of a million found and begun", find * 1000, "ms"),
        Row("sweep: erasures", count / spent, "/s", note=note),
        Row("sweep: peak memory of its process", peak, "MB"),
    ]


def _fill(services: Services) -> None:
    custody, now = services.custody, datetime.now(UTC)
    administrator = Actor(id=new_id(Kind.ACTOR), roles=frozenset({Role.ADMINISTRATOR}))
    tenant = custody_stamps.register_tenant(custody, administrator, "Contoso", "dir")
    operator = Actor(id=new_id(Kind.ACTOR), roles=frozenset({Role.OPERATOR}), tenant=tenant.id)
    stamp = custody_stamps.register_stamp(custody, operator, "stamp", "stamp", proactive=True)

    def row(number: int) -> dict[str, Any]:
        received = now - timedelta(days=91 if number % (ALL // DUE) == 0 else number % 89)
        return {
            "id": new_id(Kind.BUNDLE),
            "tenant_id": tenant.id,
            "stamp_id": stamp.id,
            "uploader_id": operator.id,
            "state": BundleState.COMPLETE,
            "type": CollectionType.PROACTIVE,
            "send_logs_now": False,
            "logs_start": received,
            "logs_end": received,
            "time_collected": received,
            "trigger": "Urp.UpdateFailure",
            "roles": "[]",
            "file_name": "logs.zip",
            "size": 1,
            "offset": 1,
            "created_at": received,
            "expires_at": received + timedelta(days=7),
            "received_at": received,
            "due_at": received + timedelta(days=90),
        }

    for start in range(0, ALL, BATCH):
        rows = [row(number) for number in range(start, start + BATCH)]
        custody.records.write(lambda tx, rows=rows: tx.change(insert(bundles), rows))
