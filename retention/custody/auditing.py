"""The log, shown to those who may see it: found by page, exported, proven.

Rules:
- Auditors see all entries; a customer's operator those of their own tenant, so every access to their cases; nobody
  else sees any. A refusal is an entry.
- Looking is an entry too: what was asked for stands beside it, and nothing is shown before it is durable.
- Hash tiles, checkpoints and proofs of growth tell nothing about anybody: they need no role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select

from audit import query
from audit.entry import Action, Outcome
from audit.export import EXPORTS
from audit.log import LoggedEntry, UnknownEntryError, latest_note, read_entry
from audit.merkle import ProofError
from audit.proofs import prove_consistency
from audit.query import Filter
from audit.tables import audit_checkpoints
from audit.tiles import CHECKPOINT_PATH, COSIGNED_PATH, TileMissingError
from retention.actor import Actor, Role
from retention.custody.context import Custody, commit, entry, refuse, unseen
from retention.custody.entry_names import Named, name_entries
from retention.custody.receipts import prove
from retention.errors import Invalid, NotFound
from retention.grants import Denied
from retention.ids import one_spelling
from retention.records.tables import actors, cases

_TILE = re.compile(r"([0-9]{1,2}|entries)/(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What entries are wanted; `case` is the case's number, `actor` an actor's id, or what their issuer calls them.

    Every condition given must hold.
    """

    case: str | None = None
    actor: str | None = None
    action: Action | None = None
    bundle: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def given(self, actors: Sequence[str] | None) -> Mapping[str, str]:
        """The conditions given, as an entry keeps them: `actors` by ids, for a name would outlive who it names."""
        named = {name: getattr(self, name) for name in self.__slots__}
        named["actor"] = None if actors is None else " ".join(actors)
        return {f"asked_{name}": str(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Found:
    """A page of entries, each with what people call what it names; `next` is the cursor of the following page."""

    entries: Sequence[tuple[LoggedEntry, Named]]
    next: str | None


def find_entries(custody: Custody, actor: Actor, asked: Asked, cursor: str | None, limit: int) -> Found:
    """A page of entries, newest first."""
    where = scope(custody, actor, Action.AUDIT_QUERIED, asked)
    with custody.records.read() as reads:
        page = query.find(reads, where, cursor, limit)
        names = name_entries(reads, page.rows)
    note_look(custody, actor, Action.AUDIT_QUERIED, where, asked, {"entries": len(page.rows)})
    return Found(list(zip(page.rows, names, strict=True)), page.next)


def export_entries(custody: Custody, actor: Actor, asked: Asked, form: str) -> Iterator[str]:
    """All of them, oldest first, as pieces of text in the form `jsonl`, `csv` or `ocsf`."""
    where = scope(custody, actor, Action.AUDIT_EXPORTED, asked)
    note_look(custody, actor, Action.AUDIT_EXPORTED, where, asked, {"format": form})
    return EXPORTS[form](query.iterate(custody.records.read, where))


def scope(custody: Custody, actor: Actor, action: Action, asked: Asked) -> Filter:
    """The conditions, narrowed to what the actor is allowed to see.

    Refused, or NotFound for a case that is not theirs to see, and for an actor without an entry that is.
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
    """The ids of whoever is called so; several issuers may call somebody the same."""
    called = or_(actors.c.id == named, actors.c.subject == one_spelling(named))
    with custody.records.read() as reads:
        ids = tuple(reads.execute(select(actors.c.id).where(called)).scalars())
        # The service's own actors (the clock, links) are on no record; and who did nothing here is nobody's to know.
        ids = ids or (named,)
        if query.has_entries(reads, Filter(actors=ids, tenant=tenant)):
            return ids
    now = custody.clock.now()
    return commit(custody, lambda tx: unseen(tx, actor, action, now, "actor", named, keep=False))


def _tenant(custody: Custody, actor: Actor, action: Action) -> str | None:
    """The tenant whose entries the actor may see; None for all of them."""
    if actor.has(Role.AUDITOR):
        return None
    if actor.has(Role.OPERATOR) and actor.tenant is not None:
        return actor.tenant
    return _refused(custody, actor, action, "only auditors, and operators for their own tenant, see the log")


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
    """Enter that somebody looks at the log: at what was `asked` for, which came to `where`. The entry is the customer's
    to see when all that it is about is theirs."""
    now, given = custody.clock.now(), asked.given(where.actors)
    looked = entry(actor, action, now, tenant=where.tenant, details=details, particulars=given)
    custody.records.write(lambda tx: tx.audit(looked))


def prove_entry(custody: Custody, actor: Actor, entry_id: str) -> dict[str, str]:
    """An entry's leaf, and the proof that it stands in the tree. NotFound when it is not the actor's to see."""
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
    """That the tree of `new`, the size of a published checkpoint, extends that of `old`."""
    with custody.records.read() as reads:
        published = reads.execute(
            select(audit_checkpoints.c.size).where(audit_checkpoints.c.size == new)
        ).first()
    if published is None:
        raise Invalid("no checkpoint has this size", {"to": "must be the size of a published checkpoint"})
    try:
        return prove_consistency(custody.tiles, old, new)
    except ProofError as error:
        raise Invalid(f"there is no such proof: {error}", {"from": "must be 1 to `to`"}) from None


def read_checkpoint(custody: Custody) -> bytes:
    """The newest checkpoint, signed."""
    return _published(custody, CHECKPOINT_PATH, "checkpoint")


def read_cosigned(custody: Custody) -> bytes:
    """The newest checkpoint that others have cosigned, with their signatures below ours."""
    return _published(custody, COSIGNED_PATH, "cosigned checkpoint")


def read_hash_tile(custody: Custody, path: str) -> bytes:
    """A tile of hashes, by its C2SP path below `tile/`."""
    return _published(custody, _tile_path(path), "tile")


def read_entries_tile(custody: Custody, actor: Actor, path: str) -> bytes:
    """A tile of leaves, for auditors: what a mirror copies."""
    if not actor.has(Role.AUDITOR):
        _refused(custody, actor, Action.AUDIT_EXPORTED, "only auditors read the leaves")
    return _published(custody, _tile_path(f"entries/{path}"), "tile")


def _tile_path(path: str) -> str:
    if not _TILE.fullmatch(path):
        raise NotFound("there is no such tile", kind="tile")
    return f"tile/{path}"


def _published(custody: Custody, path: str, kind: str) -> bytes:
    try:
        return custody.tiles.get(path)
    except TileMissingError:
        raise NotFound(f"there is no such {kind} (yet)", kind=kind) from None
