"""The first binding: records older than the binding key are bound once, from the signed log.

Order of writing; the next round makes up for a crash anywhere:
  read all signed leaves, from the tiles -> bind every row that a leaf proves, some at a time
  -> * entry `access.bound` + mark in the records -> mark beside the tiles, where the database's writer cannot reach

Rules:
- A row that no leaf confirms is not bound, and is named: it opens nothing. An administrator ends unproven access
  (`end_unproven`), and the case system, the customer and the engineers begin anew.
- It is done once. If the mark beside the tiles is there, records without a mark were altered or restored: they are not
  bound from the log again, because a writer of the database can write entries too.
- The issuer of an actor, which the log does not tell, is taken from the row. A row whose name was redacted is not
  proven.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Table, insert, select, update

from audit.entry import Action, Detail, Outcome, particulars_hash
from audit.log.tables import ACCESS_ACTS, audit_entries
from audit.log.verify import signed_leaves
from audit.times import parse_rfc3339
from audit.tlog.checkpoint import Verifier
from audit.tlog.tile_store import TileMissingError, TileStore
from retention.custody.access.bound_access import NEWEST_ACT, bind
from retention.custody.access.manage_grants import end_grants
from retention.custody.context import Custody, about_case, entry
from retention.domain.actor import CLOCK, Actor
from retention.domain.case import CaseState
from retention.domain.faults import Conflict
from retention.domain.ids import one_spelling
from retention.domain.row_tag import ACTOR, BUNDLE, PARTNER, STAMP, TENANT, Binding
from retention.records.queries import consent_scope
from retention.records.tables import (
    actors,
    assignments,
    binding,
    bundles,
    case_access,
    cases,
    consents,
    grants,
    partners,
    stamps,
    tenants,
)
from retention.records.unit_of_work import Reads, Records, Transaction

BOUND_PATH = "bound"
_MARK = "records"
_AT_ONCE = 500
_NAMED = 100
_Bound = tuple[int, str]
"""A leaf's index, and the salted hash of its particulars."""


def is_marked(records: Records, key: Binding | None = None) -> bool:
    """Return True if the records say that they are bound, and with `key` if it is given."""
    with records.read() as reads:
        row = reads.execute(select(binding)).first()
    return row is not None and (key is None or key.holds(row.tag, _MARK, row.bound_at))


def mark_bound(records: Records, key: Binding, now: datetime) -> None:
    """Mark new records, which hold nothing older, as bound."""
    records.write(lambda tx: _mark(tx, key, now))


def _mark(tx: Transaction, key: Binding, now: datetime) -> None:
    tx.change(insert(binding).values(id=1, bound_at=now, tag=key.tag(_MARK, now)))


@dataclass(slots=True)
class _Case:
    tenant: str | None
    state: CaseState = CaseState.OPEN
    assigned: dict[str, datetime] = field(default_factory=dict)
    grants: dict[str, tuple[str, datetime, datetime, str | None]] = field(default_factory=dict)
    consents: dict[str, tuple[datetime, Any, _Bound]] = field(default_factory=dict)


@dataclass(slots=True)
class _Bundle:
    tenant: str | None
    stamp: str | None
    case: str | None
    partial: bool
    manifest: str | None = None


@dataclass(slots=True)
class _Said:
    """The log's account of who is allowed to read what."""

    tenants: dict[str, _Bound] = field(default_factory=dict)
    stamps: dict[str, tuple[str | None, _Bound]] = field(default_factory=dict)
    actors: dict[str, tuple[str, _Bound]] = field(default_factory=dict)
    """By actor: the name of the particular that holds its subject, and the leaf it belongs to."""
    partners: dict[str, _Bound] = field(default_factory=dict)
    cases: dict[str, _Case] = field(default_factory=dict)
    bundles: dict[str, _Bundle] = field(default_factory=dict)

    def hear(self, index: int, leaf: Mapping[str, Any]) -> None:
        bound = index, str(leaf.get("particulars", ""))
        if "particulars" in leaf:
            self.actors.setdefault(leaf["actor"], ("subject", bound))
        if leaf["outcome"] == Outcome.SUCCESS and (heard := _HEARD.get(leaf["action"])):
            heard(self, leaf, bound)


def _case(said: _Said, leaf: Mapping[str, Any]) -> _Case:
    return said.cases.setdefault(leaf["case"], _Case(leaf.get("tenant")))


def _tenant(said: _Said, leaf: Mapping[str, Any], bound: _Bound) -> None:
    said.tenants[leaf["tenant"]] = bound


def _stamp(said: _Said, leaf: Mapping[str, Any], bound: _Bound) -> None:
    said.stamps[leaf["subject"]] = leaf.get("tenant"), bound


def _state(state: CaseState) -> Callable[[_Said, Mapping[str, Any], _Bound], None]:
    def heard(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
        _case(said, leaf).state = state

    return heard


def _assigned(said: _Said, leaf: Mapping[str, Any], bound: _Bound) -> None:
    said.actors.setdefault(leaf["subject"], ("engineer", bound))
    _case(said, leaf).assigned[leaf["subject"]] = parse_rfc3339(leaf["at"])


def _unassigned(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    _case(said, leaf).assigned.pop(leaf["subject"], None)


def _granted(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    details = leaf["details"]
    until = parse_rfc3339(details["expires_at"])
    holder = details.get("engineer", leaf["actor"])
    given = holder, parse_rfc3339(leaf["at"]), until, details.get("consent")
    _case(said, leaf).grants[leaf["subject"]] = given


def _grant_ended(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    _case(said, leaf).grants.pop(leaf["subject"], None)


def _consented(said: _Said, leaf: Mapping[str, Any], bound: _Bound) -> None:
    details = leaf["details"]
    given = parse_rfc3339(details["expires_at"]), details["scope"], bound
    if "partner" in details:
        said.partners.setdefault(details["partner"], bound)
    _case(said, leaf).consents[leaf["subject"]] = given


def _consent_revoked(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    _case(said, leaf).consents.pop(leaf["subject"], None)


def _uploaded(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    partial = leaf.get("details", {}).get("type") == "partial"
    said.bundles[leaf["bundle"]] = _Bundle(leaf.get("tenant"), leaf.get("subject"), leaf.get("case"), partial)


def _received(said: _Said, leaf: Mapping[str, Any], bound: _Bound) -> None:
    _placed(said, leaf, bound)
    if found := said.bundles.get(leaf["bundle"]):
        found.manifest = leaf["details"]["manifest"]


def _placed(said: _Said, leaf: Mapping[str, Any], _bound: _Bound) -> None:
    if found := said.bundles.get(leaf["bundle"]):
        found.case = leaf.get("case")


_HEARD: dict[str, Callable[[_Said, Mapping[str, Any], _Bound], None]] = {
    Action.TENANT_REGISTERED: _tenant,
    Action.STAMP_REGISTERED: _stamp,
    Action.CASE_OPENED: _state(CaseState.OPEN),
    Action.CASE_CLOSED: _state(CaseState.CLOSED),
    Action.CASE_REOPENED: _state(CaseState.OPEN),
    Action.CASE_ASSIGNED: _assigned,
    Action.CASE_UNASSIGNED: _unassigned,
    Action.GRANT_GIVEN: _granted,
    Action.GRANT_ENDED: _grant_ended,
    Action.GRANT_RELEASED: _grant_ended,
    Action.GRANT_REVOKED: _grant_ended,
    Action.CONSENT_GIVEN: _consented,
    Action.CONSENT_REVOKED: _consent_revoked,
    Action.UPLOAD_CREATED: _uploaded,
    Action.UPLOAD_CONTINUED: _placed,
    Action.BUNDLE_RECEIVED: _received,
    Action.BUNDLE_CLAIMED: _placed,
    Action.BUNDLE_MOVED: _placed,
}


@dataclass(frozen=True, slots=True)
class FirstBinding:
    """The result of binding from the log."""

    bound: Mapping[str, int]
    """Number of rows bound, by kind."""
    unproven: Sequence[str]
    """Kind and id of each row that no leaf proves."""


def is_bound_for_good(tiles: TileStore) -> bool:
    """Return True if these records were bound once, whatever they say now."""
    try:
        tiles.get(BOUND_PATH)
    except TileMissingError:
        return False
    return True


def remember_bound(custody: Custody) -> None:
    """Leave the mark beside the tiles. Repeating it changes nothing."""
    if not is_bound_for_good(custody.tiles):
        custody.tiles.put(
            BOUND_PATH, b"these records are bound: see access.bound in the log, and docs/formats.md\n"
        )


def bind_from_log(custody: Custody, log_key: Verifier) -> FirstBinding | None:
    """Bind everything that the signed log proves; None while an act on access is not signed yet: try again.

    LogBrokenError if the log is inconsistent: none of it is believed.
    """
    said = _Said()
    for index, leaf in signed_leaves(custody.tiles, log_key):
        said.hear(index, json.loads(leaf))
    with custody.records.read() as reads:
        unsigned = audit_entries.c.leaf_index.is_(None), ACCESS_ACTS
        if reads.execute(select(audit_entries.c.row).where(*unsigned).limit(1)).first():
            return None
    found = [
        _bind_rows(custody, ACTOR, actors, lambda reads, row: _proves_actor(reads, said, row)),
        _bind_rows(custody, TENANT, tenants, lambda reads, row: _proves_tenant(reads, said, row)),
        _bind_rows(custody, PARTNER, partners, lambda reads, row: _proves_partner(reads, said, row)),
        _bind_rows(custody, STAMP, stamps, lambda reads, row: _proves_stamp(reads, said, row)),
        _bind_rows(custody, BUNDLE, bundles, lambda _, row: _proves_bundle(said, row)),
        _bind_cases(custody, said),
    ]
    bound = {kind: count for kind, count, _unproven in found}
    unproven = [name for _kind, _count, names in found for name in names]
    _finish(custody, bound, unproven)
    return FirstBinding(bound, unproven)


def _finish(custody: Custody, bound: Mapping[str, int], unproven: Sequence[str]) -> None:
    now = custody.clock.now()
    ids = [name.split()[1] for name in unproven[:_NAMED]]
    details: dict[str, Detail] = {**bound, "unproven": ids, "unproven_count": len(unproven)}
    noted = entry(CLOCK, Action.ACCESS_BOUND, now, details=details)

    def work(tx: Transaction) -> None:
        _mark(tx, custody.binding, now)
        tx.audit(noted)

    custody.records.write(work)
    remember_bound(custody)


def _bind_rows(
    custody: Custody, kind: str, table: Table, proves: Callable[[Reads, Row[Any]], bool]
) -> tuple[str, int, list[str]]:
    bound, unproven = 0, []
    for page in _pages(custody, table):

        def work(tx: Transaction, page: Sequence[Row[Any]] = page) -> tuple[int, list[str]]:
            # Rows that this version wrote meanwhile are bound already, and their leaves perhaps not signed yet.
            proven = [row for row in page if custody.binding.holds_row(kind, row) or proves(tx, row)]
            for row in proven:
                tag = custody.binding.tag_row(kind, row)
                tx.change(update(table).where(table.c.id == row.id).values(tag=tag))
            held = {row.id for row in proven}
            return len(proven), [f"{kind} {row.id}" for row in page if row.id not in held]

        some, names = custody.records.write(work)
        bound += some
        unproven += names
    return kind, bound, unproven


def _pages(custody: Custody, table: Table) -> Iterator[Sequence[Row[Any]]]:
    last = ""
    while True:
        page = select(table).where(table.c.id > last).order_by(table.c.id).limit(_AT_ONCE)
        with custody.records.read() as reads:
            rows = reads.execute(page).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _bind_cases(custody: Custody, said: _Said) -> tuple[str, int, list[str]]:
    bound, unproven = 0, []
    for page in _pages(custody, cases):
        for row in page:
            if custody.records.write(lambda tx, row=row: _bind_case(tx, custody, said, row)):  # type: ignore[misc]
                bound += 1
            else:
                unproven.append(f"case {row.id}")
    return "case", bound, unproven


def _bind_case(tx: Transaction, custody: Custody, said: _Said, row: Row[Any]) -> bool:
    if tx.execute(select(case_access.c.version).where(case_access.c.case_id == row.id)).first():
        return True
    now = custody.clock.now()
    case = said.cases.get(row.id)
    newest = tx.execute(NEWEST_ACT, {"case": row.id}).scalar()
    if case is None or newest is None or not _proves_case(tx, case, row, now):
        return False
    bind(tx, custody.binding, row.id, now, newest)
    return True


def _proves_case(reads: Reads, case: _Case, row: Row[Any], now: datetime) -> bool:
    if (row.tenant_id, row.state) != (case.tenant, case.state):
        return False
    a, g, c = assignments.c, grants.c, consents.c
    assigned = select(assignments).where(a.case_id == row.id, a.unassigned_at.is_(None))
    if any(case.assigned.get(each.actor_id) != each.assigned_at for each in reads.execute(assigned).all()):
        return False
    granted = select(grants).where(g.case_id == row.id, g.ended_at.is_(None), g.expires_at > now)
    for each in reads.execute(granted).all():
        given = each.actor_id, each.granted_at, each.expires_at, each.consent_id
        if case.grants.get(each.id) != given:
            return False
    consented = select(consents).where(c.case_id == row.id, c.revoked_at.is_(None), c.expires_at > now)
    return all(_proves_consent(reads, case, each) for each in reads.execute(consented).all())


def _proves_consent(reads: Reads, case: _Case, row: Row[Any]) -> bool:
    until, scope, bound = case.consents.get(row.id, (None, None, (0, "")))
    named = "case" if row.whole_case else sorted(consent_scope(reads, row.id))
    partner = _particulars(reads, bound).get("partner")
    return bool((until, scope, partner) == (row.expires_at, named, row.partner))


def _proves_actor(reads: Reads, said: _Said, row: Row[Any]) -> bool:
    """Tell whether the log proves the actor's row. An actor unknown to the log can be bound: nothing rests on it."""
    name, bound = said.actors.get(row.id, ("", (0, "")))
    return not name or _particulars(reads, bound).get(name) == row.subject


def _proves_tenant(reads: Reads, said: _Said, row: Row[Any]) -> bool:
    bound = said.tenants.get(row.id)
    return bound is not None and _particulars(reads, bound).get("directory") == row.directory


def _proves_partner(reads: Reads, said: _Said, row: Row[Any]) -> bool:
    """Tell whether the log proves the partner's row. As for actors, one unknown to the log can be bound."""
    bound = said.partners.get(row.id)
    return bound is None or _particulars(reads, bound).get("partner") == row.name


def _proves_stamp(reads: Reads, said: _Said, row: Row[Any]) -> bool:
    tenant, bound = said.stamps.get(row.id, (None, (0, "")))
    return bool(tenant == row.tenant_id and _particulars(reads, bound).get("identity") == row.subject)


def _proves_bundle(said: _Said, row: Row[Any]) -> bool:
    found = said.bundles.get(row.id)
    as_it_is = _Bundle(row.tenant_id, row.stamp_id, row.case_id, row.partial, row.manifest)
    return found is not None and found == as_it_is


def _particulars(reads: Reads, bound: _Bound) -> Mapping[str, str]:
    """Return the particulars that the leaf binds; none if they were redacted or replaced."""
    index, said = bound
    columns = select(audit_entries.c.particulars, audit_entries.c.salt)
    row = reads.execute(columns.where(audit_entries.c.leaf_index == index)).first()
    if row is None or row.particulars is None or row.salt is None:
        return {}
    found: Mapping[str, str] = json.loads(row.particulars)
    if particulars_hash(row.salt, found) != said:
        return {}
    return {name: one_spelling(value) for name, value in found.items()}  # as rows hold names


def end_unproven(custody: Custody, actor: Actor, number: str) -> int | None:
    """End every assignment, grant and consent of a case, whatever they say, and bind it anew with nobody in it. Return
    how many ended; None if there is no such case. Each is an entry, and so is the binding.

    Conflict if the case's own row differs from the log in customer or state: that would be bound with it."""
    now = custody.clock.now()

    def work(tx: Transaction) -> int | None:
        case = tx.execute(select(cases).where(cases.c.number == number)).first()
        if case is None:
            return None
        _check_case(tx, case)
        tx.at_end(case.id, lambda: bind(tx, custody.binding, case.id, now, anew=True))
        ended = end_grants(tx, custody.binding, actor, grants.c.case_id == case.id, "unproven", now)
        ended += _end(tx, actor, case, assignments, "unassigned_at", "actor_id", Action.CASE_UNASSIGNED, now)
        ended += _end(tx, actor, case, consents, "revoked_at", "id", Action.CONSENT_REVOKED, now)
        details = {"ended": ended}
        tx.audit(entry(actor, Action.ACCESS_BOUND, now, **about_case(case), details=details))
        return ended

    return custody.records.write(work)


def _check_case(tx: Transaction, case: Row[Any]) -> None:
    steps = {
        Action.CASE_OPENED: CaseState.OPEN,
        Action.CASE_REOPENED: CaseState.OPEN,
        Action.CASE_CLOSED: CaseState.CLOSED,
    }
    e = audit_entries.c
    of_case = e.case_id == case.id, e.action.in_(list(steps)), e.outcome == Outcome.SUCCESS
    newest = (
        select(e.action, e.tenant).where(*of_case).order_by(e.leaf_index.desc().nulls_first(), e.row.desc())
    )
    said = tx.execute(newest.limit(1)).first()
    if said is None or (said.tenant, steps[Action(said.action)]) != (case.tenant_id, case.state):
        logged = "nothing of it" if said is None else f"customer {said.tenant}, {steps[Action(said.action)]}"
        raise Conflict(
            f"the records say of case {case.number}: customer {case.tenant_id}, {case.state}; the log says {logged}. "
            "Correct the row of the case first, for it would be bound as it is",
            reason="case-altered",
        )


def _end(
    tx: Transaction,
    actor: Actor,
    case: Row[Any],
    table: Table,
    ends: str,
    names: str,
    action: Action,
    now: datetime,
) -> int:
    live = table.c.case_id == case.id, table.c[ends].is_(None)
    found = tx.execute(select(table.c[names]).where(*live)).scalars().all()
    for subject in found:
        why = {"cause": "unproven"}
        tx.audit(entry(actor, action, now, **about_case(case), subject=subject, details=why))
    tx.change(update(table).where(*live).values({ends: now}))
    return len(found)
