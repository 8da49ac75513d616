"""Quotas: how many bytes a stamp, and a case, may have here. Asked before bytes move.

Rules:
- What counts is each live bundle's size as it was announced: an upload that is not finished counts whole, so that what
  was accepted can always be completed. What is being erased, or is erased, counts no more.
- A quota is asked when an upload is created, in the same transaction: two that come at once do not both get the last
  room. Claims and moves bring no bytes to the service and are not held to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select

from retention.bundle import LIVE
from retention.custody.context import Limits
from retention.errors import QuotaExceeded
from retention.records.tables import bundles, cases, stamps
from retention.records.unit_of_work import Reads


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that may still be announced; None where there is no quota."""

    stamp: int | None
    case: int | None


def room(reads: Reads, limits: Limits, stamp_id: str, case_id: str | None) -> Room:
    """What is left for a stamp, and for a case if there is one."""
    for row, quota in (
        (stamps.c.id == stamp_id, limits.stamp_quota),
        (cases.c.id == case_id, limits.case_quota),
    ):
        if quota is not None:  # where writers run side by side, those of one stamp or case go one by one
            reads.execute(select(row).where(row).with_for_update())
    of_stamp = _left(reads, limits.stamp_quota, bundles.c.stamp_id == stamp_id)
    of_case = None if case_id is None else _left(reads, limits.case_quota, bundles.c.case_id == case_id)
    return Room(of_stamp, of_case)


def _left(reads: Reads, quota: int | None, which: ColumnElement[bool]) -> int | None:
    if quota is None:
        return None
    held = select(func.coalesce(func.sum(bundles.c.size), 0)).where(which, bundles.c.state.in_(LIVE))
    return max(0, quota - int(reads.execute(held).scalar_one()))


def exceeded(left: Room, size: int) -> QuotaExceeded | None:
    """Why a bundle of `size` bytes is not taken, if it is not."""
    for of, bytes_left in (("stamp", left.stamp), ("case", left.case)):
        if bytes_left is not None and size > bytes_left:
            return QuotaExceeded(of, left=bytes_left, size=size)
    return None
