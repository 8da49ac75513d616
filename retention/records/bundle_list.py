"""The list of bundles: each page is searched from what the caller sees, by an index that has the list's order.

A page costs what it shows, however many bundles there are. So each search fixes the columns that one index begins with;
every other condition is checked on the rows found, and is kept from the planner of SQLite (`checked`), which knows no
numbers and would choose another index for it.

| asked for | all (auditor) | a tenant's (operator) | a stamp's | of assigned cases | unclaimed of a tenant |
|---|---|---|---|---|---|
| a case | case | case | case | case, if assigned | nothing |
| a stamp | stamp | stamp, if the tenant's | stamp, if its own | cases | stamp, if the tenant's |
| unclaimed | unclaimed | tenant, unclaimed | stamp | nothing | tenant, unclaimed |
| states | state, each | tenant, state, each | stamp | cases | tenant, unclaimed |
| a type | type | tenant, type | stamp | cases | tenant, unclaimed |

A case or stamp that the caller is not allowed to know of is one that does not exist: both are looked up, and nothing is
searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, Select, and_, func, literal_column, or_, select

from audit.log.query import checked
from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState
from retention.records.queries import Page, fetch_page
from retention.records.tables import bundles, cases, stamps
from retention.records.unit_of_work import Reads
from retention.records.visibility import Reason, reasons_to_see_bundles, visible_cases

_b = bundles.c
_LISTED = _b.id > literal_column("''")  # the words of tables.LISTED, with the table's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The conditions of a list, all of which must hold. `case` is the case's number."""

    case: str | None = None
    stamp: str | None = None
    type: str | None = None
    states: Sequence[BundleState] | None = None
    unclaimed: bool = False


def searches(reads: Reads, actor: Actor, wanted: Wanted, now: datetime) -> list[ColumnElement[bool]]:
    """Build the conditions to search by, one a search; none when there is nothing to be seen."""
    case_id = stamp_tenant = None
    if wanted.case is not None:
        case_id = reads.execute(select(cases.c.id).where(_is_case(actor, wanted.case, now))).scalar()
    if wanted.stamp is not None:
        stamp_tenant = reads.execute(select(stamps.c.tenant_id).where(stamps.c.id == wanted.stamp)).scalar()
    return [
        and_(search, ~checked(_b.partial))
        for reason in reasons_to_see_bundles(reads, actor, now)
        for search in _of(reason, wanted, case_id, stamp_tenant)
    ]


def _is_case(actor: Actor, number: str, now: datetime) -> ColumnElement[bool]:
    """Build the condition on `cases` for what the caller may name: a stamp names its customer's cases."""
    seen = visible_cases(actor, now)
    if actor.has(Role.STAMP) and actor.tenant is not None:
        seen = or_(seen, cases.c.tenant_id == actor.tenant)
    return and_(cases.c.number == number, seen)


def _of(
    reason: Reason, wanted: Wanted, case_id: str | None, stamp_tenant: str | None
) -> list[ColumnElement[bool]]:
    """Build the searches for one reason: `held` maps what must hold, by the name in _FIXED, to its condition."""
    if wanted.case is not None and (case_id is None or wanted.unclaimed or reason.by == "unclaimed"):
        return []
    if wanted.unclaimed and reason.by == "cases":
        return []
    whose = {"tenant": stamp_tenant, "unclaimed": stamp_tenant, "stamp": wanted.stamp}
    if wanted.stamp is not None and whose.get(reason.by, reason.of) != reason.of:
        return []
    held = _held(reason, wanted, case_id)
    fixed = next(names for names in _FIXED if held.keys() >= set(names))
    beside = [make(checked(column)) for name, (column, make) in held.items() if name not in fixed]
    if reason.also is not None:
        beside.append(reason.also)
    searched = [make(column) for name, (column, make) in held.items() if name in fixed and name != "state"]
    states = wanted.states if "state" in fixed and wanted.states is not None else [None]
    return [
        and_(_LISTED, *searched, *([] if state is None else [_b.state == state]), *beside) for state in states
    ]


_Make = Callable[[ColumnElement[Any]], ColumnElement[bool]]
_FIXED: tuple[tuple[str, ...], ...] = (
    ("case",),
    ("cases",),
    ("stamp",),
    ("tenant", "unclaimed"),
    ("unclaimed",),
    ("tenant", "state"),
    ("state",),
    ("tenant", "type"),
    ("type",),
    ("tenant",),
    (),
)
"""The beginnings of the indexes, the narrowest first."""


def _held(reason: Reason, wanted: Wanted, case_id: str | None) -> dict[str, tuple[ColumnElement[Any], _Make]]:
    """Return what must hold: by name, the column, and what makes the condition on it."""
    held: dict[str, tuple[ColumnElement[Any], _Make]] = {}
    if reason.by == "cases":
        held["cases"] = _b.case_id, lambda column: column.in_(cast(Sequence[str], reason.of))
    if reason.by in ("tenant", "unclaimed"):
        held["tenant"] = _b.tenant_id, _equals(reason.of)
    stamp = reason.of if reason.by == "stamp" else wanted.stamp
    if stamp is not None:
        held["stamp"] = _b.stamp_id, _equals(stamp)
    if reason.by == "unclaimed" or wanted.unclaimed:
        held["unclaimed"] = _b.case_id, lambda column: column.is_(None)
    if case_id is not None:
        held["case"] = _b.case_id, _equals(case_id)
    if wanted.states is not None:
        held["state"] = _b.state, lambda column: column.in_(wanted.states or ())
    if wanted.type is not None:
        held["type"] = _b.type, _equals(wanted.type)
    return held


def _equals(value: Any) -> _Make:
    return lambda column: column == value


def find_bundles(
    reads: Reads, actor: Actor, wanted: Wanted, now: datetime, cursor: str | None, limit: int, *, hidden: str
) -> Page[Row[Any]]:
    """Find a page of the bundles that the actor sees, newest first by the time collected, with their cases' numbers.
    What was erased for the cause `hidden` is not shown."""
    listed = with_case().where(func.coalesce(_b.erased_cause, "") != hidden)
    seen = searches(reads, actor, wanted, now)
    return fetch_page(reads, listed, _b.time_collected, _b.id, cursor, limit, seen)


def with_case() -> Select[Any]:
    """Select bundles, each with its case's number."""
    return select(bundles, cases.c.number).join_from(bundles, cases, isouter=True)
