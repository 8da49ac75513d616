"""Two reports on the log: who read a case, and which grants nobody used.

Rules:
- Whoever sees the log sees these (`log_queries`): auditors everything, a customer's operator their own. A refusal is an
  entry.
- Asking is an entry, `audit.queried`, with what was asked for, before anything is shown (P3).
- A read is an allowed opening of a bundle or listing of its files; an unused grant is over, and has none.
- They use the rows of the log and the records. `casevault audit unaccounted` uses the signed leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Row, or_, select, type_coerce

from audit.entry import Action, Outcome
from audit.log.query import find_readers
from audit.log.tables import audit_entries
from audit.times import to_microseconds
from audit.tlog.unaccounted import READS
from retention.custody.context import Custody
from retention.custody.reading.log_queries import Asked, note_look, reasons_of, scope, subjects_of
from retention.domain.actor import Actor
from retention.domain.grants import LONGEST
from retention.records.queries import Page, decode_cursor, encode_cursor, fetch_page
from retention.records.tables import actors, cases, grants

_LONGEST_US = int((LONGEST + timedelta(minutes=1)) / timedelta(microseconds=1))
"""The longest time, in microseconds, after giving a grant that a read under it can begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReader:
    """One person's reads under one grant; `actor` is their name at the issuer, None for a forgotten person."""

    actor: str | None
    actor_id: str
    grant: str
    reason: str
    reads: int
    bundles: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedGrant:
    """A grant that is over and under which nothing was read."""

    grant: str
    case: str
    actor: str | None
    actor_id: str
    reason: str
    granted_at: datetime
    expires_at: datetime
    ended_at: datetime
    end_cause: str


def list_readers(
    custody: Custody, actor: Actor, asked: Asked, cursor: str | None, limit: int
) -> Page[CaseReader]:
    """List who read the case in `asked`, by person and grant, the latest read first."""
    where = scope(custody, actor, Action.AUDIT_QUERIED, asked)
    after = None if cursor is None else decode_cursor(cursor)
    with custody.records.read() as reads:
        found = find_readers(reads, where, after, limit + 1)
        people = subjects_of(reads, {one.actor for one in found})
        reasons = reasons_of(reads, {one.grant for one in found})
    note_look(custody, actor, Action.AUDIT_QUERIED, where, asked, _told("readers", min(len(found), limit)))
    shown = [
        CaseReader(
            actor=people.get(one.actor),
            actor_id=one.actor,
            grant=one.grant,
            reason=reasons.get(one.grant, ""),
            reads=one.reads,
            bundles=one.bundles,
            first_at=one.first_at,
            last_at=one.last_at,
        )
        for one in found[:limit]
    ]
    more = encode_cursor(shown[-1].last_at, shown[-1].grant) if len(found) > limit else None
    return Page(shown, more)


def list_unused_grants(
    custody: Custody, actor: Actor, asked: Asked, cursor: str | None, limit: int
) -> Page[UnusedGrant]:
    """List grants that are over and under which nothing was read, the last given first. `since` and `until` bound when
    they were given."""
    where = scope(custody, actor, Action.AUDIT_QUERIED, asked)
    now, g, e = custody.clock.now(), grants.c, audit_entries.c
    given_us = type_coerce(g.granted_at, BigInteger)
    read = select(e.row).where(
        e.case_id == g.case_id,
        e.subject == g.id,
        e.action.in_(sorted(READS)),
        e.outcome == Outcome.SUCCESS,
        e.at_us.between(given_us, given_us + _LONGEST_US),
    )
    narrowed = [
        None if where.case is None else g.case_id == where.case,
        None if where.tenant is None else cases.c.tenant_id == where.tenant,
        None if where.actors is None else g.actor_id.in_(where.actors),
        None if where.since is None else given_us >= to_microseconds(where.since),
        None if where.until is None else given_us < to_microseconds(where.until),
    ]
    unused = (
        select(grants, cases.c.number, actors.c.subject)
        .join_from(grants, cases)
        .join(actors, actors.c.id == g.actor_id)
        .where(or_(g.ended_at.is_not(None), g.expires_at <= now), ~read.exists())
        .where(*(condition for condition in narrowed if condition is not None))
    )
    with custody.records.read() as reads:
        page = fetch_page(reads, unused, g.granted_at, g.id, cursor, limit)
    note_look(custody, actor, Action.AUDIT_QUERIED, where, asked, _told("unused-grants", len(page.items)))
    return Page([_unused(row) for row in page.items], page.next)


def _unused(row: Row[tuple[object, ...]]) -> UnusedGrant:
    """Make the report's item. An expired grant ends by itself, without a record of that."""
    return UnusedGrant(
        grant=row.id,
        case=row.number,
        actor=None if row.subject == row.actor_id else row.subject,
        actor_id=row.actor_id,
        reason=row.reason,
        granted_at=row.granted_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at or row.expires_at,
        end_cause=row.end_cause or "expired",
    )


def _told(report: str, count: int) -> dict[str, str | int]:
    return {"report": report, "entries": count}
