"""How the hot queries are carried out on PostgreSQL, asked of the server while the real code runs them.

    python tests/bench/plans.py [--bundles 1000000] [--entries 20000000]

fills a private server, runs each verb several times (prepared statements may change their plan after the fifth) and
prints, for each, its statements, the pages that the worst of them touched and how long it took. It ends non-zero when a
big table was read from end to end, or a statement touched more pages than PAGES.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, event, or_, select, text, update

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.entry import Action, Outcome
from audit.log import query
from audit.log.append import latest_note, read_entry
from audit.log.sequencer import Sequencer, read_tree
from audit.mirror.store_local import LocalMirrorStore
from audit.times import to_microseconds
from audit.tlog.checkpoint import Signer
from audit.tlog.tile_store import LocalTileStore
from retention.custody.access import manage_cases, manage_consents, manage_grants, people
from retention.custody.access.bound_access import begin
from retention.custody.access.manage_grants import bind_anew
from retention.custody.context import Custody, entry
from retention.custody.erasure import erasure_steps, proof
from retention.custody.log_gate import LogGate
from retention.custody.reading import audit_reports, bundle_reads, log_queries
from retention.custody.uploads import declaration, handover
from retention.domain.actor import CLOCK, Actor, Role
from retention.domain.bundle import STATUSES, Collection, CollectionType, Triggers
from retention.domain.faults import Conflict, CustodyError
from retention.domain.row_tag import ACTOR, BUNDLE, TENANT, Binding
from retention.jobs import sweep
from retention.objects.store_errors import StoreError
from retention.records.migrate import upgrade
from retention.records.postgres import PostgresRecords
from retention.records.postgres_engine import postgres_engine
from retention.records.queries import encode_cursor
from retention.records.tables import actors, bundles, tenants
from retention.records.unit_of_work import Transaction
from tests.bench.filling import NOW, fill
from tests.fakes.stores import MemoryKeyWrapper, StrictKeyStore, StrictObjectStore
from tests.servers.postgres import PostgresServer

AUDITOR = Actor(id="act_auditor", roles=frozenset({Role.AUDITOR}))
BIG = 20_000
"""Rows from which on a table must not be read from end to end."""
PAGES = 5_000
"""8 KiB pages that one statement may touch: some milliseconds from memory. An engineer with 200 cases needs most."""
GATHERS = {"pending erasures": 20_000, "erase": 20_000}
"""Verbs that gather all that is pending, to sort it: their pages grow with what waits, not with what is kept."""
RUNS = 7
_EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "random_page_cost": "1.1",
    "effective_cache_size": "4GB",
}


@dataclass
class Seen:
    """What the server told of one verb."""

    statements: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)
    pages: int = 0
    worst: str = ""
    worst_plan: Any = None
    seconds: float = 0.0


class Plans:
    """Listens to the server's plans on an engine's connections."""

    def __init__(self, engine: Engine, big: frozenset[str]) -> None:
        self.big = big
        self._seen: Seen | None = None
        event.listen(engine, "connect", self._connected)

    def _connected(self, connection: Any, _record: object) -> None:
        connection.add_notice_handler(self._notice)
        connection.execute("SET client_min_messages = log")
        connection.commit()

    def _notice(self, notice: Any) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found and self._seen is not None:
            told = json.loads(plan)
            self._note(self._seen, told["Query Text"], told["Plan"])

    def _note(self, seen: Seen, statement: str, plan: Mapping[str, Any]) -> None:
        seen.statements.add(statement)
        for node in _nodes(plan):
            if "Seq Scan" in node["Node Type"] and node.get("Relation Name") in self.big:
                seen.scans.add(f"{node['Relation Name']}: {statement}")
        pages = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
        if pages >= seen.pages:
            seen.pages, seen.worst, seen.worst_plan = pages, statement, plan

    @contextlib.contextmanager
    def watching(self) -> Iterator[Seen]:
        self._seen = Seen()
        try:
            yield self._seen
        finally:
            self._seen = None


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


class _Clock:
    def now(self) -> Any:
        return NOW

    sure = now


@dataclass
class Service:
    """Custody on the filled database, and people in it."""

    custody: Custody
    plans: Plans
    bundles: int
    entries: int
    sequencer: Sequencer
    turn: int = 0

    operator = Actor(id="act_op", roles=frozenset({Role.OPERATOR}), tenant="ten_7")
    stamp = Actor(id="act_stamp", roles=frozenset({Role.STAMP}), tenant="ten_7", stamp="stp_77")
    engineer = Actor(id="act_49", roles=frozenset({Role.SUPPORT_ENGINEER}))
    newcomer = Actor(id="act_none", roles=frozenset({Role.SUPPORT_ENGINEER}))
    partner = Actor(id="act_50", roles=frozenset({Role.PARTNER_ENGINEER}), partner="partner-0")
    auditor = Actor(id="act_aud", roles=frozenset({Role.AUDITOR}))
    case_system = Actor(id="act_cs", roles=frozenset({Role.CASE_SYSTEM}))

    def number(self, case: int) -> str:
        return f"{case:015d}"

    def open_case(self) -> int:
        """A case that is open and was not used before; `i` with `i % 10 >= 8`."""
        self.turn += 1
        return 10 * self.turn + 9

    def assigned(self, case: int) -> Actor:
        return Actor(id=f"act_{case % (self.bundles // 500)}", roles=frozenset({Role.SUPPORT_ENGINEER}))

    def collection(self) -> Collection:
        hour = timedelta(hours=1)
        return Collection(
            type=CollectionType.ON_DEMAND,
            logs_start=NOW - 3 * hour,
            logs_end=NOW - hour,
            time_collected=NOW,
            file_name="logs.zip",
            size=1000,
        )


Verb = Callable[[Service], Any]


def _find(**conditions: Any) -> Verb:
    def verb(s: Service) -> None:
        where = query.Filter(**conditions)
        with s.custody.records.read() as reads:
            first = query.find(reads, where, None, 50)
            if first.next:
                query.find(reads, where, first.next, 50)

    return verb


def _ask(report: Callable[..., Any], case: bool = False, **conditions: Any) -> Verb:
    """As an auditor; `case`: of some open case."""

    def verb(s: Service) -> None:
        named = {"case": s.number(s.open_case())} if case else {}
        first = report(s.custody, AUDITOR, log_queries.Asked(**named, **conditions), None, 50)
        if first.next:
            report(s.custody, AUDITOR, log_queries.Asked(**named, **conditions), first.next, 50)

    return verb


def _list(actor: str, **conditions: Any) -> Verb:
    def verb(s: Service) -> None:
        who = getattr(s, actor)
        first = declaration.list_bundles(s.custody, who, None, 50, **conditions)
        if first.next:
            declaration.list_bundles(s.custody, who, first.next, 50, **conditions)

    return verb


def _grant(s: Service) -> Any:
    case = s.open_case()
    return manage_grants.give_grant(
        s.custody, s.assigned(case), s.number(case), "Failed drive", timedelta(hours=8)
    )


def _open(s: Service) -> Any:
    case = s.open_case()
    engineer = s.assigned(case)
    manage_grants.give_grant(s.custody, engineer, s.number(case), "Failed drive", timedelta(hours=8))
    for at in range(4):
        with contextlib.suppress(CustodyError, StoreError):  # no bytes are stored here
            bundle_reads.open_bundle(s.custody, engineer, f"bun_{5 * case + at}", lambda row: [(0, 1)])


def _upload(s: Service) -> Any:
    made = declaration.create_upload(
        s.custody, s.stamp, s.collection(), case_number=s.number(1400 + s.open_case() % 200), stamp_id=None
    )
    handover.may_continue(s.custody, s.stamp, made.id)
    handover.take_over(s.custody, s.stamp, made.id, "token", 0, None)


def _claim(s: Service) -> Any:
    case = s.open_case()
    with contextlib.suppress(Conflict):  # some are over their 90 days
        declaration.claim_bundle(s.custody, s.assigned(case), f"bun_{5 * case + 4}", s.number(case))


def _erase_one(s: Service) -> Any:
    for _erasure, bundle in sweep.pending_erasures(s.custody, 201)[:4]:
        s.custody.records.write(lambda tx, bundle=bundle: proof.record_erased(tx, bundle, NOW))


def _sequence(s: Service) -> Any:
    s.custody.records.write(lambda tx: tx.audit(_an_entry()))
    s.sequencer._sequence(100)
    with s.custody.records.engine.begin() as connection:
        read_tree(connection)


def _an_entry() -> Any:
    return entry(CLOCK, Action.KEY_ROTATED, NOW)


def _export(s: Service) -> None:
    with s.custody.records.read() as reads:
        list(
            islice(
                query.iterate(lambda: nullcontext(reads), query.Filter(since=NOW - timedelta(hours=40))), 2500
            )
        )


def _long_ago(s: Service) -> None:
    newest = to_microseconds(NOW)
    with s.custody.records.read() as reads:
        query.find(reads, query.Filter(), f"{newest - s.entries * 500_000}.1", 50)


def _look_up(s: Service) -> Any:
    with s.custody.records.read() as reads:
        read_entry(reads, "ent_4711")
        latest_note(reads)


def _sign_in(s: Service) -> Any:
    s.turn += 1
    people.Directory(s.custody).resolve(
        issuer="https://issuer.example",
        subject=f"person-{s.turn}@example.com",
        roles=frozenset({Role.STAMP}),
        directory="directory-3",
        partner=None,
        name=None,
        particulars={},
    )


VERBS: Mapping[str, Verb] = {
    "find_bundle, operator": lambda s: declaration.get_bundle(s.custody, s.operator, "bun_7700"),
    "find_bundle, stamp": lambda s: declaration.get_bundle(s.custody, s.stamp, "bun_7700"),
    "find_bundle, engineer": lambda s: declaration.get_bundle(s.custody, s.engineer, "bun_249"),
    "find_bundle, auditor": lambda s: declaration.get_bundle(s.custody, s.auditor, "bun_7700"),
    "find_bundle, partner": lambda s: _quiet(lambda: declaration.get_bundle(s.custody, s.partner, "bun_250")),
    "list_bundles, operator": _list("operator"),
    "list_bundles, operator, in progress": _list("operator", states=STATUSES["in-progress"]),
    "list_bundles, operator, unclaimed": _list("operator", unclaimed=True),
    "list_bundles, stamp": _list("stamp"),
    "list_bundles, engineer": _list("engineer"),
    "list_bundles, engineer, one case": _list("engineer", case_number=f"{49:015d}"),
    "list_bundles, newcomer": _list("newcomer"),
    "list_bundles, partner": _list("partner"),
    "list_bundles, auditor": _list("auditor"),
    "list_bundles, auditor, in progress": _list("auditor", states=STATUSES["in-progress"]),
    "list_bundles, auditor, one case": _list("auditor", case_number=f"{49:015d}"),
    "list_cases, operator": lambda s: manage_cases.list_cases(s.custody, s.operator, None, 50),
    "list_cases, engineer": lambda s: manage_cases.list_cases(s.custody, s.engineer, None, 50),
    "list_cases, partner": lambda s: manage_cases.list_cases(s.custody, s.partner, None, 50),
    "list_cases, auditor": lambda s: manage_cases.list_cases(s.custody, s.auditor, None, 50),
    "list_erasures, operator": lambda s: erasure_steps.list_erasures(s.custody, s.operator, None, 50),
    "list_bundles, auditor, long ago": lambda s: declaration.list_bundles(
        s.custody, s.auditor, encode_cursor(NOW - timedelta(hours=s.bundles / 200), "bun_"), 50
    ),
    "list_erasures, auditor": lambda s: erasure_steps.list_erasures(s.custody, s.auditor, None, 50),
    "list_erasures, engineer": lambda s: erasure_steps.list_erasures(s.custody, s.engineer, None, 50),
    "find_erasure": lambda s: erasure_steps.find_erasure(s.custody, s.auditor, "0000000000000000"),
    "due search": lambda s: sweep.begin_due(s.custody, 50),
    "expiring": lambda s: sweep.begin_expired(s.custody, 50),
    "received": lambda s: _quiet(lambda: sweep.verify_received(s.custody, sweep.SweepReport(), 8)),
    "pending erasures": lambda s: sweep.pending_erasures(s.custody, 200),
    "failed erasures": lambda s: sweep.failed_erasures(s.custody, 200),
    "erase": _erase_one,
    "request a case's erasure": lambda s: erasure_steps.request_case_erasure(
        s.custody, s.operator, s.number(1400 + s.open_case() % 200)
    ),
    "request a bundle's erasure": lambda s: erasure_steps.request_bundle_erasure(
        s.custody, s.operator, f"bun_{7000 + s.open_case() % 1000}"
    ),
    "live grants: open": _open,
    "grant": _grant,
    "list_grants": lambda s: manage_grants.list_grants(
        s.custody, s.auditor, manage_cases.get_case(s.custody, s.auditor, s.number(49)), None, 50
    ),
    "close a case": lambda s: manage_cases.close_case(s.custody, s.case_system, s.number(s.open_case())),
    "announce, take over": _upload,
    "claim": _claim,
    "revoke a consent": lambda s: manage_consents.revoke_consent(
        s.custody,
        Actor(id="act_op", roles=frozenset({Role.OPERATOR}), tenant="ten_1"),
        f"con_{20 + s.open_case() % 20}",
    ),
    "sign in": _sign_in,
    "unsequenced rows": _sequence,
    "one entry, the newest checkpoint": _look_up,
    "audit, all": _find(),
    "audit, export": _export,
    "audit, long ago": _long_ago,
    "audit, case": _find(case="cas_49"),
    "audit, actor": _find(actors=("act_49",)),
    "audit, action": _find(action=Action.BUNDLE_OPENED),
    "audit, rare action": _find(action=Action.KEY_ROTATED),
    "audit, absent action": _find(action=Action.STAMP_REGISTERED),
    "audit, bundle": _find(bundle="bun_49"),
    "audit, tenant": _find(tenant="ten_7"),
    "audit, refused": _find(outcome=Outcome.REFUSED),
    "audit, failed": _find(outcome=Outcome.FAILED),
    "audit, an hour": _find(since=NOW - timedelta(hours=30), until=NOW - timedelta(hours=29)),
    "audit, case and actor": _find(case="cas_49", actors=("act_49",)),
    "audit, tenant and outcome": _find(tenant="ten_7", outcome=Outcome.REFUSED),
    "audit, somebody as the issuer calls them": _ask(log_queries.find_entries, actor="person-49@example.com"),
    "audit, readers of a case": _ask(audit_reports.list_readers, case=True),
    "audit, unused grants": _ask(audit_reports.list_unused_grants),
    "audit, unused grants of a case": _ask(audit_reports.list_unused_grants, case=True),
    "audit, actor and absent action": _find(actors=("act_49",), action=Action.STAMP_REGISTERED),
}


def _quiet(act: Callable[[], Any]) -> None:
    """Where the store would have to hold what only the records speak of."""
    with contextlib.suppress(CustodyError, StoreError):
        act()


def new_server(*, in_memory: bool) -> PostgresServer:
    """A server that tells the plan of every statement."""
    off = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "16GB"}
    return PostgresServer(durable=not in_memory, options={**_EXPLAIN, **off})


@contextlib.contextmanager
def filled(server: PostgresServer, bundle_count: int, entries: int) -> Iterator[Service]:
    """A service on a database of that size."""
    engine = postgres_engine(server.url("postgres"))
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL auto_explain.log_min_duration = -1"))
        fill(connection, bundle_count, entries)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        big = frozenset(
            connection.execute(
                text("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > :big"), {"big": BIG}
            ).scalars()
        )
    engine.dispose()
    with tempfile.TemporaryDirectory() as folder:
        plans = Plans(engine, big)
        tiles, signer = LocalTileStore(Path(folder)), Signer("casevault.test/log", bytes(32))
        records = PostgresRecords(engine)
        custody = Custody(
            clock=_Clock(),
            records=records,
            objects=StrictObjectStore(),
            keys=StrictKeyStore(),
            wrapper=MemoryKeyWrapper(),
            binding=Binding(bytes(32)),
            tiles=tiles,
            gate=LogGate(records, tiles, LocalMirrorStore(Path(folder) / "witness"), signer.verifier),
            triggers=Triggers({}),
        )
        _bind(custody)
        yield Service(custody, plans, bundle_count, entries, Sequencer(engine, tiles, signer, _Clock()))
    engine.dispose()


BOUND_CASES = 300


def _bind(custody: Custody) -> None:
    """Bind what the verbs use of cases, bundles and people: what is filled in by hand opens nothing."""
    used = [10 * turn + 9 for turn in range(1, BOUND_CASES)]
    ids, key = [f"cas_{case}" for case in used], custody.binding
    unclaimed = bundles.c.id.in_([f"bun_{5 * case + 4}" for case in used])
    people = actors.c.id.in_([f"act_{turn}" for turn in range(BOUND_CASES)])
    bound: tuple[tuple[str, Table, Any], ...] = (
        (BUNDLE, bundles, or_(bundles.c.case_id.in_(ids), unclaimed)),
        (ACTOR, actors, people),
        (TENANT, tenants, tenants.c.id == "ten_3"),
    )

    def work(tx: Transaction) -> None:
        for case_id in ids:
            begin(tx, key, case_id, NOW)
        bind_anew(tx, key, CLOCK, ids, NOW)
        for kind, table, which in bound:
            for row in tx.execute(select(table).where(which)).all():
                tag = key.tag_row(kind, row)
                tx.change(update(table).where(table.c.id == row.id).values(tag=tag))

    custody.records.write(work)


def observe(service: Service, name: str) -> Seen:
    """Run a verb RUNS times under the server's eyes."""
    with service.plans.watching() as seen:
        times = []
        for _ in range(RUNS):
            started = time.perf_counter()
            VERBS[name](service)
            times.append(time.perf_counter() - started)
    seen.seconds = sorted(times)[len(times) // 2]
    return seen


def complaint(name: str, seen: Seen) -> str | None:
    """What is wrong with how a verb was carried out."""
    if not seen.statements:
        return "the server told no plan"
    if seen.scans:
        return "a big table was read from end to end: " + "; ".join(sorted(seen.scans))
    if seen.pages > GATHERS.get(name, PAGES):
        return f"{seen.pages} pages: {seen.worst}\n{_outline(seen.worst_plan)}"
    return None


def _outline(plan: Mapping[str, Any], depth: int = 0) -> str:
    shown = {
        key: plan[key]
        for key in (
            "Relation Name",
            "Index Name",
            "Plan Rows",
            "Actual Rows",
            "Actual Loops",
            "Index Cond",
            "Filter",
        )
        if key in plan
    }
    lines = [f"{'  ' * depth}{plan['Node Type']} {shown}"]
    lines += [_outline(below, depth + 1) for below in plan.get("Plans", ())]
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=20_000_000)
    wanted = parser.parse_args()
    logging.disable(logging.WARNING)
    server = new_server(in_memory=False)
    failed = 0
    try:
        started = time.perf_counter()
        with filled(server, wanted.bundles, wanted.entries) as service:
            print(
                f"{wanted.bundles:,} bundles, {wanted.entries:,} entries, "
                f"filled in {time.perf_counter() - started:.0f} s"
            )
            print("| verb | statements | most pages | verb, median ms (plans told) |\n|---|---|---|---|")
            for name in VERBS:
                seen = observe(service, name)
                print(
                    f"| {name} | {len(seen.statements)} | {seen.pages} | {seen.seconds * 1000:.1f} |",
                    flush=True,
                )
                if wrong := complaint(name, seen):
                    failed += 1
                    print(f"WRONG: {wrong}", flush=True)
    finally:
        server.remove()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
