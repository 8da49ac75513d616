"""Erasures that the clock begins because a deadline has come (P4, P9).

- What is due with its case goes as the case, and the grants to it end.
- A bundle that is due by itself goes alone, and its case lives on: one that no case claimed, or one that was moved and
  kept the earlier deadline of the case that it left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Row

from retention.actor import CLOCK
from retention.binding import Binding
from retention.custody.erasing import BUNDLE, CASE, end_with_case, start
from retention.deadline import Reason
from retention.records.unit_of_work import Transaction

_CAUSES = {Reason.CASE_CLOSED: "deadline", Reason.MOVED: "deadline", Reason.UNCLAIMED: "unclaimed"}


def begin(tx: Transaction, binding: Binding, due: Sequence[tuple[Row[Any], Reason]], now: datetime) -> None:
    """Begin the erasure of bundles that are due, each for its reason."""
    ordered = sorted(due, key=lambda each: (each[0].case_id or "", each[1]))
    for (case_id, reason), found in groupby(ordered, key=lambda each: (each[0].case_id, each[1])):
        held = [bundle for bundle, _reason in found]
        whole = reason is Reason.CASE_CLOSED
        for group in [held] if whole else [[bundle] for bundle in held]:
            scope, cause = CASE if whole else BUNDLE, _CAUSES[reason]
            start(tx, CLOCK, group, group[0].tenant_id, case_id, scope, cause, now, on_demand=False)
        if whole and case_id is not None:
            end_with_case(tx, binding, CLOCK, case_id, now)
