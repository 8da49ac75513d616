"""Appending to the log, reading one entry, redacting one entry.

- `append` runs in the caller's transaction: the act and its entry become durable together or not at all (P3).
- The tree is not touched here: the sequencer numbers committed rows, so appenders never wait for each other.
- `redact` destroys particulars and salt and keeps the leaf: the tree still verifies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Update, bindparam, insert, select, update

from audit.entry import Entry, parse_leaf
from audit.log.tables import audit_checkpoints, audit_entries
from audit.times import from_microseconds, to_microseconds

WRITTEN = tuple(
    column.name
    for column in audit_entries.columns
    # These are set by the database, the sequencer and redaction.
    if column.name not in ("row", "leaf_index", "redacted_at")
)
# Positional for tuples: a driver that takes named parameters (pyformat) takes %s as well.
_POSITIONAL = {"qmark": "qmark", "format": "format", "pyformat": "format"}

EntryRow = tuple[object, ...]
"""The written columns, in the order of the table."""


class UnknownEntryError(LookupError):
    """An id that no entry has."""


class StoredEntry(NamedTuple):
    """An entry as its row has it, unparsed: its place, and what the log keeps of it. Times are in microseconds."""

    at_us: int
    row: int
    leaf_index: int | None
    leaf: bytes
    particulars: str | None
    salt: bytes | None
    redacted_us: int | None

    def __repr__(self) -> str:
        """Name the entry by its row: the rest would quote what can be redacted."""
        return f"StoredEntry(row={self.row})"


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry as the log holds it: no `leaf_index` until sequenced, no `particulars` once redacted."""

    row: int
    leaf_index: int | None
    leaf: bytes = field(repr=False)
    fields: Mapping[str, Any]
    particulars: Mapping[str, str] | None = field(repr=False)
    salt: bytes | None = field(repr=False)
    redacted_at: datetime | None


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write the entries, in order, in the caller's transaction."""
    append_rows(connection, [row_of(entry) for entry in entries])


def append_rows(connection: Connection, rows: Sequence[EntryRow]) -> None:
    """Write rows made by `row_of`, as `append` does."""
    if rows:
        dialect: Any = type(connection.dialect)
        connection.exec_driver_sql(_insert_sql(dialect, connection.dialect.paramstyle), list(rows))


def redact(connection: Connection, entry_id: str, at: datetime) -> None:
    """Destroy the particulars and salt of an entry. Repeating it changes nothing."""
    own = audit_entries.c.entry_id == entry_id
    done = connection.execute(redaction([own], at))
    if not done.rowcount and connection.execute(select(audit_entries.c.row).where(own)).first() is None:
        raise UnknownEntryError(entry_id)


def redaction(which: Sequence[ColumnElement[bool]], at: datetime) -> Update:
    """Build the statement that destroys the particulars and salts of the entries that match all of `which`."""
    gone = {"particulars": None, "salt": None, "redacted_at": to_microseconds(at)}
    return update(audit_entries).where(*which, audit_entries.c.redacted_at.is_(None)).values(gone)


def read_entry(connection: Connection, entry_id: str) -> LoggedEntry:
    """Read one entry; UnknownEntryError if there is none with this id."""
    row = connection.execute(select(audit_entries).where(audit_entries.c.entry_id == entry_id)).first()
    if row is None:
        raise UnknownEntryError(entry_id)
    return logged_entry(row)


def latest_note(connection: Connection) -> str | None:
    """Return the newest checkpoint on record, as signed; its tiles are published."""
    newest = select(audit_checkpoints.c.note).order_by(audit_checkpoints.c.size.desc()).limit(1)
    note: str | None = connection.execute(newest).scalar()
    return note


_stored = audit_entries.c
STORED = (
    *(_stored.at_us, _stored.row, _stored.leaf_index, _stored.leaf),
    *(_stored.particulars, _stored.salt, _stored.redacted_at),
)
"""The columns of a `StoredEntry`."""


def logged_entry(row: Row[Any]) -> LoggedEntry:
    """Make the entry of a full row of `audit_entries`."""
    stored = (row.at_us, row.row, row.leaf_index, row.leaf, row.particulars, row.salt, row.redacted_at)
    return parsed_entry(StoredEntry(*stored), parse_leaf)


def parsed_entry(stored: StoredEntry, parse: Callable[[bytes], Mapping[str, Any]]) -> LoggedEntry:
    """Make the entry of what its row has; `parse` gives a leaf's fields."""
    at = stored.redacted_us
    return LoggedEntry(
        row=stored.row,
        leaf_index=stored.leaf_index,
        leaf=stored.leaf,
        fields=parse(stored.leaf),
        particulars=None if at is not None else json.loads(stored.particulars or "{}"),
        salt=stored.salt,
        redacted_at=None if at is None else from_microseconds(at),
    )


@cache
def _insert_sql(dialect: Any, paramstyle: str) -> str:
    """Compile the statement to text, once: the Core path costs several times the insert itself."""
    statement = insert(audit_entries).values({name: bindparam(name) for name in WRITTEN})
    return str(statement.inline().compile(dialect=dialect(paramstyle=_POSITIONAL[paramstyle])))


def row_of(entry: Entry) -> EntryRow:
    """Make the row of an entry for `append_rows`; CanonicalError when the entry has no leaf."""
    leaf, particulars = entry.written()
    return (
        entry.id,
        to_microseconds(entry.at),
        entry.actor,
        entry.actor_kind,
        entry.action.value,
        entry.outcome.value,
        entry.reason,
        entry.tenant,
        entry.case,
        entry.bundle,
        entry.subject,
        leaf,
        None if particulars is None else particulars.decode(),
        None if particulars is None else entry.salt,
    )
