"""Queries of entries: newest first by page for people, oldest first as a stream for export; and who read, by grant.

- The order is (time, row), which is total, so a page's cursor is a place in it: entries appended meanwhile cause no
  repetition and no gap. A cursor is opaque to its holder and only ever narrows what the filter allows.
- A question is searched by the narrowest index (`_FIXED`); its other conditions are checked on the rows found, and are
  kept from the planner of SQLite, which knows no numbers and would choose another index for one.
- `iterate` ends at the last row present when it began, and holds one page at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, TextClause, func, literal, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from audit.entry import Action, Outcome
from audit.log.append import STORED, LoggedEntry, StoredEntry, logged_entry
from audit.log.tables import NOT_SUCCESS, audit_entries, fetch_tuples
from audit.times import from_microseconds, to_microseconds
from audit.tlog.unaccounted import READS

_entry = audit_entries.c
_COLUMNS: Mapping[str, ColumnElement[str]] = {
    "bundle": _entry.bundle,
    "case": _entry.case_id,
    "tenant": _entry.tenant,
    "actors": _entry.actor,
    "action": _entry.action,
    "outcome": _entry.outcome,
}
_FIXED = (
    *({"bundle"}, {"case"}),
    *({"tenant", "outcome"}, {"actors", "outcome"}, {"action", "outcome"}, {"outcome"}),
    *({"tenant", "actors"}, {"actors", "action"}, {"tenant", "action"}, {"tenant"}, {"actors"}, {"action"}),
    frozenset[str](),
)
"""The conditions that an index begins with, the order of time behind them; the narrowest first. Of the outcomes, those
that are no success."""
_CURSOR = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})", re.ASCII)
_STREAM_PAGE = 1000


class checked(FunctionElement[Any]):  # noqa: N801 - named as functions are in SQL
    """A column that is checked on the rows found, and never searched by: `+column` on SQLite."""

    inherit_cache = True
    name = "checked"

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(checked)
def _as_it_is(element: checked, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses.clauses[0], **options))


@compiles(checked, "sqlite")
def _with_plus(element: checked, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.clauses.clauses[0], **options)}"


class CursorError(ValueError):
    """A cursor that did not come from a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions that must all hold. `since` is inclusive, `until` exclusive; `actors`: by any of these ids."""

    case: str | None = None
    actors: tuple[str, ...] | None = None
    action: Action | None = None
    bundle: str | None = None
    outcome: Outcome | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of entries. `next` is the cursor of the following page, if there is one."""

    rows: tuple[LoggedEntry, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One person's reads under one grant: how many, of how many bundles, and when first and last."""

    actor: str
    grant: str
    case: str
    reads: int
    bundles: int
    first_at: datetime
    last_at: datetime


def find(connection: Connection, where: Filter, after: str | None, limit: int) -> Page:
    """Return one page of at most `limit` entries, newest first."""
    before = []
    if after is not None:  # one bound: with two upper bounds SQLite takes another index for the narrower one
        place = _parse_cursor(after)
        place = place if where.until is None else min(place, (to_microseconds(where.until), 0))
        before, where = [_place() < tuple_(*map(literal, place))], replace(where, until=None)
    newest = select(audit_entries).order_by(_entry.at_us.desc(), _entry.row.desc()).limit(limit + 1)
    # One more shows whether a page follows. Each actor's are searched by themselves: they are in order in the index.
    each = [where] if where.actors is None else [replace(where, actors=(actor,)) for actor in where.actors]
    found = [
        row for one in each for row in connection.execute(newest.where(*_conditions(one), *before)).all()
    ]
    rows = sorted(found, key=lambda row: (row.at_us, row.row), reverse=True)[: limit + 1]
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(
        rows=tuple(logged_entry(row) for row in shown),
        next=f"{shown[-1].at_us}.{shown[-1].row}" if more and shown else None,
    )


def find_readers(
    connection: Connection, where: Filter, after: tuple[datetime, str] | None, limit: int
) -> list[Reader]:
    """List who read, by person and grant, the latest first; `after` is the last one's `last_at` and `grant`."""
    last = func.max(_entry.at_us)
    under = (_entry.actor, _entry.subject, _entry.case_id)
    counts = (func.count(), func.count(_entry.bundle.distinct()), func.min(_entry.at_us), last)
    reads = checked(_entry.action).in_(sorted(READS)), checked(_entry.outcome) == Outcome.SUCCESS
    grouped = select(*under, *counts).where(*_conditions(where), *reads).group_by(*under)
    if after is not None:
        place = tuple_(literal(to_microseconds(after[0])), literal(after[1]))
        grouped = grouped.having(tuple_(last, _entry.subject) < place)
    rows = connection.execute(grouped.order_by(last.desc(), _entry.subject.desc()).limit(limit)).all()
    return [
        Reader(
            actor=actor,
            grant=grant,
            case=case,
            reads=reads_,
            bundles=bundles,
            first_at=from_microseconds(first_us),
            last_at=from_microseconds(last_us),
        )
        for actor, grant, case, reads_, bundles, first_us, last_us in rows
    ]


def has_entries(connection: Connection, where: Filter) -> bool:
    """Tell whether any entry matches."""
    return connection.execute(select(_entry.row).where(*_conditions(where)).limit(1)).first() is not None


def iterate(read: Callable[[], AbstractContextManager[Connection]], where: Filter) -> Iterator[StoredEntry]:
    """Yield all matching entries, oldest first, unparsed.

    Each page is a read of its own: a slow consumer holds no connection.
    """
    with read() as connection:
        last = connection.execute(select(func.max(_entry.row))).scalar()
    if last is None:
        return
    oldest = (
        select(*STORED)
        .where(*_conditions(where), _entry.row <= last)
        .order_by(_entry.at_us, _entry.row)
        .limit(_STREAM_PAGE)
    )
    following = oldest
    while True:
        with read() as connection:
            page = fetch_tuples(connection, following)
        if not page:
            return
        yield from map(StoredEntry._make, page)
        following = oldest.where(_place() > tuple_(*map(literal, page[-1][:2])))


def _conditions(where: Filter) -> list[ColumnElement[bool] | TextClause]:
    given = {name: value for name in _COLUMNS if (value := getattr(where, name)) is not None}
    not_success = where.outcome not in (None, Outcome.SUCCESS)
    searched = given.keys() if not_success else given.keys() - {"outcome"}
    fixed = next(names for names in _FIXED if names <= searched)
    conditions: list[ColumnElement[bool] | TextClause] = []
    for name, value in given.items():
        column = _COLUMNS[name] if name in fixed else checked(_COLUMNS[name])
        conditions.append(column.in_(value) if name == "actors" else column == str(value))
    if "outcome" in fixed:
        conditions.append(NOT_SUCCESS)
    if where.since is not None:
        conditions.append(_entry.at_us >= to_microseconds(where.since))
    if where.until is not None:
        conditions.append(_entry.at_us < to_microseconds(where.until))
    return conditions


def _place() -> Any:
    return tuple_(_entry.at_us, _entry.row)


def _parse_cursor(cursor: str) -> tuple[int, int]:
    place = _CURSOR.fullmatch(cursor)
    if place is None:
        raise CursorError("the cursor did not come from a page: pass `next` of the page before, unchanged")
    return int(place[1]), int(place[2])
