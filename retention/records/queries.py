"""The queries and keyset pages that several verbs share; SQL only, no rules.

- Queries on the way to plaintext are built once, not at every read: building one costs more than running it.
- Pages run newest first by a moment and an id, so that a page never shifts while rows are added. A cursor is opaque to
  callers: the last row's moment and id.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Row, Select, bindparam, literal, select, true, tuple_, update

from audit.entry import Action, parse_leaf
from audit.log.tables import audit_entries
from audit.times import from_microseconds, to_microseconds
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState
from retention.domain.case import CaseEvent, CaseEventKind
from retention.domain.deadline import BundleHistory, due
from retention.domain.faults import Invalid
from retention.envelope.manifest import PartEntry
from retention.records.tables import (
    Moment,
    assignments,
    bundles,
    case_events,
    cases,
    concatenations,
    consent_bundles,
    grants,
    parts,
)
from retention.records.unit_of_work import Reads, Transaction
from retention.records.visibility import SEE_ALL, visible_bundles, visible_cases, visible_uploads

T = TypeVar("T")
MAX_LIMIT = 200
_PLACE = re.compile(r"(-?[0-9]{1,18})\|([A-Za-z0-9_]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of items, newest first; `next` is the cursor of the following page, None at the end."""

    items: Sequence[T]
    next: str | None


def encode_cursor(at: datetime, id_: str) -> str:
    """Make the cursor of the page after a row."""
    return base64.urlsafe_b64encode(f"{to_microseconds(at)}|{id_}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Read the moment and id in a cursor; Invalid when it is not one of ours."""
    try:
        place = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode())
        if place is None:
            raise ValueError  # noqa: TRY301 - one refusal for every way of not being ours
        return from_microseconds(int(place[1])), place[2]
    except (ValueError, binascii.Error, OverflowError):
        raise Invalid(
            "this cursor is not one of ours", {"cursor": "use the one that the previous page gave"}
        ) from None


def fetch_page(
    reads: Reads,
    statement: Select[Any],
    at: Column[Any],
    id_: Column[Any],
    cursor: str | None,
    limit: int,
    any_of: Sequence[ColumnElement[bool]] = (true(),),
) -> Page[Row[Any]]:
    """Fetch a page of `statement`, whose rows have the columns `at` and `id_` and meet a condition in `any_of`."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid("this page size is not allowed", {"limit": f"must be 1 to {MAX_LIMIT}"})
    if cursor is not None:
        last_at, last_id = decode_cursor(cursor)
        # A row comparison, unlike the same with OR, is a place in the index: page 1000 costs what page 1 does.
        statement = statement.where(tuple_(at, id_) < tuple_(literal(last_at, at.type), literal(last_id)))
    newest = statement.order_by(at.desc(), id_.desc()).limit(limit + 1)
    found = {row._mapping[id_]: row for clause in any_of for row in reads.execute(newest.where(clause))}
    rows = sorted(found.values(), key=lambda row: (row._mapping[at], row._mapping[id_]), reverse=True)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], encode_cursor(last._mapping[at], last._mapping[id_]))


_ASSIGNED = select(assignments.c.row).where(
    assignments.c.case_id == bindparam("case"),
    assignments.c.actor_id == bindparam("actor"),
    assignments.c.unassigned_at.is_(None),
)
_PARTS = select(parts).where(parts.c.bundle_id == bindparam("bundle")).order_by(parts.c.number)
_NEWEST_LEAF = (
    select(audit_entries.c.leaf)
    .where(audit_entries.c.action.in_(bindparam("actions", expanding=True)))
    .order_by(audit_entries.c.row.desc())
    .limit(1)
)
_HOLD = (
    select(bundles.c.id, grants.c.id)
    .join_from(bundles, grants, grants.c.case_id == bundles.c.case_id)
    .where(bundles.c.id == bindparam("bundle"), grants.c.id == bindparam("grant"))
    .with_for_update(read=True)
)


def find_case(reads: Reads, actor: Actor, number: str, now: datetime) -> Row[Any] | None:
    """Find the case with this number, if the actor is allowed to see it."""
    return reads.execute(select(cases).where(cases.c.number == number, visible_cases(actor, now))).first()


def find_bundle(reads: Reads, actor: Actor, bundle_id: str, now: datetime) -> Row[Any] | None:
    """Find the bundle, if the actor is allowed to see it."""
    return _find(reads, visible_bundles, actor, bundle_id, now)


def find_upload(reads: Reads, actor: Actor, bundle_id: str, now: datetime) -> Row[Any] | None:
    """Find the bundle or the partial upload, if the actor is allowed to see it."""
    return _find(reads, visible_uploads, actor, bundle_id, now)


_Visible = Callable[[Actor, datetime], ColumnElement[bool]]


def _find(reads: Reads, visible: _Visible, actor: Actor, bundle_id: str, now: datetime) -> Row[Any] | None:
    named = {"tenant": actor.tenant, "stamp": actor.stamp, "partner": actor.partner}
    held = {name: value for name, value in named.items() if value is not None}
    values = {"bundle": bundle_id, "actor": actor.id, "now": now, **held}
    return reads.execute(_look_up(visible, actor.roles, frozenset(held)), values).first()


@lru_cache(maxsize=256)
def _look_up(visible: _Visible, roles: frozenset[Role], held: frozenset[str]) -> Select[Any]:
    """Build the look-up for every actor with these roles and names; their differences are bound parameters."""
    bound: dict[str, Any] = {name: bindparam(name) for name in held}
    anyone = Actor(id=cast(Any, bindparam("actor")), roles=roles, **bound)
    now = cast(Any, bindparam("now", type_=Moment()))
    return select(bundles).where(bundles.c.id == bindparam("bundle"), visible(anyone, now))


_PARTIALS = (
    select(concatenations.c.partial_id)
    .where(concatenations.c.final_id == bindparam("final"))
    .order_by(concatenations.c.number)
)


def partials_of(reads: Reads, final_id: str) -> list[str]:
    """List the partial uploads that a final one is made of, in order; none for any other bundle."""
    return list(reads.execute(_PARTIALS, {"final": final_id}).scalars())


def final_of(reads: Reads, partial_id: str) -> str | None:
    """Return the final upload that a partial one was used for, if any."""
    used = select(concatenations.c.final_id).where(concatenations.c.partial_id == partial_id)
    found: str | None = reads.execute(used).scalar()
    return found


def live_partials(reads: Reads, final_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """List the partial uploads of these final ones that are not erased yet."""
    used = select(concatenations.c.partial_id).where(concatenations.c.final_id.in_(final_ids))
    return reads.execute(
        select(bundles).where(bundles.c.id.in_(used), bundles.c.state != BundleState.ERASED)
    ).all()


def hold(reads: Reads, grant_id: str, bundle_id: str) -> None:
    """Let nobody end the grant, or begin to erase the bundle, before this transaction is over (PostgreSQL).

    So in the log's order a read never comes after the end of what it rests on. Bundle first, then grant: the order of
    all verbs that change both.
    """
    reads.execute(_HOLD, {"bundle": bundle_id, "grant": grant_id})


def case_history(reads: Reads, case_id: str) -> list[CaseEvent]:
    """Read a case's events in order."""
    rows = reads.execute(
        select(case_events).where(case_events.c.case_id == case_id).order_by(case_events.c.row)
    )
    return [CaseEvent(CaseEventKind(row.kind), row.effective_at, row.recorded_at) for row in rows]


def is_assigned(reads: Reads, case_id: str, actor_id: str) -> bool:
    """Tell whether the actor is assigned to the case."""
    return reads.execute(_ASSIGNED, {"case": case_id, "actor": actor_id}).first() is not None


def sees_all_of(reads: Reads, actor: Actor, case: Row[Any]) -> bool:
    """Tell whether the actor is allowed to know of everything in a visible case, not only what a consent names (P6)."""
    if actor.has(*SEE_ALL) or (actor.has(Role.OPERATOR) and actor.tenant == case.tenant_id):
        return True
    return actor.has(Role.SUPPORT_ENGINEER) and is_assigned(reads, case.id, actor.id)


def bundle_history(reads: Reads, bundle: Row[Any]) -> BundleHistory:
    """Read all that the bundle's deadline depends on."""
    case = case_history(reads, bundle.case_id) if bundle.case_id is not None else None
    return BundleHistory(bundle.received_at or bundle.created_at, case, bundle.cap_at)


def refresh_due(tx: Transaction, which: Any) -> None:
    """Rewrite the deadline, by the pure rule, of the live bundles in `which`, after something it depends on changed."""
    over = (BundleState.ERASING, BundleState.ERASED)
    for bundle in tx.execute(select(bundles).where(which, bundles.c.state.not_in(over))).all():
        at, _reason = due(bundle_history(tx, bundle))
        tx.change(update(bundles).where(bundles.c.id == bundle.id).values(due_at=at))


def consent_scope(reads: Reads, consent_id: str) -> frozenset[str]:
    """Read the bundles that a consent names."""
    statement = select(consent_bundles.c.bundle_id).where(consent_bundles.c.consent_id == consent_id)
    return frozenset(reads.execute(statement).scalars())


def bundle_parts(reads: Reads, bundle_id: str) -> Sequence[PartEntry]:
    """Read the bundle's parts in order."""
    rows = reads.execute(_PARTS, {"bundle": bundle_id})
    return [
        PartEntry(row.part_id, row.offset, row.length, bytes.fromhex(row.digest), row.framing) for row in rows
    ]


def newest_leaf(reads: Reads, *actions: Action) -> Mapping[str, Any] | None:
    """Read the fields of the newest entry of one of these actions; None if there is none."""
    leaf = reads.execute(_NEWEST_LEAF, {"actions": list(actions)}).scalar()
    return None if leaf is None else parse_leaf(leaf)
