"""Reviews of grants that are over (`retention.domain.review`): listed, shown with what was done, signed off,
questioned.

Order of writing:  * review + mark on the grant + `review.signed-off` or `review.questioned`
Rules:
- Auditors alone review, and see reviews; a customer's operator sees the entries, as of every act on their cases.
- What was read is counted from the log's rows, at the moment that it is shown or judged; the entry of the verdict holds
  the counts that it was based on. Who approved a grant is told by the log too: the request's row says who answered it
  last, which after a withdrawal is somebody else.
- A review is believed only under the service's tag, and only while the log knows of no later verdict. The mark on the
  grant, by which open reviews are found, is no more than an index; `casevault doctor` compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Row, and_, insert, literal, or_, select, tuple_, type_coerce, update

from audit.entry import Action, parse_leaf
from audit.log.tables import ACCESS_ACTS, APPROVAL_ACTS, REVIEW_ACTS, audit_entries
from audit.times import from_microseconds, to_microseconds
from audit.tlog.unaccounted import READS
from retention.custody.access.approval_policies import check_kept
from retention.custody.context import Custody, Refusal, about, commit, entry, lacks_role, refuse, unseen
from retention.domain.actor import Actor, Role
from retention.domain.faults import Invalid
from retention.domain.grants import LONGEST
from retention.domain.review import OPEN, Verdict, decide_review
from retention.domain.row_tag import REVIEW, Binding
from retention.records.queries import MAX_LIMIT, Page, decode_cursor, encode_cursor
from retention.records.tables import TO_REVIEW, actors, approvals, cases, grants, reviews
from retention.records.unit_of_work import Reads, Transaction

ALTERED = "altered"
"""The state shown of a review that the service did not write."""
_ACTIONS: Mapping[Verdict, Action] = {
    Verdict.SIGNED_OFF: Action.REVIEW_SIGNED_OFF,
    Verdict.QUESTIONED: Action.REVIEW_QUESTIONED,
}
_OLDEST = audit_entries.c.leaf_index.asc().nulls_last(), audit_entries.c.row
_ENDS_WITHIN = LONGEST + timedelta(days=1)
"""After its grant was given, a read under it has ended: it is cut within seconds of the grant's end."""


@dataclass(frozen=True, slots=True)
class Approved:
    """Who approved a grant: the actor, their `subject` (None once forgotten), when, and what they noted."""

    actor: str
    subject: str | None
    at: datetime
    note: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """What the log says of a grant: who approved it, and what was done under it, as reads (openings and listings),
    bundles, files by name, bytes handed over."""

    reads: int = 0
    bundles: int = 0
    files: int = 0
    bytes: int = 0
    cut: int = 0
    """Reads that ended early."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    approved: Approved | None = None


def ended_at(grant: Row[Any]) -> datetime:
    """Return when a grant ended, or expires."""
    ended: datetime = grant.ended_at or grant.expires_at
    return ended


def state_of(binding: Binding, grant: Row[Any]) -> str:
    """Return the state of a grant's review, from a row of `list_reviews` or `get_review`; ALTERED also if the row is
    not what the log's newest verdict left."""
    if grant.review_entry != grant.newest_verdict:
        return ALTERED
    if grant.review_state is None:
        return OPEN if grant.signed_off_at is None else ALTERED
    kept = {
        "id": grant.id,
        "state": grant.review_state,
        "reviewed_at": grant.reviewed_at,
        "actor_id": grant.reviewer_id,
        "entry_id": grant.review_entry,
    }
    return str(grant.review_state) if binding.holds(grant.review_tag, REVIEW, *kept.values()) else ALTERED


def list_reviews(
    custody: Custody, actor: Actor, case: Row[Any] | None, state: str, cursor: str | None, limit: int
) -> Page[Row[Any]]:
    """List the grants that are over and whose review is in this state (`open`, `questioned`, `signed-off`), in the
    order in which they were given. Role: auditor."""
    now = custody.clock.now()
    if denied := lacks_role(actor, Role.AUDITOR):
        return commit(custody, lambda tx: refuse(tx, actor, Action.CALLER_REFUSED, now, denied))
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid("this page size is not allowed", {"limit": f"must be 1 to {MAX_LIMIT}"})
    over = or_(grants.c.ended_at.is_not(None), grants.c.expires_at <= now)
    in_state = {
        OPEN: and_(TO_REVIEW, reviews.c.id.is_(None)),
        Verdict.QUESTIONED: and_(TO_REVIEW, reviews.c.state == Verdict.QUESTIONED),
        Verdict.SIGNED_OFF: grants.c.signed_off_at.is_not(None),
    }[state]
    place = tuple_(grants.c.granted_at, grants.c.id)
    wanted = _reviews().where(over, in_state).order_by(grants.c.granted_at, grants.c.id).limit(limit + 1)
    if case is not None:
        wanted = wanted.where(grants.c.case_id == case.id)
    if cursor is not None:
        at, id_ = decode_cursor(cursor)
        wanted = wanted.where(place > tuple_(literal(at, grants.c.granted_at.type), literal(id_)))
    with custody.records.read() as reads:
        rows = reads.execute(wanted).all()
    more = encode_cursor(rows[limit - 1].granted_at, rows[limit - 1].id) if len(rows) > limit else None
    return Page(rows[:limit], more)


def get_review(custody: Custody, actor: Actor, grant_id: str) -> tuple[Row[Any], Done]:
    """Return a grant with its approval and review, and what was done under it. Role: auditor."""
    now = custody.clock.now()

    def look(tx: Transaction) -> Refusal:
        if denied := lacks_role(actor, Role.AUDITOR):
            return refuse(tx, actor, Action.CALLER_REFUSED, now, denied)
        return unseen(tx, actor, Action.CALLER_REFUSED, now, "grant", grant_id)

    with custody.records.read() as reads:
        row = reads.execute(_reviews().where(grants.c.id == grant_id)).first()
        done = None if row is None else _done(reads, row)
    if row is None or done is None or not actor.has(Role.AUDITOR):
        return commit(custody, look)
    return row, done


def review_grant(
    custody: Custody, actor: Actor, grant_id: str, verdict: Verdict, note: str | None
) -> tuple[Row[Any], Done]:
    """Sign a grant off, or question it. Role: auditor, who neither held nor approved it."""
    now, action = custody.clock.now(), _ACTIONS[verdict]
    note = (note or "").strip() or None

    def work(tx: Transaction) -> Refusal | None:
        if denied := lacks_role(actor, Role.AUDITOR):
            return refuse(tx, actor, action, now, denied)
        row = tx.execute(_reviews().where(grants.c.id == grant_id)).first()
        if row is None:
            return unseen(tx, actor, action, now, "grant", grant_id)
        held = tx.execute(select(reviews).where(reviews.c.id == grant_id)).first()
        check_kept(tx, custody.binding, REVIEW, grant_id, held)
        before = None if held is None else Verdict(held.state)
        done = _done(tx, row)
        part = {row.actor_id} if done.approved is None else {row.actor_id, done.approved.actor}
        denied = decide_review(actor, frozenset(part), ended_at(row), before, verdict, note, now)
        if denied:
            return refuse(tx, actor, action, now, denied, **about(row), subject=grant_id)
        reviewed = entry(
            actor,
            action,
            now,
            **about(row),
            subject=grant_id,
            details={"engineer": row.actor_id, "reads": done.reads, "bytes": done.bytes},
            particulars={"case_number": row.number, **({} if note is None else {"note": note})},
        )
        record_review(
            tx, custody.binding, grant_id, verdict, at=now, by=actor.id, entry_id=reviewed.id, note=note
        )
        tx.audit(reviewed)
        return None

    commit(custody, work)
    with custody.records.read() as reads:
        row: Row[Any] = reads.execute(_reviews().where(grants.c.id == grant_id)).one()
        return row, _done(reads, row)


def record_review(
    tx: Transaction,
    binding: Binding,
    grant_id: str,
    verdict: Verdict,
    *,
    at: datetime,
    by: str,
    entry_id: str,
    note: str | None = None,
) -> bool:
    """Write a verdict on a grant; return False if it stands there already."""
    held = tx.execute(select(reviews.c.entry_id).where(reviews.c.id == grant_id)).first()
    if held is not None and held.entry_id == entry_id:
        return False
    row = {"id": grant_id, "state": verdict, "reviewed_at": at, "actor_id": by, "entry_id": entry_id}
    values = {**row, "note": note, "tag": binding.tag_row(REVIEW, row)}
    if held is None:
        tx.change(insert(reviews).values(values))
    else:
        tx.change(update(reviews).where(reviews.c.id == grant_id).values(values))
    if verdict is Verdict.SIGNED_OFF:
        tx.change(update(grants).where(grants.c.id == grant_id).values(signed_off_at=at))
    return True


def _reviews() -> Any:
    reviewer = actors.alias("reviewer")
    e = audit_entries.c
    verdicts = select(e.entry_id).where(e.subject == grants.c.id, REVIEW_ACTS)
    newest = e.leaf_index.desc().nulls_first(), e.row.desc()
    joined = select(
        grants,
        cases.c.number,
        cases.c.tenant_id,
        actors.c.subject,
        actors.c.name,
        approvals.c.id.label("approval"),
        approvals.c.asked_at,
        reviews.c.state.label("review_state"),
        reviews.c.reviewed_at,
        reviews.c.actor_id.label("reviewer_id"),
        reviews.c.entry_id.label("review_entry"),
        reviews.c.tag.label("review_tag"),
        reviews.c.note.label("review_note"),
        reviewer.c.subject.label("reviewer"),
        verdicts.order_by(*newest).limit(1).scalar_subquery().label("newest_verdict"),
    )
    return (
        joined.join_from(grants, cases)
        .join(actors, actors.c.id == grants.c.actor_id)
        .join(approvals, approvals.c.grant_id == grants.c.id, isouter=True)
        .join(reviews, reviews.c.id == grants.c.id, isouter=True)
        .join(reviewer, reviewer.c.id == reviews.c.actor_id, isouter=True)
    )


def _done(reads: Reads, grant: Row[Any]) -> Done:
    """Gather what the log's rows say of a grant."""
    e, given = audit_entries.c, to_microseconds(grant.granted_at)
    until = given + _ENDS_WITHIN // timedelta(microseconds=1)
    of_grant = e.case_id == grant.case_id, e.subject == grant.id, e.at_us.between(given, until)
    acts = e.action.in_([*sorted(READS), Action.BUNDLE_READ_ENDED.value])
    count, cut, handed_over = 0, 0, 0
    bundles: set[str] = set()
    files: set[tuple[str, str]] = set()
    times: list[int] = []
    columns = (
        e.action,
        e.outcome,
        e.bundle,
        e.leaf,
        e.particulars,
        type_coerce(e.at_us, BigInteger).label("at"),
    )
    for row in reads.execute(select(*columns).where(*of_grant, acts)):
        if row.action == Action.BUNDLE_READ_ENDED:
            handed_over += int(parse_leaf(row.leaf).get("details", {}).get("bytes", 0))
            cut += row.outcome != "success"
        elif row.outcome == "success":
            count += 1
            bundles.add(row.bundle)
            times.append(row.at)
            if row.particulars and (file := json.loads(row.particulars).get("file")):
                files.add((row.bundle, file))
    first, last = (from_microseconds(one) for one in (min(times), max(times))) if times else (None, None)
    approved = _approved(reads, grant)
    return Done(count, len(bundles), len(files), handed_over, cut, first, last, approved)


def _approved(reads: Reads, grant: Row[Any]) -> Approved | None:
    """Find who approved a grant: its own entry names the request, so no row of the request has to be believed."""
    e = audit_entries.c
    given = e.case_id == grant.case_id, ACCESS_ACTS, e.action == Action.GRANT_GIVEN, e.subject == grant.id
    leaf = reads.execute(select(e.leaf).where(*given).order_by(*_OLDEST).limit(1)).scalar()
    request = None if leaf is None else parse_leaf(leaf).get("details", {}).get("approval")
    if request is None:
        return None
    columns = (e.actor, type_coerce(e.at_us, BigInteger).label("at"), e.particulars, actors.c.subject)
    by = select(*columns).join_from(audit_entries, actors, actors.c.id == e.actor, isouter=True)
    answered = e.subject == request, APPROVAL_ACTS, e.action == Action.APPROVAL_GIVEN
    row = reads.execute(by.where(*answered).order_by(*_OLDEST).limit(1)).first()
    if row is None:
        return None
    note = json.loads(row.particulars).get("note") if row.particulars else None
    return Approved(row.actor, row.subject, from_microseconds(row.at), note)
