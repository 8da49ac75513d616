"""What customers chose about being asked for access (`retention.domain.approval`), for all cases or for one.

Rules:
- The customer's operator chooses; everybody who sees a case sees what counts for it.
- A policy lets somebody read without being asked, so its row is believed only under the service's tag, and only while
  the log knows of no later choice: no row counts as `see` only if the log has none either. Choosing again states all of
  it, so that makes an altered row good.
- A process that has seen a customer's choice takes no earlier one for it, whatever the log's rows say since.
- Choosing reads the grants that are live under the choice before. So of a grant and a choice at once one comes after
  the other (SERIALIZABLE), in the log's order too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, insert, select, update

from audit.entry import Action
from audit.log.tables import APPROVAL_ACTS, RECEIVER_ACTS, REVIEW_ACTS, audit_entries
from retention.custody.access.bound_access import Altered, check_row, read_access
from retention.custody.context import Custody, Refusal, commit, entry, not_operator_of, refuse, unseen
from retention.domain.actor import Actor, Role
from retention.domain.approval import Asks, Policy, Rule, check_policy
from retention.domain.faults import Unavailable
from retention.domain.row_tag import POLICY, RECEIVER, REVIEW, Binding
from retention.records.queries import find_case
from retention.records.tables import approval_policies, cases, grants
from retention.records.unit_of_work import Reads, Transaction

_NEWEST = audit_entries.c.leaf_index.desc().nulls_first(), audit_entries.c.row.desc()
_OF_SUBJECT = select(audit_entries.c.entry_id, audit_entries.c.row).where(
    audit_entries.c.subject == bindparam("subject")
)
_NEWEST_ACT = {
    acts: _OF_SUBJECT.where(acts).order_by(*_NEWEST).limit(1)
    for acts in (APPROVAL_ACTS, REVIEW_ACTS, RECEIVER_ACTS)
}


def newest_act(subject: ColumnElement[str]) -> Any:
    """Build the newest act on the policy or request that `subject` names, as its entry's id, for use in a query."""
    e = audit_entries.c
    return (
        select(e.entry_id)
        .where(e.subject == subject, APPROVAL_ACTS)
        .order_by(*_NEWEST)
        .limit(1)
        .scalar_subquery()
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The policy that counts; `of` says whose choice it is: the `case`'s, the `customer`'s, or nobody's (`default`)."""

    policy: Policy
    of: str
    set_at: datetime | None = None
    asks: Asks | None = None
    """When a grant of the engineer who asks waits; None for others."""


def check_kept(reads: Reads, binding: Binding, kind: str, subject: str, row: Row[Any] | None) -> None:
    """Raise Altered unless the row, or its absence, is what the newest act about `subject` left."""
    acts = {REVIEW: REVIEW_ACTS, RECEIVER: RECEIVER_ACTS}.get(kind, APPROVAL_ACTS)
    newest = reads.execute(_NEWEST_ACT[acts], {"subject": subject}).first()
    if row is not None:
        check_row(binding, kind, row)
    if (newest and newest.entry_id) != (row and row.entry_id):
        raise Altered(f"the {kind} {subject} is not what the log's newest act on it left")
    if kind in (POLICY, RECEIVER):
        at = newest.row if newest else 0
        if at < binding.seen(f"{kind} {subject}"):
            raise Altered(f"the {kind} {subject} is an earlier one, put back")
        binding.remember(f"{kind} {subject}", at)


def policy_for(reads: Reads, binding: Binding, case: Row[Any]) -> Chosen:
    """Return the policy that counts for a case. Altered if it is not as it was chosen."""
    for id_, of in ((case.id, "case"), (case.tenant_id, "customer")):
        row = _kept(reads, binding, id_)
        if row is not None and row.rule != Rule.INHERITED:
            return Chosen(_policy(row), of, row.set_at)
    return Chosen(Policy(), "default")


def get_policy(custody: Custody, actor: Actor, case: Row[Any] | None) -> Chosen:
    """Return the policy of a case that the actor sees; without a case that of the operator's customer."""
    now = custody.clock.now()
    if case is None and (denied := not_operator_of(actor, actor.tenant or "")):
        return commit(custody, lambda tx: refuse(tx, actor, Action.CALLER_REFUSED, now, denied))
    with custody.records.read() as reads:
        if case is None:
            row = _kept(reads, custody.binding, str(actor.tenant))
            return (
                Chosen(Policy(), "default") if row is None else Chosen(_policy(row), "customer", row.set_at)
            )
        chosen = policy_for(reads, custody.binding, case)
        if not actor.has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER):
            return chosen
        owner = read_access(reads, custody.binding, case.id).owner
    return Chosen(chosen.policy, chosen.of, chosen.set_at, chosen.policy.asks(actor, owner))


def set_policy(
    custody: Custody, actor: Actor, number: str | None, rule: Rule, long: timedelta | None
) -> Chosen:
    """Choose when a grant waits for approval: in one case, or (without a number) in all. Role: operator."""
    now = custody.clock.now()
    policy = check_policy(rule, long, of_case=number is not None)

    def work(tx: Transaction) -> Chosen | Refusal:
        case = None if number is None else find_case(tx, actor, number, now)
        if number is not None and case is None:
            return unseen(tx, actor, Action.APPROVAL_POLICY_SET, now, "case", number)
        tenant = actor.tenant if case is None else case.tenant_id
        ids: dict[str, Any] = {"tenant": tenant, "case": None if case is None else case.id}
        if denied := not_operator_of(actor, tenant or ""):
            return refuse(tx, actor, Action.APPROVAL_POLICY_SET, now, denied, **ids)
        live = _live_grants(tx, now, **ids)
        minutes = policy.long // timedelta(minutes=1)
        told = {"rule": policy.rule.value, "long_minutes": minutes, "live_grants": live}
        subject = ids["case"] or str(tenant)
        named = {} if number is None else {"case_number": number}
        chosen = entry(
            actor,
            Action.APPROVAL_POLICY_SET,
            now,
            **ids,
            subject=subject,
            details=told,
            particulars=named,
        )
        record_policy(
            tx, custody.binding, subject, ids, policy.rule, minutes, at=now, by=actor.id, entry_id=chosen.id
        )
        tx.audit(chosen)
        return Chosen(policy, "customer" if case is None else "case", now)

    return commit(custody, work)


def record_policy(
    tx: Transaction,
    binding: Binding,
    subject: str,
    ids: dict[str, str | None],
    rule: str,
    minutes: int,
    *,
    at: datetime,
    by: str,
    entry_id: str,
) -> bool:
    """Write the row of a choice (`ids`: its tenant and case); return False if it stands there already."""
    held = tx.execute(select(approval_policies).where(approval_policies.c.id == subject)).first()
    if held is not None and held.entry_id == entry_id and binding.holds_row(POLICY, held):
        return False
    row = {
        "id": subject,
        "tenant_id": ids["tenant"],
        "case_id": ids["case"],
        "rule": rule,
        "long_minutes": minutes,
        "set_at": at,
        "actor_id": by,
        "entry_id": entry_id,
    }
    row["tag"] = binding.tag_row(POLICY, row)
    if held is None:
        tx.change(insert(approval_policies).values(row))
    else:
        tx.change(update(approval_policies).where(approval_policies.c.id == subject).values(row))
    return True


def _kept(reads: Reads, binding: Binding, id_: str) -> Row[Any] | None:
    row = reads.execute(select(approval_policies).where(approval_policies.c.id == id_)).first()
    check_kept(reads, binding, POLICY, id_, row)
    return row


def _policy(row: Row[Any]) -> Policy:
    try:
        return Policy(Rule(row.rule), timedelta(minutes=row.long_minutes))
    except ValueError:  # a rule of a newer version
        raise Unavailable(
            f"the policy of approval is {row.rule!r}, which this program does not know; use the newer program",
            reason="newer-schema",
        ) from None


def _live_grants(tx: Transaction, now: datetime, *, tenant: str | None, case: str | None) -> int:
    live = grants.c.ended_at.is_(None), grants.c.expires_at > now
    counted = select(func.count()).select_from(grants).join(cases, cases.c.id == grants.c.case_id)
    of = cases.c.tenant_id == tenant if case is None else cases.c.id == case
    return tx.execute(counted.where(*live, of)).scalar() or 0
