"""Moves: a bundle sent for the wrong case is put into the right one.

Rules:
- An engineer assigned to both cases moves it, with a reason; both cases belong to the same customer.
- The bundle takes the earlier deadline of the two: that of the case it leaves stays its cap. A move never saves data:
  a bundle that is due is not moved.
- It can go to a closed case, whose deadline it then shares; not to one whose deadline has come.
- Grants and consents stay with their cases: a reader under the old case's grant is cut off, and a consent that named
  the bundle there no longer reaches it.
- The entry stands in the new case and names the old one as its subject.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from audit.entry import Action
from retention.custody.access.bound_access import check_placed, check_row, put_in, read_newest_access
from retention.custody.context import Custody, Refusal, about_case, commit, entry, lacks_role, refuse, unseen
from retention.custody.uploads.declaration import refuse_if_erased
from retention.domain.actor import Actor, Role
from retention.domain.deadline import Erase, cap_after_move, case_deadline, decide
from retention.domain.faults import Conflict
from retention.domain.grants import Denied, check_reason
from retention.domain.row_tag import BUNDLE, Binding
from retention.records.queries import bundle_history, case_history, find_bundle, find_case, refresh_due
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction


def move_bundle(custody: Custody, actor: Actor, bundle_id: str, case_number: str, reason: str) -> Row[Any]:
    """Move a bundle to another case. Role: an engineer assigned to both."""
    now = custody.clock.now()

    def work(tx: Transaction) -> Row[Any] | Refusal:
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, Action.BUNDLE_MOVED, now, "bundle", bundle_id)
        case = find_case(tx, actor, case_number, now)
        if case is None or case.tenant_id != bundle.tenant_id:
            return unseen(tx, actor, Action.BUNDLE_MOVED, now, "case", case_number)
        if denied := _may_move(tx, custody.binding, actor, bundle, case, reason):
            ids = about_case(case)
            return refuse(
                tx, actor, Action.BUNDLE_MOVED, now, denied, **ids, bundle=bundle_id, subject=bundle.case_id
            )
        refuse_if_erased(bundle)
        check_row(custody.binding, BUNDLE, bundle)
        check_placed(tx, bundle_id, bundle.case_id)
        _check_movable(tx, bundle, case, now)
        left = bundle.case_id
        put_in_case(tx, custody.binding, bundle, case.id)
        tx.audit(
            entry(
                actor,
                Action.BUNDLE_MOVED,
                now,
                **about_case(case),
                bundle=bundle_id,
                subject=left,
                particulars={"reason": reason.strip(), "case_number": case_number},
            )
        )
        return tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()

    return commit(custody, work)


def put_in_case(tx: Transaction, binding: Binding, bundle: Row[Any], case_id: str) -> None:
    """Put the bundle into another case; the deadline of the one that it leaves, if any, stays its cap."""
    values = {**put_in(binding, bundle, case_id), "cap_at": cap_after_move(bundle_history(tx, bundle))}
    tx.change(update(bundles).where(bundles.c.id == bundle.id).values(values))
    refresh_due(tx, bundles.c.id == bundle.id)


def _may_move(
    tx: Transaction, binding: Binding, actor: Actor, bundle: Row[Any], case: Row[Any], reason: str
) -> Denied | None:
    if denied := lacks_role(actor, Role.SUPPORT_ENGINEER):
        return denied
    for case_id in (bundle.case_id, case.id):
        if case_id is not None and not read_newest_access(tx, binding, case_id).facts(actor).assigned:
            return Denied(
                "not-assigned",
                "you are not assigned to both cases; have the case system assign you to the other one",
            )
    return check_reason(reason)


def _check_movable(tx: Transaction, bundle: Row[Any], case: Row[Any], now: datetime) -> None:
    if bundle.case_id is None:
        raise Conflict(
            f"no case holds bundle {bundle.id}, so it cannot be moved: claim it", reason="unclaimed"
        )
    if bundle.case_id == case.id:
        raise Conflict(f"case {case.number} holds bundle {bundle.id} already", reason="same-case")
    if isinstance(decide(bundle_history(tx, bundle), now), Erase):
        raise Conflict(
            f"the deadline of bundle {bundle.id} has come: it is about to be erased", reason="bundle-due"
        )
    deadline = case_deadline(case_history(tx, case.id))
    if deadline is not None and deadline <= now:  # the bundle would be erased at once
        raise Conflict(
            f"case {case.number} closed 90 or more days ago: reopen it first", reason="case-past-deadline"
        )
