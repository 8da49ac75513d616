"""Requests for the customer's approval (`retention.domain.approval`): answered, withdrawn, lapsed, listed.

Order of writing
  given:      * request answered + `approval.given` + the grant, with a `grant.given` that names both
  withdrawn:  * request withdrawn + `approval.withdrawn` + the end of its grant, with a `grant.ended`
Rules:
- A request's row is believed only under the service's tag, and only while the log knows of no later act on it: one that
  was declined and is put back as waiting cannot be given.
- What a request waits for can have changed: when it is given, the grant is decided as if it were asked for then.
- Its asker, the customer's operators, auditors and the case system see a request.
- The clock enters what has lapsed; nothing waits for that, for a request is over at its moment. A request that the log
  has an answer to does not lapse, whatever its row says: the log would tell of a lapse before what was read under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Row, and_, or_, select, true, type_coerce, update

from audit.entry import Action, Detail, Entry
from audit.times import rfc3339
from retention.custody.access.approval_policies import check_kept, newest_act
from retention.custody.access.bound_access import Altered, changing
from retention.custody.access.manage_grants import end_grants, record_grant
from retention.custody.context import (
    Custody,
    Refusal,
    about,
    commit,
    entry,
    lacks_role,
    refuse,
    shown_again,
    unseen,
)
from retention.domain.actor import CLOCK, Actor, Role
from retention.domain.approval import WAITS, Approval, State, Step, decide_step
from retention.domain.grants import Consent, Denied, decide_grant
from retention.domain.row_tag import APPROVAL, Binding
from retention.records.queries import Page, fetch_page
from retention.records.tables import ASKED, Moment, actors, approvals, cases, grants
from retention.records.unit_of_work import Transaction

WITHDRAWN = "approval-withdrawn"
_ACTIONS: Mapping[Step, Action] = {
    Step.GIVE: Action.APPROVAL_GIVEN,
    Step.DECLINE: Action.APPROVAL_DECLINED,
    Step.WITHDRAW: Action.APPROVAL_WITHDRAWN,
}
_THEIRS: Mapping[str, str] = {
    "not-assigned": "the engineer is no longer assigned to this case",
    "case-closed": "the case is closed; access is given only while it is open",
    "no-consent": "your consent for the engineer's company and this case has ended; give one first",
    "reason-missing": "the reason of this request was redacted; have the engineer ask again",
}
"""Why a grant cannot be given any more, as its customer is told."""


def state_of(approval: Row[Any], now: datetime) -> State:
    """Return the state of a request at `now`."""
    return _facts(approval).at(now)


def is_live(approval: Row[Any], now: datetime) -> bool:
    """Tell whether the grant that was approved lives."""
    ends = approval.grant_expires_at
    return ends is not None and approval.grant_ended_at is None and now < ends


def give_approval(custody: Custody, actor: Actor, approval_id: str, note: str | None) -> Row[Any]:
    """Approve a request: the grant begins now. Role: operator of the case's customer. Repeating it changes nothing."""
    return _answer(custody, actor, approval_id, Step.GIVE, note)


def decline_approval(custody: Custody, actor: Actor, approval_id: str, note: str | None) -> Row[Any]:
    """Decline a request. Role: operator of the case's customer."""
    return _answer(custody, actor, approval_id, Step.DECLINE, note)


def withdraw_approval(custody: Custody, actor: Actor, approval_id: str, note: str | None) -> Row[Any]:
    """Withdraw one's own request, or as the customer an approval: its grant ends, and reads under it within seconds."""
    return _answer(custody, actor, approval_id, Step.WITHDRAW, note)


def _answer(custody: Custody, actor: Actor, approval_id: str, step: Step, note: str | None) -> Row[Any]:
    now, action = custody.clock.now(), _ACTIONS[step]
    note = (note or "").strip() or None

    def work(tx: Transaction) -> tuple[Row[Any], bool] | Refusal:
        row = tx.execute(_approvals().where(approvals.c.id == approval_id, _visible(actor))).first()
        if row is None:
            return unseen(tx, actor, action, now, "approval", approval_id)
        if row.actor_id != actor.id and (denied := lacks_role(actor, Role.OPERATOR)):
            return refuse(tx, actor, action, now, denied, **about(row), subject=row.id)
        try:
            check_kept(tx, custody.binding, APPROVAL, row.id, row)
        except Altered:
            if row.grant_id is None:
                raise
            raise _stays(row) from None
        decided = decide_step(_facts(row), step, actor, now, live=is_live(row, now))
        if isinstance(decided, Denied):
            return refuse(tx, actor, action, now, decided, **about(row), subject=row.id)
        if decided.repeated:
            return row, True
        answered = entry(
            actor,
            action,
            now,
            **about(row),
            subject=row.id,
            details={"engineer": row.actor_id},
            particulars={"case_number": row.number, **({} if note is None else {"note": note})},
        )
        if step is Step.GIVE:
            grant = _grant_now(tx, custody, row, now)
            if isinstance(grant, Denied):
                return refuse(tx, actor, action, now, grant, **about(row), subject=row.id)
            tx.audit(answered, _given(actor, row, *grant, now))
            made = {"grant_id": grant[0]}
        else:
            tx.audit(answered)
            made = {}
            end_grants(tx, custody.binding, actor, grants.c.id == row.grant_id, WITHDRAWN, now)
        more = {"answered_by": actor.id, "note": note, **made}
        mark_answered(tx, custody.binding, row, decided.state, now, answered.id, more)
        return _found(tx, row.id), False

    row, repeated = commit(custody, work)
    if repeated:
        shown_again(custody, actor, "approval", approval_id, about(row))
    return row


def _stays(row: Row[Any]) -> Altered:
    """Say what ends the grant of an altered request: its access is bound apart from the request, so it goes on."""
    return Altered(
        f"the approval {row.id} is not as it was answered",
        f"the record of this approval was altered outside the service, so it is not changed; revoke the grant "
        f"{row.grant_id} itself to end the access, and have an administrator run `casevault doctor`",
    )


def _grant_now(
    tx: Transaction, custody: Custody, row: Row[Any], now: datetime
) -> tuple[str, datetime, Consent | None] | Denied:
    """Write the grant that is asked for, if the rules allow it now: its id, its expiry, the consent it rests on."""
    role = Role.SUPPORT_ENGINEER if row.partner is None else Role.PARTNER_ENGINEER
    asker = Actor(id=row.actor_id, roles=frozenset({role}), partner=row.partner)
    access = changing(tx, custody.binding, row.case_id, now)
    decided = decide_grant(asker, access.facts(asker), row.reason, _duration(row), now)
    if isinstance(decided, Denied):
        return Denied(decided.reason, _THEIRS.get(decided.reason, decided.message))
    until, consent = decided
    access.check_outlasted(until)
    return record_grant(tx, row.case_id, row.actor_id, consent, row.reason, now, until), until, consent


def _given(
    actor: Actor, row: Row[Any], grant: str, until: datetime, consent: Consent | None, now: datetime
) -> Entry:
    """Make the entry of a grant by approval: it names the engineer, whose reason stands beside the request's own."""
    details: dict[str, Detail] = {
        "expires_at": rfc3339(until),
        "engineer": row.actor_id,
        "approval": row.id,
        **({"consent": consent.id} if consent else {}),
    }
    numbered = {"case_number": row.number}
    return entry(
        actor, Action.GRANT_GIVEN, now, **about(row), subject=grant, details=details, particulars=numbered
    )


def mark_answered(
    tx: Transaction,
    binding: Binding,
    row: Row[Any],
    state: State,
    at: datetime,
    entry_id: str,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Write what became of a request, by the entry that says so, and `more` columns. An altered row stays altered."""
    new = {"state": state, "answered_at": at, "entry_id": entry_id, **(more or {})}
    if binding.holds_row(APPROVAL, row):
        new["tag"] = binding.tag_row(APPROVAL, {**row._mapping, **new})
    return tx.change(update(approvals).where(approvals.c.id == row.id).values(new))


def have_lapsed(now: datetime) -> Any:
    """Build the query for the requests that waited too long and that the log has no answer to, longest ago first.

    Moments are plain microseconds: a row with one that no calendar has lapses as the others do.
    """
    columns = (
        type_coerce(c, BigInteger).label(c.name) if isinstance(c.type, Moment) else c for c in approvals.c
    )
    waited = ASKED, approvals.c.lapses_at <= now, approvals.c.entry_id == newest_act(approvals.c.id)
    return select(*columns).where(*waited).order_by(approvals.c.lapses_at)


def lapse_some(tx: Transaction, binding: Binding, now: datetime, limit: int) -> int:
    """Enter up to `limit` requests that waited too long; return how many."""
    rows = tx.execute(have_lapsed(now).limit(limit)).all()
    for row in rows:
        told = {"engineer": row.actor_id}
        lapsed = entry(CLOCK, Action.APPROVAL_LAPSED, now, **about(row), subject=row.id, details=told)
        mark_answered(tx, binding, row, State.LAPSED, now, lapsed.id)
        tx.audit(lapsed)
    return len(rows)


def forget_texts(tx: Transaction, binding: Binding, which: Any, *, reason: bool, note: bool) -> None:
    """Remove what people wrote in these requests: the asker's `reason`, the answer's `note`."""
    for row in tx.execute(select(approvals).where(which)).all():
        new: dict[str, Any] = {**({"reason": ""} if reason else {}), **({"note": None} if note else {})}
        if binding.holds_row(APPROVAL, row):
            new["tag"] = binding.tag_row(APPROVAL, {**row._mapping, **new})
        tx.change(update(approvals).where(approvals.c.id == row.id).values(new))


def get_approval(custody: Custody, actor: Actor, approval_id: str) -> Row[Any]:
    """Return one request, answered or not."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        row = reads.execute(_approvals().where(approvals.c.id == approval_id, _visible(actor))).first()
    if row is None:
        return commit(
            custody, lambda tx: unseen(tx, actor, Action.CALLER_REFUSED, now, "approval", approval_id)
        )
    return row


def list_approvals(
    custody: Custody,
    actor: Actor,
    case: Row[Any] | None,
    state: State | None,
    cursor: str | None,
    limit: int,
) -> Page[Row[Any]]:
    """List the requests that the actor is allowed to see, newest first; of one `case`, or in one `state`."""
    now = custody.clock.now()
    asked, over = approvals.c.state == State.ASKED, approvals.c.lapses_at <= now
    in_state = {
        None: true(),
        State.ASKED: and_(
            asked, ~over, approvals.c.asked_at > now - WAITS
        ),  # so the index needs no older ones
        State.LAPSED: or_(approvals.c.state == State.LAPSED, and_(asked, over)),
    }.get(state, approvals.c.state == state)
    shown = _approvals().where(_visible(actor), in_state)
    with custody.records.read() as reads:
        of_case = shown if case is None else shown.where(approvals.c.case_id == case.id)
        return fetch_page(reads, of_case, approvals.c.asked_at, approvals.c.id, cursor, limit)


def _approvals() -> Any:
    answerer = actors.alias("answerer")
    joined = select(
        approvals,
        cases.c.number,
        actors.c.subject,
        actors.c.name,
        answerer.c.subject.label("answerer"),
        grants.c.expires_at.label("grant_expires_at"),
        grants.c.ended_at.label("grant_ended_at"),
    )
    return (
        joined.join_from(approvals, cases)
        .join(actors, actors.c.id == approvals.c.actor_id)
        .join(answerer, answerer.c.id == approvals.c.answered_by, isouter=True)
        .join(grants, grants.c.id == approvals.c.grant_id, isouter=True)
    )


def _found(tx: Transaction, approval_id: str) -> Row[Any]:
    row: Row[Any] = tx.execute(_approvals().where(approvals.c.id == approval_id)).one()
    return row


def _visible(actor: Actor) -> Any:
    if actor.has(Role.AUDITOR, Role.CASE_SYSTEM):
        return true()
    own = approvals.c.actor_id == actor.id
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        return or_(own, approvals.c.tenant_id == actor.tenant)
    return own


def _facts(row: Row[Any]) -> Approval:
    return Approval(row.tenant_id, row.actor_id, State(row.state), row.lapses_at)


def _duration(row: Row[Any]) -> timedelta:
    return timedelta(microseconds=row.duration_us)
