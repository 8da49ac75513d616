"""Quotas: how many bytes a stamp, and a case, may have here. Asked before bytes move.

Rules:
- What counts is each live bundle's size as it was announced: an upload that is not finished counts whole, so that what
  was accepted can always be completed. Whoever does not say a size beforehand counts with what has come (a deferred
  length until it is told, a blob's blocks until they are committed). What is being erased
  counts no more.
- Partial uploads count for their stamp; those that a final upload is made of count no more, it counts for them.
- A quota is asked in the transaction that creates what would count, so two that come at once do not both get the last
  room; of a blob it is asked for each block, before its bytes move. Claims and moves bring no bytes and are not held to
  it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, case, func, select

from retention.custody.context import Limits
from retention.domain.bundle import LIVE
from retention.domain.faults import QuotaExceeded
from retention.records.tables import bundles, cases, concatenations, staged_blocks, stamps
from retention.records.unit_of_work import Transaction


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that may still be announced; None where there is no quota."""

    stamp: int | None
    case: int | None


def room(tx: Transaction, limits: Limits, stamp_id: str, case_id: str | None) -> Room:
    """What is left for a stamp, and for a case if there is one."""
    # Where writers run side by side, those of one stamp or case go one by one.
    if limits.stamp_quota is not None:
        tx.execute(select(stamps.c.id).where(stamps.c.id == stamp_id).with_for_update())
    if limits.case_quota is not None and case_id is not None:
        tx.execute(select(cases.c.id).where(cases.c.id == case_id).with_for_update())
    of_stamp = _left(tx, limits.stamp_quota, bundles.c.stamp_id == stamp_id)
    of_case = None if case_id is None else _left(tx, limits.case_quota, bundles.c.case_id == case_id)
    return Room(of_stamp, of_case)


def _left(tx: Transaction, quota: int | None, which: ColumnElement[bool]) -> int | None:
    if quota is None:
        return None
    counted = which, bundles.c.state.in_(LIVE), bundles.c.id.not_in(select(concatenations.c.partial_id))
    announced = case((bundles.c.deferred, bundles.c.offset), else_=bundles.c.size)
    staged = select(staged_blocks.c.length).join_from(staged_blocks, bundles).where(*counted).subquery()
    held = _sum(tx, select(func.sum(announced)).where(*counted)) + _sum(tx, select(func.sum(staged.c.length)))
    return max(0, quota - held)


def _sum(tx: Transaction, statement: Select[tuple[int]]) -> int:
    return int(tx.execute(statement).scalar() or 0)


def exceeded(left: Room, size: int, brought: int = 0) -> QuotaExceeded | None:
    """Why a bundle of `size` bytes is not taken, if it is not. `brought` of them are here, and count for the stamp."""
    for of, bytes_left, wanted in (("stamp", left.stamp, size - brought), ("case", left.case, size)):
        if bytes_left is not None and wanted > bytes_left:
            return QuotaExceeded(of, left=bytes_left, size=wanted)
    return None
