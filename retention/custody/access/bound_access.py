"""Bound access to a case: what lets somebody read it, believed only under the service's tag (P2, P6).

Rules:
- Access is read here and nowhere else: the case's state, its assignments, and the grants and consents that have not
  ended, with one tag over all of them. If a row is added, removed or changed, nothing in that case can be opened.
- An act that changes access first has it checked (`changing`), and at the end of its work it is bound anew, with the
  next version and the act's entry. A later act never makes altered rows valid.
- An act that ends access works on altered rows too: they stay unbound, so still nothing opens.
- A grant or consent that had expired when the case was last bound is not bound: it never opens anything again.
- A bundle's own tag says which case holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    bindparam,
    case,
    cast,
    insert,
    literal,
    null,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.types import BigInteger, String

from audit.entry import Outcome
from audit.log.tables import ACCESS_ACTS, CHANGING_ACCESS, PLACING_ACTS, audit_entries
from audit.times import from_microseconds, rfc3339, to_microseconds
from retention.domain.actor import Actor, Role
from retention.domain.case import CaseState
from retention.domain.faults import Unavailable
from retention.domain.grants import CaseFacts, Consent, Grant
from retention.domain.row_tag import BUNDLE, CASE, Binding
from retention.records.tables import (
    Moment,
    assignments,
    case_access,
    cases,
    consent_bundles,
    consents,
    grants,
)
from retention.records.unit_of_work import Reads, Transaction

ALTERED = "access-altered"
_ASSIGNMENT, _GRANT, _CONSENT, _SCOPE = range(4)
_ACTION, _OUTCOME, _CASE = 4, 5, 8  # places in an EntryRow

_HEADER = (
    select(
        cases.c.id,
        cases.c.number,
        cases.c.tenant_id,
        cases.c.state,
        case_access.c.version,
        case_access.c.as_of,
        case_access.c.entry_id,
        case_access.c.tag,
    )
    .join_from(cases, case_access, case_access.c.case_id == cases.c.id, isouter=True)
    .where(cases.c.id == bindparam("case"))
)
_NEWEST = audit_entries.c.leaf_index.desc().nulls_first(), audit_entries.c.row.desc()
NEWEST_ACT = (
    select(audit_entries.c.entry_id)
    .where(audit_entries.c.case_id == bindparam("case"), ACCESS_ACTS)
    .order_by(*_NEWEST)
    .limit(1)
)
NEWEST_PLACE = (
    select(audit_entries.c.case_id)
    .where(audit_entries.c.bundle == bindparam("bundle"), PLACING_ACTS)
    .order_by(*_NEWEST)
    .limit(1)
)


def _live() -> Any:
    """Build one statement for all live rows of a case, as (kind, id, who, via, said, starts, ends)."""
    no_text, no_time = cast(null(), String), cast(null(), BigInteger)
    of: Any = bindparam("case")
    as_of: Any = bindparam("as_of", type_=Moment())

    def number(column: Any) -> Any:
        return type_coerce(column, BigInteger)

    a, g, c, s = assignments.c, grants.c, consents.c, consent_bundles.c
    live = c.case_id == of, c.revoked_at.is_(None), c.expires_at > as_of
    assigned: Select[Any] = select(
        literal(_ASSIGNMENT).label("kind"),
        cast(a.row, String).label("id"),
        a.actor_id.label("who"),
        no_text.label("via"),
        no_text.label("said"),
        number(a.assigned_at).label("starts"),
        no_time.label("ends"),
    ).where(a.case_id == of, a.unassigned_at.is_(None))
    granted: Select[Any] = select(
        literal(_GRANT), g.id, g.actor_id, g.consent_id, no_text, number(g.granted_at), number(g.expires_at)
    ).where(g.case_id == of, g.ended_at.is_(None), g.expires_at > as_of)
    given: Select[Any] = select(
        literal(_CONSENT),
        c.id,
        c.partner,
        c.actor_id,
        case((c.whole_case, "1"), else_="0"),
        number(c.given_at),
        number(c.expires_at),
    ).where(*live)
    named: Select[Any] = (
        select(literal(_SCOPE), c.id, s.bundle_id, no_text, no_text, no_time, no_time)
        .join_from(consents, consent_bundles, s.consent_id == c.id)
        .where(*live)
    )
    return union_all(assigned, granted, given, named)


_LIVE = _live()


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that lets somebody read a case, bound at `version` by the act of the entry `entry_id`."""

    case: str
    number: str
    tenant: str
    state: CaseState
    version: int
    as_of: datetime
    entry_id: str
    rows: Sequence[Row[Any]]

    def check_outlasted(self, expires_at: datetime) -> None:
        """Raise Unavailable if a grant or consent that expires then would not be bound, and so open nothing."""
        if expires_at <= self.as_of:
            raise Unavailable(
                f"access to this case was last changed by a clock that said {rfc3339(self.as_of)}: access that ends "
                f"before then, at {rfc3339(expires_at)}, would open nothing. An administrator has to begin access "
                "anew: `casevault rebind`",
                reason="bound-ahead",
            )

    def facts(self, actor: Actor) -> CaseFacts:
        """Return the facts that the rules need of this case and this actor."""
        assigned = any(row.kind == _ASSIGNMENT and row.who == actor.id for row in self.rows)
        given = self._consents() if actor.has(Role.PARTNER_ENGINEER) else ()
        return CaseFacts(self.case, self.state, assigned, given)

    @property
    def owner(self) -> str | None:
        """The actor whose assignment is the oldest; None if nobody is assigned."""
        assigned = [(row.starts, row.who) for row in self.rows if row.kind == _ASSIGNMENT]
        return min(assigned)[1] if assigned else None

    def grants(self, actor: Actor) -> list[Grant]:
        """Return the actor's grants that have not ended."""
        return [
            Grant(row.id, self.case, row.who, from_microseconds(row.ends), None, row.via)
            for row in self.rows
            if row.kind == _GRANT and row.who == actor.id
        ]

    def has(self, grant: Grant, consent: Consent | None) -> bool:
        """Return True while neither the grant nor the consent (if there is one) has ended."""
        live = {(row.kind, row.id) for row in self.rows}
        return (_GRANT, grant.id) in live and (consent is None or (_CONSENT, consent.id) in live)

    def _consents(self) -> list[Consent]:
        scopes: dict[str, set[str]] = {}
        for row in self.rows:
            if row.kind == _SCOPE:
                scopes.setdefault(row.id, set()).add(row.who)
        return [
            Consent(
                row.id,
                self.case,
                row.who,
                None if row.said == "1" else frozenset(scopes.get(row.id, ())),
                from_microseconds(row.ends),
            )
            for row in self.rows
            if row.kind == _CONSENT
        ]


class Altered(Unavailable):
    """A row that decides who reads what, and is not as the service wrote it: it opens nothing."""

    def __init__(self, what: str, told: str | None = None) -> None:
        super().__init__(
            told
            or "the records of who is allowed to read this were altered outside the service; nothing is opened until "
            "an administrator has looked: `casevault doctor` names what",
            reason=ALTERED,
        )
        self.what = what


def read_access(reads: Reads, binding: Binding, case_id: str) -> Access:
    """Return the access to the case, under its tag. Altered if it is not what was bound, or older than seen before."""
    access = _under_tag(reads, binding, case_id)
    if access.version < binding.seen(case_id):
        raise Altered(f"the access to case {case_id} is an earlier one, put back")
    return access


def read_newest_access(reads: Reads, binding: Binding, case_id: str) -> Access:
    """Return the access to the case for an act based on it: also Altered if the log knows of a later act on the case.
    (A read asks the log after its entry, in `opening_entry.confirm`.)"""
    access = read_access(reads, binding, case_id)
    check_newest(reads, access)
    return access


def _under_tag(reads: Reads, binding: Binding, case_id: str) -> Access:
    held = reads.execute(_HEADER, {"case": case_id}).one()
    if held.tag is None:
        raise Altered(f"the access to case {case_id} is not bound")
    rows = _rows(reads, case_id, held.as_of)
    facts = _facts(held, held.version, held.as_of, held.entry_id, rows)
    if not binding.holds(held.tag, CASE, *facts):
        raise Altered(f"the access to case {case_id} is not what was bound")
    return Access(
        case_id,
        held.number,
        held.tenant_id,
        CaseState(held.state),
        held.version,
        held.as_of,
        held.entry_id,
        rows,
    )


def no_access(reads: Reads) -> CaseFacts:
    """Return the facts of no case, by the same look-ups as for a case, so that timing does not tell which exist."""
    reads.execute(_HEADER, {"case": ""}).first()
    reads.execute(_LIVE, {"case": "", "as_of": from_microseconds(0)}).all()
    reads.execute(NEWEST_ACT, {"case": ""}).first()
    return CaseFacts("", CaseState.OPEN, assigned=False)


def changing(tx: Transaction, binding: Binding, case_id: str, now: datetime) -> Access:
    """Return the checked access (Altered) for an act about to change it, and bind the case anew at the end of the
    work."""
    access = read_newest_access(tx, binding, case_id)
    tx.at_end(case_id, lambda: bind(tx, binding, case_id, now))
    return access


def ending(tx: Transaction, binding: Binding, case_id: str, now: datetime) -> None:
    """Prepare, like `changing`, for an act that only ends access. It is done even on altered rows: the case then stays
    unbound. Repeating it in one work changes nothing."""
    if tx.has_at_end(case_id):
        return
    try:
        changing(tx, binding, case_id, now)
    except Altered:
        tx.at_end(case_id, lambda: None)


def restored(tx: Transaction, binding: Binding, case_id: str, now: datetime) -> None:
    """Prepare, like `ending`, for records that the log proves to be a back-up's: they are meant to be older than what
    was seen. The case gets a version beyond any that a process can have seen."""
    try:
        check_newest(tx, _under_tag(tx, binding, case_id))
    except Altered:
        tx.at_end(case_id, lambda: None)
    else:
        beyond = max(binding.seen(case_id), to_microseconds(now))
        tx.at_end(case_id, lambda: bind(tx, binding, case_id, now, beyond=beyond))


def begin(tx: Transaction, binding: Binding, case_id: str, now: datetime) -> None:
    """Prepare, like `changing`, for a case that has just been made."""
    tx.at_end(case_id, lambda: bind(tx, binding, case_id, now))


def bind(
    tx: Transaction,
    binding: Binding,
    case_id: str,
    now: datetime,
    entry_id: str | None = None,
    *,
    beyond: int = 0,
    anew: bool = False,
) -> None:
    """Bind what now lets somebody read the case, under the last entry of this work (or `entry_id`), at a version above
    the last and `beyond`. Without an entry nothing has changed. `anew`: nobody has access, so no expired grant can come
    back, and a time left by a wrong clock is ignored."""
    entry_id = entry_id or _last_act(tx, case_id)
    if entry_id is None:
        return
    held = tx.execute(_HEADER, {"case": case_id}).one()
    as_of = now if anew or held.as_of is None else max(now, held.as_of)
    version = max(held.version or 0, beyond) + 1
    facts = _facts(held, version, as_of, entry_id, _rows(tx, case_id, as_of))
    values = {"version": version, "as_of": as_of, "entry_id": entry_id, "tag": binding.tag(CASE, *facts)}
    own = case_access.c.case_id == case_id
    if held.tag is None:
        tx.change(insert(case_access).values(case_id=case_id, **values))
    else:
        tx.change(update(case_access).where(own).values(values))
    tx.then(lambda: binding.remember(case_id, version))


def check_row(binding: Binding, kind: str, row: Row[Any]) -> None:
    """Raise Altered unless the row's tag is the service's own for it."""
    if not binding.holds_row(kind, row):
        raise Altered(f"the row of {kind} {row.id} is not what was bound")


def put_in(binding: Binding, bundle: Row[Any], case_id: str) -> dict[str, Any]:
    """Return the new columns of a bundle that is put into a case."""
    put = {**bundle._mapping, "case_id": case_id}
    return {"case_id": case_id, "tag": binding.tag_row(BUNDLE, put)}


def check_placed(reads: Reads, bundle_id: str, case_id: str | None) -> None:
    """Raise Altered if the log's newest claim or move of the bundle names another case."""
    newest = reads.execute(NEWEST_PLACE, {"bundle": bundle_id}).first()
    if newest is not None and newest.case_id != case_id:
        raise Altered(f"bundle {bundle_id} was put back where it had been before")


def refuse_earlier(
    binding: Binding, case_id: str, version: int, version_now: int | None, is_newest: bool
) -> None:
    """Raise Altered if the case is bound by an earlier act than the log's newest (not `is_newest`), or at an earlier
    version now than at the decision. Later acts are no contradiction: they bound the case anew."""
    if not is_newest or (version_now or 0) < version:
        raise Altered(f"the access to case {case_id} is an earlier one, put back")
    binding.remember(case_id, version)


def check_newest(reads: Reads, access: Access) -> None:
    """Raise Altered if the log knows of a later act on the case than the one that bound it."""
    if reads.execute(NEWEST_ACT, {"case": access.case}).scalar() != access.entry_id:
        raise Altered(f"the access to case {access.case} is an earlier one, put back")


def _rows(reads: Reads, case_id: str, as_of: datetime) -> Sequence[Row[Any]]:
    return reads.execute(_LIVE, {"case": case_id, "as_of": as_of}).all()


def _facts(
    held: Row[Any], version: int, as_of: datetime, entry_id: str, rows: Sequence[Row[Any]]
) -> tuple[Any, ...]:
    live = sorted(([*row] for row in rows), key=lambda row: [str(value) for value in row])
    return held.id, held.number, held.tenant_id, held.state, version, as_of, entry_id, live


def _last_act(tx: Transaction, case_id: str) -> str | None:
    for row in reversed(tx.entries):
        if (
            row[_CASE] == case_id
            and row[_ACTION] in CHANGING_ACCESS
            and row[_OUTCOME] == Outcome.SUCCESS.value
        ):
            return str(row[0])
    return None
