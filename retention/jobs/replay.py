"""Repeating the log's acts in the records of a restored database.

Rules:
- Repeated are acts that end an access, or that decide a deadline or whose a bundle is: the ends of consents,
  assignments, upload links and registrations; closes and reopenings; moves and claims; the consent to proactive
  collection; what a customer chose about being asked, the answers to requests, and reviews; the ends of sessions at
  the portal; the removal of receivers of notices. Grants need nothing: all
  of them end, those by approval too. Acts that give an access (assignments, consents, grants) are not repeated: a
  person gives it again.
- They are repeated in the log's order, each as of the time of its entry, in the caller's transaction, and without an
  entry: the log has it.
- Repeating an act twice changes nothing: what the records already show is left alone.
- A choice, an answer or a verdict made since the restore, before the service had caught up, comes after the lost tail
  in the log. So its row is left alone.
- An act on a thing missing from the records (it came after the back-up) is skipped; the caller counts it as lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, select

from audit.entry import Action, Outcome
from audit.log.tables import audit_entries
from audit.times import parse_rfc3339
from retention.custody.access.approval_policies import record_policy
from retention.custody.access.manage_approvals import mark_answered
from retention.custody.access.manage_cases import mark_unassigned, record_step
from retention.custody.access.manage_consents import mark_revoked as mark_consent_revoked
from retention.custody.access.manage_links import mark_revoked as mark_link_revoked
from retention.custody.access.manage_reviews import record_review
from retention.custody.access.manage_stamps import mark_deregistered, record_proactive
from retention.custody.bundle_moves import put_in_case
from retention.custody.notices.manage_receivers import mark_removed
from retention.domain.approval import State
from retention.domain.bundle import LIVE
from retention.domain.case import TRANSITIONS, CaseEvent, CaseEventKind, CaseState
from retention.domain.review import Verdict
from retention.domain.row_tag import BUNDLE, Binding
from retention.records.queries import case_history
from retention.records.tables import (
    approval_policies,
    approvals,
    bundles,
    cases,
    grants,
    notice_receivers,
    portal_sessions,
    proactive_consents,
    reviews,
    stamps,
    tenants,
)
from retention.records.unit_of_work import Transaction

Leaf = Mapping[str, Any]
"""The fields of a leaf, as `audit.entry.parse_leaf` gives them."""


def replay(tx: Transaction, binding: Binding, leaves: Sequence[Leaf]) -> dict[str, int]:
    """Repeat the acts of these leaves, in order; return how many of each action changed the records.

    `leaves`: those of the log's lost tail, with all that some row can have been left by.
    """
    done: Counter[str] = Counter()
    tail = frozenset(leaf["id"] for leaf in leaves)
    for leaf in leaves:
        again = REPLAYED.get(Action(leaf["action"]))
        if again is not None and leaf["outcome"] == Outcome.SUCCESS and not _is_overtaken(tx, leaf, tail):
            done[leaf["action"]] += bool(again(tx, leaf, parse_rfc3339(leaf["at"]), binding))
    return {action: times for action, times in done.items() if times}


def _is_overtaken(tx: Transaction, leaf: Leaf, tail: Collection[str]) -> bool:
    """Tell whether the row of the leaf's subject is what an act left that the log has yet to number, behind `tail`."""
    table = _LEFT_BY_AN_ENTRY.get(leaf["action"].partition(".")[0])
    if table is None:
        return False
    left_by = select(audit_entries.c.entry_id, audit_entries.c.leaf_index).join_from(
        table, audit_entries, audit_entries.c.entry_id == table.c.entry_id
    )
    row = tx.execute(left_by.where(table.c.id == leaf["subject"])).first()
    return row is not None and row.leaf_index is None and row.entry_id not in tail


def _consent_revoked(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> int:
    return mark_consent_revoked(tx, leaf["subject"], at)


def _unassigned(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> int:
    return mark_unassigned(tx, leaf["case"], leaf["subject"], at)


def _link_revoked(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> int:
    return mark_link_revoked(tx, leaf["subject"], at)


def _deregistered(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> int:
    return mark_deregistered(tx, leaf["subject"], at)


def _session_ended(tx: Transaction, leaf: Leaf, _at: datetime, _binding: Binding) -> int:
    return tx.change(delete(portal_sessions).where(portal_sessions.c.id == leaf["subject"]))


def _proactive_set(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> bool:
    stamp = leaf["subject"]
    of_stamp = proactive_consents.c.stamp_id == stamp
    shown = select(proactive_consents.c.row).where(of_stamp, proactive_consents.c.set_at >= at)
    known = tx.execute(select(stamps.c.id).where(stamps.c.id == stamp)).first()
    if known is None or tx.execute(shown).first() is not None:
        return False
    record_proactive(tx, leaf["actor"], stamp, leaf["details"]["proactive"] == "on", at)
    return True


def _stepped(kind: CaseEventKind, detail: str) -> Callable[[Transaction, Leaf, datetime, Binding], bool]:
    def again(tx: Transaction, leaf: Leaf, at: datetime, _binding: Binding) -> bool:
        case = tx.execute(select(cases).where(cases.c.id == leaf["case"])).first()
        if case is None or (CaseState(case.state), kind) not in TRANSITIONS:
            return False
        event = CaseEvent(kind, parse_rfc3339(leaf["details"][detail]), at)
        if event in case_history(tx, case.id):  # done, but not yet sequenced when the back-up was made
            return False
        record_step(tx, case, event)
        return True

    return again


def _held(tx: Transaction, leaf: Leaf, _at: datetime, binding: Binding) -> bool:
    """Repeat a move, whose subject is the case that the bundle left, or a claim, which has none."""
    of_bundle = bundles.c.id == leaf["bundle"], bundles.c.state.in_(LIVE)
    bundle = tx.execute(select(bundles).where(*of_bundle)).first()
    if bundle is None or bundle.case_id != leaf.get("subject"):
        return False
    if tx.execute(select(cases.c.id).where(cases.c.id == leaf["case"])).first() is None:
        return False
    if not binding.holds_row(BUNDLE, bundle):  # altered: neither believed nor bound
        return False
    put_in_case(tx, binding, bundle, leaf["case"])
    return True


def _policy_set(tx: Transaction, leaf: Leaf, at: datetime, binding: Binding) -> bool:
    ids, said = {"tenant": leaf["tenant"], "case": leaf.get("case")}, leaf["details"]
    known = select(tenants.c.id).where(tenants.c.id == ids["tenant"])
    if ids["case"] is not None:
        known = select(cases.c.id).where(cases.c.id == ids["case"], cases.c.tenant_id == ids["tenant"])
    if tx.execute(known).first() is None:
        return False
    chosen = {"at": at, "by": leaf["actor"], "entry_id": leaf["id"]}
    return record_policy(tx, binding, leaf["subject"], ids, said["rule"], int(said["long_minutes"]), **chosen)


def _answered(state: State) -> Callable[[Transaction, Leaf, datetime, Binding], int]:
    def again(tx: Transaction, leaf: Leaf, at: datetime, binding: Binding) -> int:
        row = tx.execute(select(approvals).where(approvals.c.id == leaf["subject"])).first()
        if row is None or row.entry_id == leaf["id"]:
            return 0
        by = {} if state is State.LAPSED else {"answered_by": leaf["actor"]}
        return mark_answered(tx, binding, row, state, at, leaf["id"], by)

    return again


def _receiver_removed(tx: Transaction, leaf: Leaf, at: datetime, binding: Binding) -> int:
    live = notice_receivers.c.id == leaf["subject"], notice_receivers.c.removed_at.is_(None)
    row = tx.execute(select(notice_receivers).where(*live)).first()
    return 0 if row is None else mark_removed(tx, binding, row, at, leaf["id"])


def _reviewed(verdict: Verdict) -> Callable[[Transaction, Leaf, datetime, Binding], bool]:
    def again(tx: Transaction, leaf: Leaf, at: datetime, binding: Binding) -> bool:
        if tx.execute(select(grants.c.id).where(grants.c.id == leaf["subject"])).first() is None:
            return False
        by = {"at": at, "by": leaf["actor"], "entry_id": leaf["id"]}
        return record_review(tx, binding, leaf["subject"], verdict, **by)

    return again


_LEFT_BY_AN_ENTRY: Mapping[str, Table] = {
    "approval-policy": approval_policies,
    "approval": approvals,
    "review": reviews,
}
"""The tables whose rows name the entry that left them so, by the noun of the actions on them."""
REPLAYED: Mapping[Action, Callable[[Transaction, Leaf, datetime, Binding], int]] = {
    Action.CONSENT_REVOKED: _consent_revoked,
    Action.CASE_UNASSIGNED: _unassigned,
    Action.CASE_CLOSED: _stepped(CaseEventKind.CLOSED, "closed_at"),
    Action.CASE_REOPENED: _stepped(CaseEventKind.REOPENED, "reopened_at"),
    Action.BUNDLE_MOVED: _held,
    Action.BUNDLE_CLAIMED: _held,
    Action.UPLOAD_LINK_REVOKED: _link_revoked,
    Action.SESSION_ENDED: _session_ended,
    Action.STAMP_DEREGISTERED: _deregistered,
    Action.PROACTIVE_CONSENT_SET: _proactive_set,
    Action.APPROVAL_POLICY_SET: _policy_set,
    Action.APPROVAL_GIVEN: _answered(State.GIVEN),
    Action.APPROVAL_DECLINED: _answered(State.DECLINED),
    Action.APPROVAL_LAPSED: _answered(State.LAPSED),
    Action.APPROVAL_WITHDRAWN: _answered(State.WITHDRAWN),
    Action.NOTICE_RECEIVER_REMOVED: _receiver_removed,
    Action.REVIEW_SIGNED_OFF: _reviewed(Verdict.SIGNED_OFF),
    Action.REVIEW_QUESTIONED: _reviewed(Verdict.QUESTIONED),
}
