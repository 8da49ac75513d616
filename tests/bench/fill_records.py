"""Writing a history (`tests.bench.history`) into a service: records, log, tiles, signed checkpoint, all as the service
would have written them, only faster.

- Each leaf is encoded by the log's own code, with a real salt; the tree is the sequencer's own, and signed with the
  service's key. So `casevault audit verify` and `overdue` find nothing, and `unaccounted` only unused grants.
- Every row has its tag, so it is believed. Bundles have no bytes and no data keys: they are listed and claimed and
  granted, but cannot be opened.
- On PostgreSQL it needs a superuser: foreign keys are not looked up meanwhile.
- Indexes are made at the end. It is done in one transaction; tiles are written before it is committed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, select, text
from sqlalchemy.schema import CreateIndex, DropIndex

from audit.entry import Entry
from audit.log.append import WRITTEN, row_of
from audit.log.sequencer import write_tiles
from audit.log.tables import CHANGING_ACCESS, audit_checkpoints, audit_entries, audit_tree
from audit.times import from_microseconds
from audit.tlog.checkpoint import Signer, sign_checkpoint, sign_note
from audit.tlog.merkle import Frontier, leaf_hash
from audit.tlog.tile_store import CHECKPOINT_PATH, NOTES, TILE_WIDTH, LocalTileStore, TileStore
from retention.custody.access.bound_access import _ASSIGNMENT, _CONSENT, _GRANT, _SCOPE, _facts
from retention.domain.row_tag import ACTOR, BUNDLE, CASE, PARTNER, STAMP, TENANT, Binding
from retention.records import tables
from tests.bench.history import DAY, HOUR, MINUTE, PART, SIZE, Case, History, consent, grants, name

_AT_ONCE = 20 * TILE_WIDTH
_UNINDEXED = (
    "audit_entries",
    "bundles",
    "grants",
    "erasures",
    "assignments",
    "parts",
    "erasure_bundles",
    "cases",
)


class QuickTiles(LocalTileStore):
    """A new log's tiles in its folder, which nobody else writes yet: no lock, and not synchronised to the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._within = folder
        self._made: set[Path] = set()

    def put(self, path: str, data: bytes) -> None:
        target = self._within / path
        if target.parent not in self._made:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.unlink(missing_ok=True)
        target.write_bytes(data)
        target.chmod(0o600 if path in NOTES else 0o400)


class Filling:
    """One filling, in the transaction of `connection`."""

    def __init__(
        self,
        connection: Connection,
        tiles: TileStore,
        log: Signer,
        receipts: Signer,
        binding: Binding,
        issuer: str,
    ) -> None:
        self._connection, self._tiles = connection, tiles
        self._log, self._receipts, self._binding = log, receipts, binding
        self._issuer = issuer
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        self._newest: dict[str, str] = {}  # case -> the entry of the last act on its access
        self._held: list[Case] = []
        self._assigned = itertools.count(1)

    def fill(self, history: History, unsequenced: int, tell: Callable[[int], None]) -> None:
        """Write it all; the last `unsequenced` entries get no leaf number. `tell` is told how many are written."""
        self._people(history)
        numbered = history.entries - unsequenced
        frontier, leaves, written = Frontier(), [], 0
        entries: list[tuple[Any, ...]] = []
        for told in history.acts():
            if isinstance(told, Case):
                self._case(history, told)
                continue
            at, number, action, more = told
            entry = Entry(id=name("ent", number), at=from_microseconds(at), action=action, **more)
            row = row_of(entry)
            if action in CHANGING_ACCESS and entry.case is not None:
                self._newest[entry.case] = entry.id
            entries.append((*row, written if written < numbered else None))
            if written < numbered:
                leaves.append(row[_LEAF])
            written += 1
            if len(entries) == _AT_ONCE:
                self._append(entries, leaves, frontier)
                entries, leaves = [], []
                tell(written)
        self._append(entries, leaves, frontier)
        self._bind_cases(history)
        for of in list(self._rows):
            self._flush(of)
        self._sign(history, frontier)
        tell(written)

    def _append(self, entries: list[tuple[Any, ...]], leaves: list[Any], frontier: Frontier) -> None:
        write_rows(self._connection, audit_entries, (*WRITTEN, "leaf_index"), entries)
        old = frontier.size
        for leaf in leaves:
            frontier.append(leaf_hash(leaf))
        if leaves:
            write_tiles(self._tiles, old, frontier.size, leaves)

    def _sign(self, history: History, frontier: Frontier) -> None:
        size, note = frontier.size, sign_checkpoint(frontier.size, frontier.root(), self._log)
        tree = {"id": 1, "size": size, "frontier": frontier.to_bytes(), "checkpoint_size": size}
        self._connection.execute(audit_tree.delete())
        self._connection.execute(insert(audit_tree).values(tree))
        signed = {"size": size, "note": note, "at_us": history.now}
        self._connection.execute(insert(audit_checkpoints).values(signed))
        self._tiles.put(CHECKPOINT_PATH, note.encode())

    def _add(self, table: Table, **columns: Any) -> None:
        rows = self._rows.setdefault(f"{table.name}:{','.join(columns)}", [])
        rows.append(tuple(columns.values()))
        if len(rows) == _AT_ONCE:
            self._flush(f"{table.name}:{','.join(columns)}")

    def _flush(self, of: str) -> None:
        table, _, columns = of.partition(":")
        write_rows(self._connection, tables.metadata.tables[table], columns.split(","), self._rows.pop(of))

    def _tagged(self, kind: str, table: Table, **columns: Any) -> None:
        self._add(table, **columns, tag=self._binding.tag_row(kind, columns))

    def _people(self, history: History) -> None:
        begun = history.begun
        for number in range(history.bundles // 1000):
            named = {"name": f"Tenant {number}", "directory": f"directory-{number}", "registered_at": begun}
            self._tagged(TENANT, tables.tenants, id=name("ten", number), **named)
        for number in range(history.bundles // 100):
            named = {"name": f"Stamp {number}", "subject": f"stamp-{number}", "proactive": True}
            self._tagged(
                STAMP,
                tables.stamps,
                id=name("stp", number),
                tenant_id=name("ten", number // 10),
                **named,
                registered_at=begun,
                deregistered_at=None,
            )
        for number in range(history.people):
            named = {"subject": f"person-{number}@example.com", "name": f"Person {number}"}
            self._tagged(
                ACTOR,
                tables.actors,
                id=name("act", number),
                issuer=self._issuer,
                **named,
                first_seen_at=begun,
            )
        for number in range(5):
            self._tagged(
                PARTNER,
                tables.partners,
                id=name("ptr", number),
                name=f"partner-{number}",
                first_seen_at=begun,
            )
        for of in list(self._rows):
            self._flush(of)

    def _case(self, history: History, case: Case) -> None:
        self._held.append(Case(case.number, case.opened, case.closed, []))
        add, opened, closed = self._add, case.opened, case.closed
        add(
            tables.cases,
            id=case.id,
            number=f"{case.number:015d}",
            tenant_id=case.tenant,
            state="open" if closed is None else "closed",
            opened_at=opened,
        )
        for kind, at in (("opened", opened), ("closed", closed)):
            if at is not None:
                add(tables.case_events, case_id=case.id, kind=kind, effective_at=at, recorded_at=at)
        for who in history.engineers(case.number):
            add(tables.assignments, case_id=case.id, actor_id=who, assigned_at=opened + 1_000_000)
        if case.number % 10 == 0:
            self._consent(consent(case, history.now), case)
        for each in grants(history, case):
            self._grant(each, case)
        for bundle in case.bundles:
            self._bundle(history, case, bundle)
        for erasure in case.erasures:
            self._erasure(erasure, case)

    def _consent(self, given: dict[str, Any], case: Case) -> None:
        self._add(
            tables.consents,
            id=given["id"],
            case_id=case.id,
            partner=given["partner"],
            whole_case=given["scope"] == "case",
            given_at=given["at"],
            expires_at=given["until"],
            actor_id=name("act", 1),
        )
        if given["scope"] != "case":
            self._add(tables.consent_bundles, consent_id=given["id"], bundle_id=given["scope"][0])

    def _grant(self, each: dict[str, Any], case: Case) -> None:
        self._add(
            tables.grants,
            id=each["id"],
            case_id=case.id,
            actor_id=each["who"],
            consent_id=each["consent"],
            reason="Looking into it",
            granted_at=each["at"],
            expires_at=each["until"],
            ended_at=each["ended"],
            end_cause=None if each["ended"] is None else "released",
        )

    def _bundle(self, history: History, case: Case, bundle: Any) -> None:
        at, gone = bundle.at, bundle.state == "erased"
        came = None if bundle.state == "receiving" else at + MINUTE
        there = bundle.number % 3 * PART if bundle.state == "receiving" else SIZE
        checked = None if bundle.state in ("receiving", "received") else at + 2 * MINUTE
        self._tagged(
            BUNDLE,
            tables.bundles,
            id=bundle.id,
            tenant_id=case.tenant,
            stamp_id=name("stp", bundle.number // 100),
            case_id=None if bundle.case is None else case.id,
            uploader_id=history.person(bundle.number),
            state=bundle.state,
            type="proactive" if bundle.case is None else "on-demand",
            send_logs_now=False,
            logs_start=at - 4 * HOUR,
            logs_end=at - HOUR,
            time_collected=at,
            roles="[]",
            file_name="" if gone else "logs.zip",
            size=SIZE,
            created_at=at,
            expires_at=at + 7 * DAY,
            offset=there,
            partial=False,
            received_at=came,
            manifest=bundle.manifest,
            sha256=bundle.manifest if checked else None,
            verified_at=checked,
            checked_at=checked,
            due_at=None if bundle.state in ("receiving", "erasing", "erased") else bundle.due,
            erased_at=bundle.erased,
            erased_cause=bundle.cause,
        )
        for number in range(0 if gone else there // PART if came is None else 3):
            part = name("prt", 4 * bundle.number + number)
            self._add(
                tables.parts,
                bundle_id=bundle.id,
                number=number,
                part_id=part,
                offset=number * PART,
                length=PART if number < 2 or came is None else SIZE - 2 * PART,
                digest=hashlib.sha256(part.encode()).hexdigest(),
                recorded_at=at,
            )

    def _erasure(self, erasure: Any, case: Case) -> None:
        of_case = erasure.bundles[0].case is not None
        demanded = erasure.cause != "deadline"
        self._add(
            tables.erasures,
            id=erasure.id,
            confirmation=erasure.confirmation,
            tenant_id=case.tenant,
            case_id=case.id if of_case else None,
            scope=erasure.scope,
            cause=erasure.cause,
            on_demand=demanded,
            requested_at=erasure.at,
            actor_id=name("act", 1) if demanded else "act_clock",
            proven_at=erasure.proven,
        )
        for bundle in erasure.bundles:
            self._add(tables.erasure_bundles, erasure_id=erasure.id, bundle_id=bundle.id)
        if erasure.proven is not None:
            note = sign_note(erasure.body + "\n", self._receipts)
            proof = {"kind": "casevault-erasure-receipt-v1", "body": erasure.body, "entry_id": erasure.entry}
            self._add(tables.receipts, subject_id=erasure.id, **proof, issued_at=erasure.proven, note=note)

    def _bind_cases(self, history: History) -> None:
        as_of = from_microseconds(history.now)
        for case in self._held:
            rows = self._live(history, case)
            held = _Held(case)
            facts = _facts(held, 1, as_of, self._newest[case.id], rows)  # type: ignore[arg-type]
            self._add(
                tables.case_access,
                case_id=case.id,
                version=1,
                as_of=history.now,
                entry_id=self._newest[case.id],
                tag=self._binding.tag(CASE, *facts),
            )

    def _live(self, history: History, case: Case) -> list[tuple[Any, ...]]:
        """The rows that let somebody read the case, as `bound_access` selects them."""
        rows: list[tuple[Any, ...]] = [
            (_ASSIGNMENT, str(next(self._assigned)), who, None, None, case.opened + 1_000_000, None)
            for who in history.engineers(case.number)
        ]
        rows += [
            (_GRANT, each["id"], each["who"], each["consent"], None, each["at"], each["until"])
            for each in grants(history, case)
            if each["ended"] is None and each["until"] > history.now
        ]
        if case.number % 10 == 0:
            given = consent(case, history.now)
            whole = given["scope"] == "case"
            said = "1" if whole else "0"
            rows.append(
                (_CONSENT, given["id"], given["partner"], name("act", 1), said, given["at"], given["until"])
            )
            if not whole:
                rows.append((_SCOPE, given["id"], given["scope"][0], None, None, None, None))
        return rows


class _Held:
    """A case's row, as far as it is bound."""

    def __init__(self, case: Case) -> None:
        self.id, self.number, self.tenant_id = case.id, f"{case.number:015d}", case.tenant
        self.state = "open" if case.closed is None else "closed"


_LEAF = WRITTEN.index("leaf")


def write_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Write rows by the fastest way that the database has."""
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    if connection.dialect.name == "postgresql":
        raw: Any = connection.connection.driver_connection
        with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(columns))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608


@contextmanager
def _indexed_later(connection: Connection) -> Iterator[None]:
    """Make the indexes of the big tables once they are full."""
    metadata: Iterable[Table] = (audit_entries, *tables.metadata.tables.values())
    indexes = [index for table in metadata if table.name in _UNINDEXED for index in table.indexes]
    for index in indexes:
        connection.execute(DropIndex(index))
    yield
    for index in sorted(indexes, key=lambda index: str(index.name)):
        connection.execute(CreateIndex(index))


def fill(
    engine: Engine,
    history: History,
    *,
    tiles: TileStore,
    log: Signer,
    receipts: Signer,
    binding: Binding,
    issuer: str,
    unsequenced: int = 0,
    tell: Callable[[int], None] = lambda written: None,
) -> None:
    """Fill the empty database of a service that was made but has not run. ValueError if it holds entries."""
    with engine.begin() as connection:
        if connection.execute(select(audit_entries.c.row).limit(1)).first() is not None:
            raise ValueError("the database holds entries already: fill a new one")
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
            connection.execute(
                text("SET LOCAL session_replication_role = replica")
            )  # no look-up of foreign keys
        else:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = on")
        with _indexed_later(connection):
            Filling(connection, tiles, log, receipts, binding, issuer).fill(history, unsequenced, tell)
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
