"""Quotas: how many bytes a stamp and a case can store. Checked before bytes move.

Rules:
- Each live bundle counts with its declared size: an unfinished upload counts whole, so that an accepted one can always
  be completed. An upload without a declared size counts with the bytes received (a deferred length until it is
  declared, a blob's blocks until they are committed). A bundle being erased no longer counts.
- Partial uploads count for their stamp; once a final upload is made of them, it counts in their place.
- A quota is checked in the transaction that creates what would count, so that two at once do not both get the last
  room; for a blob it is checked for each block, before its bytes move. Claims and moves bring no bytes and are not
  checked.
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
    """The bytes that can still be declared; None where there is no quota."""

    stamp: int | None
    case: int | None


def room(tx: Transaction, limits: Limits, stamp_id: str, case_id: str | None) -> Room:
    """Return the room left for a stamp, and for a case if there is one."""
    # Where writers run in parallel, those of one stamp or case take turns.
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
    declared = case((bundles.c.deferred, bundles.c.offset), else_=bundles.c.size)
    staged = select(staged_blocks.c.length).join_from(staged_blocks, bundles).where(*counted).subquery()
    held = _sum(tx, select(func.sum(declared)).where(*counted)) + _sum(tx, select(func.sum(staged.c.length)))
    return max(0, quota - held)


def _sum(tx: Transaction, statement: Select[tuple[int]]) -> int:
    return int(tx.execute(statement).scalar() or 0)


def exceeded(left: Room, size: int, brought: int = 0) -> QuotaExceeded | None:
    """Return why a bundle of `size` bytes is refused, if it is. `brought` of them are here, and count for the stamp."""
    for of, bytes_left, wanted in (("stamp", left.stamp, size - brought), ("case", left.case, size)):
        if bytes_left is not None and wanted > bytes_left:
            return QuotaExceeded(of, left=bytes_left, size=wanted)
    return None
