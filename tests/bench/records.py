"""Durable audit appends through the unit of work: one writer, then sixteen threads."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from measure import median
from table import Row

from audit.entry import Action
from retention.assembly import assemble, initialise
from retention.config import Settings
from retention.custody.context import entry
from retention.domain.actor import CLOCK
from retention.domain.ids import Kind, new_id


def appends(folder: Path, run_seconds: float) -> list[Row]:
    settings = Settings(state=folder / "appends")
    initialise(settings)
    services = assemble(settings)
    records = services.custody.records
    bundle = new_id(Kind.BUNDLE)

    def write(until: float, counted: list[int]) -> None:
        count = 0
        while time.perf_counter() < until:
            one = entry(
                CLOCK, Action.BUNDLE_OPENED, datetime.now(UTC), bundle=bundle, details={"bytes": count}
            )
            records.write(lambda tx, one=one: tx.audit(one))
            count += 1
        counted.append(count)

    def rate(writers: int) -> float:
        counted: list[int] = []
        begun = time.perf_counter()
        threads = [
            threading.Thread(target=write, args=(begun + run_seconds, counted)) for _ in range(writers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counted) / (time.perf_counter() - begun)

    rate(1)
    both = [(rate(1), rate(16)) for _ in range(5)]  # in turn: the disk has its moods
    one, many = median([one for one, _ in both]), median([many for _, many in both])
    services.close()
    return [
        Row("durable audit appends, one writer", one, "/s", 3000, 5000),
        Row("durable audit appends, sixteen writers", many, "/s", 10_000, 17_000),
    ]
