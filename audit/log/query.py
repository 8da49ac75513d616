"""Queries of entries: newest first by page for people, oldest first as a stream for export; and who read, by grant.

- The order is (time, row), which is total, so a page's cursor is a place in it: entries appended meanwhile cause no
  repetition and no gap. A cursor is opaque to its holder and only ever narrows what the filter allows.
- `iterate` ends at the last row present when it began, and holds one page at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, TextClause, func, literal, select, tuple_

from audit.entry import Action, Outcome
from audit.log.append import LoggedEntry, logged_entry
from audit.log.tables import NOT_SUCCESS, audit_entries
from audit.times import from_microseconds, to_microseconds
from audit.tlog.unaccounted import READS

_entry = audit_entries.c
_EQUAL = {
    "case": _entry.case_id,
    "action": _entry.action,
    "bundle": _entry.bundle,
    "outcome": _entry.outcome,
    "tenant": _entry.tenant,
}
_CURSOR = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})", re.ASCII)
_STREAM_PAGE = 1000


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
    conditions = _conditions(where)
    if after is not None:
        conditions.append(_place() < _parse_cursor(after))
    newest = select(audit_entries).where(*conditions).order_by(_entry.at_us.desc(), _entry.row.desc())
    rows = connection.execute(newest.limit(limit + 1)).all()  # one more shows whether a page follows
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
    reads = _entry.action.in_(sorted(READS)), _entry.outcome == Outcome.SUCCESS
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


def iterate(read: Callable[[], AbstractContextManager[Connection]], where: Filter) -> Iterator[LoggedEntry]:
    """Yield all matching entries, oldest first; each page is a read of its own: a slow consumer holds no connection."""
    with read() as connection:
        last = connection.execute(select(func.max(_entry.row))).scalar()
    if last is None:
        return
    oldest = (
        select(audit_entries)
        .where(*_conditions(where), _entry.row <= last)
        .order_by(_entry.at_us, _entry.row)
        .limit(_STREAM_PAGE)
    )
    following = oldest
    while True:
        with read() as connection:
            page = connection.execute(following).all()
        if not page:
            return
        yield from (logged_entry(row) for row in page)
        following = oldest.where(_place() > tuple_(literal(page[-1].at_us), literal(page[-1].row)))


def _conditions(where: Filter) -> list[ColumnElement[bool] | TextClause]:
    wanted = ((column, getattr(where, name)) for name, column in _EQUAL.items())
    conditions: list[ColumnElement[bool] | TextClause] = [
        column == str(value) for column, value in wanted if value is not None
    ]
    if where.actors is not None:
        conditions.append(_entry.actor.in_(where.actors))
    if where.outcome not in (None, Outcome.SUCCESS):
        conditions.append(NOT_SUCCESS)
    if where.since is not None:
        conditions.append(_entry.at_us >= to_microseconds(where.since))
    if where.until is not None:
        conditions.append(_entry.at_us < to_microseconds(where.until))
    return conditions


def _place() -> Any:
    return tuple_(_entry.at_us, _entry.row)


def _parse_cursor(cursor: str) -> Any:
    place = _CURSOR.fullmatch(cursor)
    if place is None:
        raise CursorError("the cursor did not come from a page: pass `next` of the page before, unchanged")
    return tuple_(literal(int(place[1])), literal(int(place[2])))
