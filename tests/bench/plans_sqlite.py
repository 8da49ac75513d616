"""How SQLite carries out the statements of the real code: EXPLAIN QUERY PLAN, asked on the connection that runs them.

SQLite never knows how much a table holds unless ANALYZE ran, and it never runs here: a plan on an empty database is the
plan at any size. `watching` collects plans; `complaint` says what is wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from audit.log.tables import metadata as log_metadata
from retention.records.tables import metadata

TABLES = {**metadata.tables, **log_metadata.tables}
SMALL = frozenset(
    {"audit_tree", "binding", "partners", "scrubs", "stamps", "tenants", "trusted_time", "upload_links"}
)
"""Tables that stay small, or have one row: reading all of one is no fault."""
PARTIAL = frozenset(
    str(index.name)
    for table in TABLES.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
)
"""The indexes that hold only the rows in question: walking all of one is no fault."""
_SCAN = re.compile(r"SCAN (?:TABLE )?(\w+?)(?:_\d+)?(?: USING (?:COVERING )?INDEX (\w+))?$")
_SORT = re.compile(r"USE TEMP B-TREE FOR (ORDER|GROUP|DISTINCT)")
"""Of everything; not of the last terms, within each value of the first."""
_SEARCH = re.compile(r"USING (?:COVERING )?INDEX (\w+)")


@dataclass
class Plan:
    """One statement, and the steps in which it was carried out."""

    statement: str
    steps: tuple[str, ...]

    @property
    def indexes(self) -> set[str]:
        return {found for step in self.steps for found in _SEARCH.findall(step)}

    def complaint(self) -> str | None:
        """What is wrong with it: None, or a sentence."""
        for step in self.steps:
            if "AUTOMATIC" in step:
                return f"an index was made for one statement ({step}): {self.statement}"
            scan = _SCAN.match(step)
            if scan is None or scan[1] in SMALL or scan[1] not in TABLES or scan[2] in PARTIAL:
                continue
            if scan[2] is None or any(_SORT.match(other) for other in self.steps):
                return f"a big table was read from end to end ({step}): {self.statement}"
            if "LIMIT" not in self.statement:
                return f"an index was walked from end to end ({step}): {self.statement}"
        return None


@dataclass
class Seen:
    """The plans of what was done."""

    plans: list[Plan] = field(default_factory=list)

    @property
    def indexes(self) -> set[str]:
        return {index for plan in self.plans for index in plan.indexes}

    def complaints(self) -> list[str]:
        return sorted({wrong for plan in self.plans if (wrong := plan.complaint()) is not None})


@contextmanager
def watching(engine: Engine) -> Iterator[Seen]:
    """Collect the plan of every statement on this engine."""
    seen = Seen()

    def look(connection: Any, cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if statement.split(None, 1)[0] not in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
            return
        asking = cursor.connection.cursor()
        steps = asking.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values).fetchall()
        seen.plans.append(Plan(statement, tuple(step[3] for step in steps)))

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", look)
