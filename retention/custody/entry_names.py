"""What people call what an entry names by ids: who acted, the case's number, the bundle's file, the grant's reason.

- Names come from the records as they are now. What was redacted there, or erased with its bundle, has none any more;
  nor has an entry that was redacted itself, but for the case's number, which names nobody.
- The leaves name nobody: a name stands beside an entry only in what is shown to those who may see the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, select

from audit.log import LoggedEntry
from retention.records.tables import actors, bundles, cases, grants
from retention.records.unit_of_work import Reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """None where there is no such thing, or it has no name any more."""

    actor: str | None
    case: str | None
    file_name: str | None
    grant_reason: str | None


def name_entries(reads: Reads, entries: Sequence[LoggedEntry]) -> list[Named]:
    """The names for each of the entries, in their order."""

    def told(field: str) -> set[str]:
        return {str(one.fields[field]) for one in entries if field in one.fields}

    people = subjects_of(reads, told("actor"))
    numbers = _names(reads, cases.c.id, cases.c.number, told("case"))
    files = _names(reads, bundles.c.id, bundles.c.file_name, told("bundle"))
    reasons = reasons_of(reads, told("subject"))
    return [
        Named(
            actor=None if one.redacted_at else people.get(one.fields["actor"]),
            case=numbers.get(one.fields.get("case", "")),
            file_name=None if one.redacted_at else files.get(one.fields.get("bundle", "")),
            grant_reason=None if one.redacted_at else reasons.get(one.fields.get("subject", "")),
        )
        for one in entries
    ]


def subjects_of(reads: Reads, ids: Iterable[str]) -> dict[str, str]:
    """What their issuers call these actors; who was forgotten is called nothing (`custody.redacting`)."""
    named = _names(reads, actors.c.id, actors.c.subject, ids)
    return {id_: subject for id_, subject in named.items() if subject != id_}


def reasons_of(reads: Reads, ids: Iterable[str]) -> dict[str, str]:
    """Why these grants were taken, of those whose reason is on record still."""
    return _names(reads, grants.c.id, grants.c.reason, ids)


def _names(reads: Reads, id_: Column[str], name: Column[str], ids: Iterable[str]) -> dict[str, str]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    named: Any = select(id_.label("id"), name.label("called")).where(id_.in_(wanted))
    return {row.id: row.called for row in reads.execute(named) if row.called}
