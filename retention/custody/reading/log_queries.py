"""The log, shown to those allowed to see it: by page, exported, proven, with names for its ids.

Rules:
- Auditors see all entries; a customer's operator those of their own tenant, so every access to their cases; nobody
  else sees any. A refusal is an entry.
- Looking is an entry too: its particulars hold what was asked for, and nothing is shown before it is durable. The
  same question of a person within ten minutes (its further pages, a page that refreshes itself) is counted
  (`custody.counted_entries`); an export always has an entry of its own.
- Hash tiles, checkpoints and proofs of growth tell nothing about anybody: they need no role.
- Names for an entry's ids (the actor, the case's number, the bundle's file, the grant's reason) come from the records
  as they are now. A name redacted there, or erased with its bundle, is gone. An entry that was redacted itself has none
  but the case's number, which names nobody.
- The leaves name nobody: names are shown beside an entry only to those allowed to see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, or_, select

from audit.entry import Action, Outcome
from audit.log import query
from audit.log.append import LoggedEntry, UnknownEntryError, latest_note, read_entry
from audit.log.export import EXPORTS
from audit.log.query import Filter
from audit.log.tables import audit_checkpoints
from audit.tlog.merkle import ProofError
from audit.tlog.proofs import prove_consistency
from audit.tlog.tile_store import CHECKPOINT_PATH, COSIGNED_PATH, TileMissingError
from retention.custody.context import Custody, commit, entry, refuse, unseen
from retention.custody.counted_entries import ASKED
from retention.custody.receipts import prove
from retention.domain.actor import Actor, Role
from retention.domain.faults import Invalid, NotFound
from retention.domain.grants import Denied
from retention.domain.ids import one_spelling
from retention.records.tables import actors, bundles, cases, grants
from retention.records.unit_of_work import Reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The names for an entry's ids; None where there is no such thing, or it no longer has a name."""

    actor: str | None
    case: str | None
    file_name: str | None
    grant_reason: str | None


def name_entries(reads: Reads, entries: Sequence[LoggedEntry]) -> list[Named]:
    """Return the names for each of the entries, in order."""

    def ids(field: str) -> set[str]:
        return {str(one.fields[field]) for one in entries if field in one.fields}

    people = subjects_of(reads, ids("actor"))
    numbers = _names(reads, cases.c.id, cases.c.number, ids("case"))
    files = _names(reads, bundles.c.id, bundles.c.file_name, ids("bundle"))
    reasons = reasons_of(reads, ids("subject"))
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
    """Return these actors' names at their issuers; a forgotten actor has none (`custody.redaction`)."""
    named = _names(reads, actors.c.id, actors.c.subject, ids)
    return {id_: subject for id_, subject in named.items() if subject != id_}


def reasons_of(reads: Reads, ids: Iterable[str]) -> dict[str, str]:
    """Return the reasons of these grants that are still on record."""
    return _names(reads, grants.c.id, grants.c.reason, ids)


def _names(reads: Reads, id_: Column[str], name: Column[str], ids: Iterable[str]) -> dict[str, str]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    named: Any = select(id_.label("id"), name.label("called")).where(id_.in_(wanted))
    return {row.id: row.called for row in reads.execute(named) if row.called}


_TILE = re.compile(r"([0-9]{1,2}|entries)/(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The conditions for entries, all of which must hold.

    `case` is the case's number, `actor` an actor's id, or their name at the issuer.
    """

    case: str | None = None
    actor: str | None = None
    action: Action | None = None
    bundle: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def given(self, actors: Sequence[str] | None) -> Mapping[str, str]:
        """Return the conditions as an entry keeps them: `actors` by id, because a name would outlive its removal."""
        named = {name: getattr(self, name) for name in self.__slots__}
        named["actor"] = None if actors is None else " ".join(actors)
        return {f"{ASKED}{name}": str(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Found:
    """A page of entries, each with the names for its ids; `next` is the cursor of the following page."""

    entries: Sequence[tuple[LoggedEntry, Named]]
    next: str | None


def find_entries(custody: Custody, actor: Actor, asked: Asked, cursor: str | None, limit: int) -> Found:
    """Return a page of entries, newest first."""
    where = scope(custody, actor, Action.AUDIT_QUERIED, asked)
    with custody.records.read() as reads:
        page = query.find(reads, where, cursor, limit)
        names = name_entries(reads, page.rows)
    note_look(custody, actor, Action.AUDIT_QUERIED, where, asked, {"entries": len(page.rows)})
    return Found(list(zip(page.rows, names, strict=True)), page.next)


def export_entries(custody: Custody, actor: Actor, asked: Asked, form: str) -> Iterator[str]:
    """Export all matching entries, oldest first, as pieces of text in the form `jsonl`, `csv` or `ocsf`."""
    where = scope(custody, actor, Action.AUDIT_EXPORTED, asked)
    note_look(custody, actor, Action.AUDIT_EXPORTED, where, asked, {"format": form})
    return EXPORTS[form](query.iterate(custody.records.read, where))


def scope(custody: Custody, actor: Actor, action: Action, asked: Asked) -> Filter:
    """Narrow the conditions to what the actor is allowed to see.

    Refused; NotFound for a case that they are not allowed to see, or an actor without an entry that they are.
    """
    tenant = _tenant(custody, actor, action)
    case_id = None if asked.case is None else _case_id(custody, actor, action, asked.case, tenant)
    by = None if asked.actor is None else _actor_ids(custody, actor, action, asked.actor, tenant)
    return Filter(
        case=case_id,
        actors=by,
        action=asked.action,
        bundle=asked.bundle,
        outcome=asked.outcome,
        tenant=tenant,
        since=asked.since,
        until=asked.until,
    )


def _case_id(custody: Custody, actor: Actor, action: Action, number: str, tenant: str | None) -> str:
    held = [cases.c.number == number, *([cases.c.tenant_id == tenant] if tenant else [])]
    with custody.records.read() as reads:
        found = reads.execute(select(cases.c.id).where(*held)).scalar()
    if found is not None:
        return str(found)
    now = custody.clock.now()
    return commit(custody, lambda tx: unseen(tx, actor, action, now, "case", number))


def _actor_ids(
    custody: Custody, actor: Actor, action: Action, named: str, tenant: str | None
) -> tuple[str, ...]:
    """Return the ids of the actors with this id or name; several issuers may use the same name."""
    called = or_(actors.c.id == named, actors.c.subject == one_spelling(named))
    with custody.records.read() as reads:
        ids = tuple(reads.execute(select(actors.c.id).where(called)).scalars())
        # The service's own actors (the clock, links) are not on record; an actor without entries is not revealed.
        ids = ids or (named,)
        if query.has_entries(reads, Filter(actors=ids, tenant=tenant)):
            return ids
    now = custody.clock.now()
    return commit(custody, lambda tx: unseen(tx, actor, action, now, "actor", named, keep=False))


def _tenant(custody: Custody, actor: Actor, action: Action) -> str | None:
    """Return the tenant whose entries the actor is allowed to see; None for all of them."""
    if actor.has(Role.AUDITOR):
        return None
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        return actor.tenant
    return _refused(
        custody, actor, action, "only auditors can see the log, and operators their own tenant's part of it"
    )


def _refused(custody: Custody, actor: Actor, action: Action, why: str) -> str:
    now, denied = custody.clock.now(), Denied("role-missing", why)
    return commit(custody, lambda tx: refuse(tx, actor, action, now, denied))


def note_look(
    custody: Custody,
    actor: Actor,
    action: Action,
    where: Filter,
    asked: Asked,
    details: Mapping[str, str | int],
) -> None:
    """Enter a look at the log, for the conditions `asked`, narrowed to `where`. The customer can see the entry if all
    it is about is theirs."""
    now, given = custody.clock.now(), asked.given(where.actors)
    looked = entry(actor, action, now, tenant=where.tenant, details=details, particulars=given)
    if action is Action.AUDIT_EXPORTED:
        custody.records.write(lambda tx: tx.audit(looked))
    else:
        custody.counts.questions.note(custody.records, looked, actor.id)


def prove_entry(custody: Custody, actor: Actor, entry_id: str) -> dict[str, str]:
    """Return an entry's leaf, and the proof that the tree holds it. NotFound if the actor is not allowed to see it."""
    tenant = _tenant(custody, actor, Action.AUDIT_QUERIED)
    with custody.records.read() as reads:
        note = latest_note(reads)
        try:
            logged = read_entry(reads, entry_id)
        except UnknownEntryError:
            logged = None
    if logged is None or (tenant is not None and logged.fields.get("tenant") != tenant):
        now = custody.clock.now()
        return commit(custody, lambda tx: unseen(tx, actor, Action.AUDIT_QUERIED, now, "entry", entry_id))
    return prove(custody, logged, note)


def prove_growth(custody: Custody, old: int, new: int) -> list[bytes]:
    """Prove that the tree of size `new`, that of a published checkpoint, extends the one of size `old`."""
    with custody.records.read() as reads:
        published = reads.execute(
            select(audit_checkpoints.c.size).where(audit_checkpoints.c.size == new)
        ).first()
    if published is None:
        raise Invalid(
            f"no published checkpoint has size {new}", {"to": "must be the size of a published checkpoint"}
        )
    try:
        return prove_consistency(custody.tiles, old, new)
    except ProofError as error:
        raise Invalid(
            f"there is no proof from size {old} to {new}: {error}",
            {"from": f"must be 1 to `to`, which is {new}"},
        ) from None


def read_checkpoint(custody: Custody) -> bytes:
    """Return the newest signed checkpoint."""
    return _published(custody, CHECKPOINT_PATH, "checkpoint")


def read_cosigned(custody: Custody) -> bytes:
    """Return the newest checkpoint that others have cosigned, with their signatures below ours."""
    return _published(custody, COSIGNED_PATH, "cosigned checkpoint")


def read_hash_tile(custody: Custody, path: str) -> bytes:
    """Return a tile of hashes, by its C2SP path below `tile/`."""
    return _published(custody, _tile_path(path), "tile")


def read_entries_tile(custody: Custody, actor: Actor, path: str) -> bytes:
    """Return a tile of leaves, as a mirror copies it. Role: auditor."""
    if not actor.has(Role.AUDITOR):
        _refused(custody, actor, Action.AUDIT_EXPORTED, "only auditors can read the leaves of the log")
    return _published(custody, _tile_path(f"entries/{path}"), "tile")


def _tile_path(path: str) -> str:
    if not _TILE.fullmatch(path):
        raise NotFound(f"{path[:64]!r} is not the path of a tile", kind="tile")
    return f"tile/{path}"


def _published(custody: Custody, path: str, kind: str) -> bytes:
    try:
        return custody.tiles.get(path)
    except TileMissingError:
        raise NotFound(f"there is no such {kind} (yet)", kind=kind) from None
