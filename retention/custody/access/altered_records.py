"""Finding altered records: all that decide who reads what, checked against tags and log.

For the doctor: the checks that an opening makes for one bundle, made for all. Only records that could open something
are checked; and of choices, requests and reviews, which are never deleted, that none is missing that the log tells of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, or_, select

from audit.entry import Action, parse_leaf
from audit.log.tables import APPROVAL_ACTS, RECEIVER_ACTS, REVIEW_ACTS, audit_entries
from retention.custody.access.approval_policies import check_kept
from retention.custody.access.bound_access import Altered, check_placed, check_row, read_newest_access
from retention.domain.approval import State
from retention.domain.bundle import LIVE
from retention.domain.case import CaseState
from retention.domain.review import Verdict
from retention.domain.row_tag import (
    ACTOR,
    APPROVAL,
    BUNDLE,
    PARTNER,
    POLICY,
    RECEIVER,
    REVIEW,
    STAMP,
    TENANT,
    Binding,
)
from retention.records.tables import (
    actors,
    approval_policies,
    approvals,
    assignments,
    bundles,
    cases,
    consents,
    grants,
    notice_receivers,
    partners,
    reviews,
    stamps,
    tenants,
)
from retention.records.unit_of_work import Reads, Records

_AT_ONCE = 1000
_ROWS: tuple[tuple[str, Table], ...] = (
    (TENANT, tenants),
    (ACTOR, actors),
    (PARTNER, partners),
    (STAMP, stamps),
    (BUNDLE, bundles),
    (POLICY, approval_policies),
    (APPROVAL, approvals),
    (REVIEW, reviews),
    (RECEIVER, notice_receivers),
)


def find_altered(records: Records, binding: Binding, now: datetime) -> Iterator[str]:
    """Yield a sentence for each record that is not as the service wrote it."""
    for kind, table in _ROWS:
        yield from _altered_rows(records, binding, kind, table)
    yield from _hidden_from_review(records)
    yield from _taken_away(records)
    for case_id in _reachable(records, now):
        with records.read() as reads:
            try:
                read_newest_access(reads, binding, case_id)
            except Altered as error:
                yield error.what


def _altered_rows(records: Records, binding: Binding, kind: str, table: Table) -> Iterator[str]:
    last = ""
    while True:
        page = select(table).where(table.c.id > last).order_by(table.c.id).limit(_AT_ONCE)
        with records.read() as reads:
            rows: Sequence[Row[tuple[object, ...]]] = reads.execute(page).all()
            yield from [what for row in rows if (what := _problem(reads, binding, kind, row))]
        if not rows:
            return
        last = rows[-1].id


def _problem(reads: Reads, binding: Binding, kind: str, row: Row[tuple[object, ...]]) -> str | None:
    if kind == BUNDLE and row.state not in LIVE:
        return None
    if kind == APPROVAL and row.state != State.ASKED:
        return None
    try:
        check_row(binding, kind, row)
        if kind in (POLICY, APPROVAL, REVIEW, RECEIVER):
            check_kept(reads, binding, kind, row.id, row)
        if kind == BUNDLE and row.case_id is not None:
            check_placed(reads, row.id, row.case_id)
    except Altered as error:
        return error.what
    return None


def _hidden_from_review(records: Records) -> Iterator[str]:
    """Find the grants that are marked as signed off, and that no review signs off."""
    unsaid = or_(reviews.c.id.is_(None), reviews.c.state != Verdict.SIGNED_OFF)
    marked = select(grants.c.id).join(reviews, reviews.c.id == grants.c.id, isouter=True)
    with records.read() as reads:
        found = reads.execute(marked.where(grants.c.signed_off_at.is_not(None), unsaid)).scalars().all()
    yield from (f"grant {id_} is marked as signed off, and nobody signed it off" for id_ in found)


def _taken_away(records: Records) -> Iterator[str]:
    """Find the choices, requests, reviews and receivers that the log tells of and that have no row.

    Those of a lost tail whose case, customer or grant the restored records do not know, and its requests and receivers,
    are lost and not taken away.
    """
    e = audit_entries.c
    with records.read() as reads:
        adopted = reads.execute(select(e.leaf).where(e.action == Action.LOG_ADOPTED)).scalars().all()
        lost = [parse_leaf(leaf)["details"] for leaf in adopted]
        kept = [or_(e.leaf_index.is_(None), ~e.leaf_index.between(at["from"], at["to"] - 1)) for at in lost]
        of_case, of_tenant = _has(cases, e.subject), _has(tenants, e.subject)
        chosen, asked = e.action == Action.APPROVAL_POLICY_SET, e.action == Action.APPROVAL_ASKED
        told = (
            (POLICY, approval_policies, APPROVAL_ACTS, (chosen, or_(of_case, of_tenant))),
            (APPROVAL, approvals, APPROVAL_ACTS, (asked, *kept)),
            (REVIEW, reviews, REVIEW_ACTS, (_has(grants, e.subject),)),
            (RECEIVER, notice_receivers, RECEIVER_ACTS, (e.action == Action.NOTICE_RECEIVER_ADDED, *kept)),
        )
        for kind, table, acts, which in told:
            gone = (
                select(e.subject).where(acts, *which, ~_has(table, e.subject)).distinct().order_by(e.subject)
            )
            for subject in reads.execute(gone).scalars():
                yield f"the {kind} {subject}, which the log tells of, has no row"


def _has(table: Table, id_: ColumnElement[Any]) -> ColumnElement[bool]:
    return select(table.c.id).where(table.c.id == id_).exists()


def _reachable(records: Records, now: datetime) -> Sequence[str]:
    """Return the open cases to which somebody is given access by the records."""
    a, g, c = assignments.c, grants.c, consents.c
    lively = (
        select(a.case_id).where(a.unassigned_at.is_(None)),
        select(g.case_id).where(g.ended_at.is_(None), g.expires_at > now),
        select(c.case_id).where(c.revoked_at.is_(None), c.expires_at > now),
    )
    named = or_(*(cases.c.id.in_(each) for each in lively))
    with records.read() as reads:
        found = select(cases.c.id).where(cases.c.state == CaseState.OPEN, named).order_by(cases.c.id)
        return list(reads.execute(found).scalars())
