"""Records whose database falls silent once, just when it commits: the change is durable, and nobody hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Table, func, select

from retention.records.retry import outcome_unknown
from retention.records.unit_of_work import Records, Transaction

T = TypeVar("T")


class SilentRecords:
    """These records; the first commit that adds to `table` is not answered."""

    def __init__(self, records: Records, table: Table) -> None:
        self._records, self._table = records, table
        self.silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def write(self, work: Callable[[Transaction], T]) -> T:
        before = self._count()
        value = self._records.write(work)
        if not self.silent and self._count() > before:
            self.silent = True
            raise outcome_unknown()
        return value

    def _count(self) -> int:
        with self._records.read() as reads:
            return int(reads.execute(select(func.count()).select_from(self._table)).scalar_one())
