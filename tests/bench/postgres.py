"""What records on PostgreSQL cost, beside SQLite's: durable writes, decisions, reads, and the sequencer's rate.

    python tests/bench/postgres.py [--seconds 3]

A private server with fsync on, reached by its socket, on the same machine and disk. Rows are interleaved: each database
in turn, so that what the machine does meanwhile falls on both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import insert, select

from audit.entry import Action
from audit.log.sequencer import Sequencer
from audit.tlog.checkpoint import Signer
from audit.tlog.tile_store import LocalTileStore
from retention.clock import SystemClock
from retention.custody.context import entry
from retention.domain.actor import CLOCK
from retention.domain.ids import Kind, new_id
from retention.records.migrate import upgrade
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from retention.records.sqlite_engine import sqlite_engine
from retention.records.tables import tenants
from retention.records.unit_of_work import Records, SqliteRecords, Transaction
from tests.bench.table import Row
from tests.servers.postgres import PostgresServer

Open = Callable[[], Records]


def _entry() -> Any:
    return entry(CLOCK, Action.KEY_ROTATED, SystemClock().now(), particulars={"address": "192.0.2.7"})


def _append(records: Records) -> None:
    records.write(lambda tx: tx.audit(_entry()))


def _decide(records: Records) -> None:
    """A look-up, a row, an entry: what a verb does."""
    id_ = new_id(Kind.TENANT)

    def work(tx: Transaction) -> None:
        tx.execute(select(tenants).where(tenants.c.directory == id_)).first()
        row = {"id": id_, "name": "A customer", "directory": id_, "registered_at": SystemClock().now()}
        tx.change(insert(tenants).values(row))
        tx.audit(_entry())

    records.write(work)


def _read(records: Records) -> None:
    with records.read() as reads:
        reads.execute(select(tenants).where(tenants.c.id == "ten_none")).first()


def _rate(records: Records, act: Callable[[Records], None], threads: int, seconds: float) -> int:
    """How often `act` is done in `seconds` by so many threads."""
    until = time.perf_counter() + seconds
    counts = [0] * threads

    def run(which: int) -> None:
        while time.perf_counter() < until:
            act(records)
            counts[which] += 1

    workers = [threading.Thread(target=run, args=(which,)) for which in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts)


def _in_process(
    make: Open, act: Callable[[Records], None], threads: int, seconds: float, answer: Any
) -> None:
    records = make()
    _rate(records, act, threads, 0.2)
    answer.put(_rate(records, act, threads, seconds))
    records.close()


def _across(
    make: Open, act: Callable[[Records], None], processes: int, threads: int, seconds: float
) -> float:
    """Times a second, all processes together."""
    fork = multiprocessing.get_context("fork")
    answer = fork.Queue()
    running = [
        fork.Process(target=_in_process, args=(make, act, threads, seconds, answer)) for _ in range(processes)
    ]
    for process in running:
        process.start()
    total = sum(answer.get() for _ in running)
    for process in running:
        process.join()
    return float(total) / seconds


def _leaf_rate(records: Records, folder: Path, leaves: int) -> float:
    """Entries sequenced, hashed into tiles and signed for, a second."""
    for _ in range(leaves // 500):
        records.write(lambda tx: tx.audit(*[_entry() for _ in range(500)]))
    signer = Signer("casevault.bench/log", bytes(32))
    sequencer = Sequencer(records.engine, LocalTileStore(folder), signer, SystemClock())
    started, before = time.perf_counter(), 0
    checkpoint = sequencer.run_once()
    while checkpoint is not None and checkpoint.size != before:
        before, checkpoint = checkpoint.size, sequencer.run_once()
    return before / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of work, how many did it, and how often a second: by database."""

    what: str
    processes: int
    threads: int
    rates: dict[str, float]

    def row(self) -> Row:
        told = f"SQLite {self.rates['SQLite']:,.0f} /s"
        shape = f", {self.processes} x {self.threads}"
        return Row(f"PostgreSQL: {self.what}{shape}", self.rates["PostgreSQL"], "/s", note=told)


def compare(folder: Path, seconds: float) -> Iterator[Compared]:
    """Each kind of work on both databases, in turn."""
    server = PostgresServer(durable=True)
    kinds: dict[str, Open] = {
        "SQLite": lambda: SqliteRecords(sqlite_engine(folder / "records.db")),
        "PostgreSQL": lambda: PostgresRecords(postgres_engine(server.url("postgres"))),
    }
    try:
        for make in kinds.values():
            records = make()
            upgrade(records.engine)
            records.close()
        for name, act in (("durable entries", _append), ("decisions", _decide), ("snapshot reads", _read)):
            for processes, threads in ((1, 1), (1, 16), (4, 8)):
                found = {
                    kind: _across(make, act, processes, threads, seconds) for kind, make in kinds.items()
                }
                yield Compared(name, processes, threads, found)
        rates = {}
        for kind, make in kinds.items():
            records = make()
            rates[kind] = _leaf_rate(records, folder / kind, 30_000)
            records.close()
        yield Compared("leaves sequenced", 1, 1, rates)
    finally:
        server.remove()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    print("| a second | processes x threads | SQLite | PostgreSQL |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for each in compare(Path(folder), seconds):
            shown = " | ".join(f"{rate:,.0f}" for rate in each.rates.values())
            print(f"| {each.what} | {each.processes} x {each.threads} | {shown} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
