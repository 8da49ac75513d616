"""Cases: opened, assigned, unassigned, closed and reopened by the case system.

Rules:
- Reopening cancels a deadline that lies ahead, never one that has come.
- Closing and unassigning end the grants in the same transaction; unassigning ends the engineer's upload links too.
- Every step recomputes the deadlines of the case's bundles in the same transaction, so the sweep's index never lags.
- A close can be reported late, with the time when the case really closed; see `retention.domain.case`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, select, true, update

from audit.entry import Action
from audit.times import rfc3339
from retention.custody.access.bound_access import begin, changing, ending
from retention.custody.access.manage_grants import end_grants, end_links
from retention.custody.access.people import actor_id
from retention.custody.context import Custody, Refusal, about_case, commit, entry, lacks_role, refuse, unseen
from retention.custody.erasure import erasure_steps
from retention.domain.actor import Actor, Role
from retention.domain.bundle import LIVE
from retention.domain.case import CaseEvent, CaseEventKind, CaseState, check_number, next_event, step
from retention.domain.deadline import case_deadline, due
from retention.domain.faults import Conflict, Invalid, Unavailable
from retention.domain.ids import Kind, new_id, one_spelling
from retention.domain.row_tag import Binding
from retention.records.queries import (
    Page,
    bundle_history,
    case_history,
    fetch_page,
    find_case,
    refresh_due,
    sees_all_of,
)
from retention.records.tables import (
    actors,
    assignments,
    bundles,
    case_events,
    cases,
    grants,
    tenants,
    upload_links,
)
from retention.records.unit_of_work import Transaction
from retention.records.visibility import visible_cases

_ACTIONS = {
    CaseEventKind.CLOSED: (Action.CASE_CLOSED, "closed_at"),
    CaseEventKind.REOPENED: (Action.CASE_REOPENED, "reopened_at"),
}
_CHANGES: dict[CaseEventKind, Callable[[Transaction, Binding, str, datetime], object]] = {
    CaseEventKind.CLOSED: ending,
    CaseEventKind.REOPENED: changing,
}


def open_case(
    custody: Custody, actor: Actor, number: str, directory: str, opened_at: datetime | None = None
) -> Row[Any]:
    """Open a case for the tenant known as `directory`. Role: case system."""
    now = custody.clock.now()
    check_number(number, custody.limits.case_number_pattern)
    id_, directory = new_id(Kind.CASE), one_spelling(directory)

    def work(tx: Transaction) -> Row[Any] | Refusal:
        if denied := lacks_role(actor, Role.CASE_SYSTEM):
            return refuse(tx, actor, Action.CASE_OPENED, now, denied)
        tenant = tx.execute(select(tenants.c.id).where(tenants.c.directory == directory)).scalar()
        if tenant is None:
            raise Invalid(
                f"no customer with the directory {directory!r} is registered",
                {"directory": "must be the directory of a registered tenant"},
            )
        if tx.execute(select(cases.c.id).where(cases.c.number == number)).first():
            raise Conflict(f"case {number} exists already: reopen it if it is closed", reason="exists")
        event = next_event((), CaseEventKind.OPENED, opened_at or now, now)
        row = {
            "id": id_,
            "number": number,
            "tenant_id": tenant,
            "state": CaseState.OPEN,
            "opened_at": event.effective_at,
        }
        tx.change(insert(cases).values(row))
        _record(tx, id_, event)
        begin(tx, custody.binding, id_, now)
        tx.audit(
            entry(
                actor,
                Action.CASE_OPENED,
                now,
                tenant=tenant,
                case=id_,
                details={"opened_at": rfc3339(event.effective_at)},
                particulars={"case_number": number},
            )
        )
        return tx.execute(select(cases).where(cases.c.id == id_)).one()

    return commit(custody, work)


def close_case(custody: Custody, actor: Actor, number: str, closed_at: datetime | None = None) -> Row[Any]:
    """Close a case as of `closed_at` (by default now)."""
    return _step(custody, actor, number, CaseEventKind.CLOSED, closed_at)


def reopen_case(custody: Custody, actor: Actor, number: str, reopened_at: datetime | None = None) -> Row[Any]:
    """Reopen a case: its deadline is cancelled; what was erased stays erased."""
    return _step(custody, actor, number, CaseEventKind.REOPENED, reopened_at)


def _step(custody: Custody, actor: Actor, number: str, kind: CaseEventKind, at: datetime | None) -> Row[Any]:
    now, sure = custody.clock.now(), custody.clock.sure()
    newest = _asked(custody, now)
    action, detail = _ACTIONS[kind]

    def work(tx: Transaction) -> Row[Any] | Refusal:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, action, now, "case", number)
        if denied := lacks_role(actor, Role.CASE_SYSTEM):
            return refuse(tx, actor, action, now, denied, **about_case(case))
        event = next_event(case_history(tx, case.id), kind, at or now, now)
        _CHANGES[kind](tx, custody.binding, case.id, now)
        if kind is CaseEventKind.REOPENED and (held := _over(tx, case, event.effective_at, sure)):
            if isinstance(newest, Unavailable):
                raise newest
            custody.gate.check(tx, newest)
            due_now = [(bundle, due(bundle_history(tx, bundle))[1]) for bundle in held]
            erasure_steps.begin(tx, custody.binding, due_now, now)
        state = record_step(tx, case, event)
        tx.audit(
            entry(
                actor,
                action,
                now,
                **about_case(case),
                details={detail: rfc3339(event.effective_at)},
                particulars={"case_number": number},
            )
        )
        if state is CaseState.CLOSED:
            end_grants(tx, custody.binding, actor, grants.c.case_id == case.id, "case-closed", now)
        return tx.execute(select(cases).where(cases.c.id == case.id)).one()

    return commit(custody, work)


def _asked(custody: Custody, now: datetime) -> int | Unavailable:
    """Ask the gate before the work: the number it returns, or why it is shut. Needed only if something is erased."""
    try:
        return custody.gate.ask(now)
    except Unavailable as shut:
        return shut


def _over(tx: Transaction, case: Row[Any], at: datetime, sure: datetime) -> Sequence[Row[Any]]:
    """Return the bundles that were due before the case was reopened: they are erased, even if the sweep is late. 90
    days is a maximum (P4).

    Whether they were due must be sure: nothing is destroyed early, and no deadline that has come is cancelled.
    """
    over = bundles.c.case_id == case.id, bundles.c.state.in_(LIVE), bundles.c.due_at <= at
    held = tx.execute(select(bundles).where(*over)).all()
    if any(bundle.due_at > sure for bundle in held):
        raise Unavailable(
            f"whether the data of case {case.number} was due by then depends on a clock that is in doubt; try to "
            "reopen it later",
            reason="time-doubted",
        )
    return held


def assign(custody: Custody, actor: Actor, number: str, issuer: str, subject: str) -> None:
    """Assign an engineer (the subject at the issuer) to a case; repeating it changes nothing."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Refusal | None:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.CASE_ASSIGNED, now, "case", number)
        if denied := lacks_role(actor, Role.CASE_SYSTEM):
            return refuse(tx, actor, Action.CASE_ASSIGNED, now, denied, **about_case(case))
        if case.state != CaseState.OPEN:
            raise Conflict(
                f"case {number} is closed, so nobody can be assigned to it; reopen it first",
                reason="case-closed",
            )
        changing(tx, custody.binding, case.id, now)
        engineer = actor_id(tx, custody, issuer, subject)
        if not tx.execute(select(assignments.c.row).where(_live(case.id, engineer))).first():
            tx.change(insert(assignments).values(case_id=case.id, actor_id=engineer, assigned_at=now))
            tx.audit(
                entry(
                    actor,
                    Action.CASE_ASSIGNED,
                    now,
                    **about_case(case),
                    subject=engineer,
                    particulars={"engineer": subject},
                )
            )
        return None

    commit(custody, work)


def unassign(custody: Custody, actor: Actor, number: str, issuer: str, subject: str) -> None:
    """Take an engineer off a case; their grants for it, and the links they issued, end at once."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Refusal | None:
        case = find_case(tx, actor, number, now)
        if case is None:
            return unseen(tx, actor, Action.CASE_UNASSIGNED, now, "case", number)
        if denied := lacks_role(actor, Role.CASE_SYSTEM):
            return refuse(tx, actor, Action.CASE_UNASSIGNED, now, denied, **about_case(case))
        ending(tx, custody.binding, case.id, now)
        engineer = actor_id(tx, custody, issuer, subject)
        if mark_unassigned(tx, case.id, engineer, now):
            tx.audit(
                entry(
                    actor,
                    Action.CASE_UNASSIGNED,
                    now,
                    **about_case(case),
                    subject=engineer,
                    particulars={"engineer": subject},
                )
            )
        theirs = and_(grants.c.case_id == case.id, grants.c.actor_id == engineer)
        end_grants(tx, custody.binding, actor, theirs, "unassigned", now)
        issued = and_(upload_links.c.case_id == case.id, upload_links.c.created_by == engineer)
        end_links(tx, actor, issued, "unassigned", now)
        return None

    commit(custody, work)


def record_step(tx: Transaction, case: Row[Any], event: CaseEvent) -> CaseState:
    """Write a close or a reopening into the case's history, state and deadlines; return its new state.

    Conflict if the case's state does not allow it.
    """
    state = step(CaseState(case.state), event.kind)
    tx.change(update(cases).where(cases.c.id == case.id).values(state=state))
    _record(tx, case.id, event)
    refresh_due(tx, bundles.c.case_id == case.id)
    return state


def mark_unassigned(tx: Transaction, case_id: str, engineer: str, at: datetime) -> int:
    """Record the end of an assignment that was live at `at`; return how many ended."""
    live = _live(case_id, engineer), assignments.c.assigned_at <= at
    return tx.change(update(assignments).where(*live).values(unassigned_at=at))


def get_case(custody: Custody, actor: Actor, number: str) -> Row[Any]:
    """Return one case; NotFound if the actor is not allowed to know of it."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        case = find_case(reads, actor, number, now)
    if case is None:
        return commit(custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "case", number))
    return case


def list_cases(custody: Custody, actor: Actor, cursor: str | None, limit: int) -> Page[Row[Any]]:
    """List the cases that the actor is allowed to see, newest first."""
    statement = select(cases).where(visible_cases(actor, custody.clock.now()))
    with custody.records.read() as reads:
        return fetch_page(reads, statement, cases.c.opened_at, cases.c.id, cursor, limit)


def deadlines_of(custody: Custody, listed: Sequence[Row[Any]]) -> dict[str, datetime | None]:
    """Return the deadline of each of these cases' data, by the case's id; None while a case is open."""
    closed = [case.id for case in listed if case.state == CaseState.CLOSED]
    events = select(case_events).where(case_events.c.case_id.in_(closed)).order_by(case_events.c.row)
    histories: dict[str, list[CaseEvent]] = {case.id: [] for case in listed}
    with custody.records.read() as reads:
        for row in reads.execute(events) if closed else ():
            event = CaseEvent(CaseEventKind(row.kind), row.effective_at, row.recorded_at)
            histories[row.case_id].append(event)
    return {id_: case_deadline(history) for id_, history in histories.items()}


def case_details(custody: Custody, actor: Actor, case: Row[Any]) -> tuple[list[CaseEvent], Sequence[Any]]:
    """Return a case's events, and its assignments (subject, issuer, assigned_at, unassigned_at), both in order; a
    partner sees only their own assignments."""
    with custody.records.read() as reads:
        history = case_history(reads, case.id)
        shown = true() if sees_all_of(reads, actor, case) else assignments.c.actor_id == actor.id
        columns = (actors.c.subject, actors.c.issuer, assignments.c.assigned_at, assignments.c.unassigned_at)
        joined = (
            select(*columns).join_from(assignments, actors).where(assignments.c.case_id == case.id, shown)
        )
        return history, reads.execute(joined.order_by(assignments.c.row)).all()


def _live(case_id: str, engineer: str) -> Any:
    return and_(
        assignments.c.case_id == case_id,
        assignments.c.actor_id == engineer,
        assignments.c.unassigned_at.is_(None),
    )


def _record(tx: Transaction, case_id: str, event: CaseEvent) -> None:
    tx.change(
        insert(case_events).values(
            case_id=case_id, kind=event.kind, effective_at=event.effective_at, recorded_at=event.recorded_at
        )
    )
