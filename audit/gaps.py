"""Row numbers that are missing from the log: on SQLite every number that was given is there, or its row was deleted.

A transaction that is undone takes its numbers back there (AUTOINCREMENT keeps them in a table like any other). On
PostgreSQL an undone transaction leaves a gap in good faith, so nothing can be told from one.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text

from audit.tables import audit_entries


class RowGaps:
    """Counts rows, from where it ended the last time on. Not for several threads at once."""

    def __init__(self) -> None:
        self._checked = 0

    def look(self, connection: Connection) -> int:
        """How many rows are missing among those that came since the last look; 0 where that cannot be told."""
        if connection.dialect.name != "sqlite":
            return 0
        row = audit_entries.c.row
        found = select(func.count(), func.max(row)).where(row > self._checked)
        count, last = connection.execute(found).one()
        given = connection.execute(
            text("SELECT seq FROM sqlite_sequence WHERE name = 'audit_entries'")
        ).scalar()
        end = max(last or self._checked, given or 0)
        missing = end - self._checked - int(count)
        self._checked = end
        return missing
