"""Staged blocks: committed by a block list, listed, or given up. See `block_staging`.

Rules:
- A commit is one transaction: it makes the listed blocks parts, in the list's order, gives the bundle its size and
  collection, and forgets every other block. `completion.finish_upload` follows, as after the last byte of any upload;
  if the process dies in between, the sweep does it.
- The empty list makes an empty blob, and drops what was staged under its name. As in Azure, a client that finds
  another's blocks there starts the name over this way.
- Committing the same list again gets the same response as the first time: a client may have lost that one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, TextClause, delete, func, insert, select, update

from audit.entry import Action
from retention.custody.access.bound_access import check_row, put_in
from retention.custody.context import Refusal, commit, entry, refuse
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.custody.resending import sent_again
from retention.custody.uploads.block_staging import (
    ONE_SHOT,
    StagedBlock,
    Through,
    begin_blob,
    blob_complete,
    find_blob,
    is_empty,
    plan,
)
from retention.custody.uploads.completion import finish_upload
from retention.custody.uploads.declaration import check_deadline, refuse_unkeepable
from retention.domain import row_tag
from retention.domain.bundle import BundleState, Collection
from retention.domain.faults import Conflict, NotFound, TooLarge
from retention.domain.upload_link import Declared
from retention.records.queries import refresh_due
from retention.records.tables import NAMED, bundles, parts, staged_blocks
from retention.records.unit_of_work import Transaction


class BlockKind(StrEnum):
    """The place where a list's entry looks for its block."""

    COMMITTED = "Committed"
    UNCOMMITTED = "Uncommitted"
    LATEST = "Latest"


Wanted = tuple[BlockKind, str]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A blob's blocks: (block id, length)."""

    blob: Row[Any]
    committed: Sequence[tuple[str, int]]
    uncommitted: Sequence[tuple[str, int]]


def commit_blocks(
    through: Through, blob_name: str, wanted: Sequence[Wanted], declared: Declared, facts: Mapping[str, Any]
) -> Row[Any]:
    """Make the blob of the listed blocks, in this order; `facts` are the sender's, returned with it. An empty list
    makes an empty blob."""
    if not wanted:  # the only commit that may begin a blob
        refuse_unkeepable(through.custody)

    def work(tx: Transaction) -> str | Refusal:
        bundle = find_blob(tx, through.link.row.id, blob_name)
        if bundle is None and wanted:
            raise Conflict(
                f"none of the {len(wanted)} listed blocks was uploaded: this blob has no blocks",
                reason="block-list",
            )
        if bundle is None:
            begun = begin_blob(tx, through, blob_name, declared)
            if isinstance(begun, Refusal):
                return begun
            bundle = begun
        if bundle.state != BundleState.STAGING:
            return _same_again(tx, bundle, wanted)
        return _commit(tx, through, bundle, wanted, declared, facts)

    bundle_id = commit(through.custody, work)  # * the blob is whole from here
    finish_upload(through.custody, through.actor, bundle_id)
    with through.custody.records.read() as reads:
        return reads.execute(select(bundles).where(bundles.c.id == bundle_id)).one()


def commit_one(
    through: Through, block: StagedBlock, blob_name: str, declared: Declared, facts: Mapping[str, Any]
) -> Row[Any]:
    """Commit a blob that came in one piece."""
    return commit_blocks(through, blob_name, [(BlockKind.LATEST, block.block_id)], declared, facts)


def _same_again(tx: Transaction, bundle: Row[Any], wanted: Sequence[Wanted]) -> str:
    rows = tx.execute(select(parts.c.block_id).where(parts.c.bundle_id == bundle.id).order_by(parts.c.number))
    staged_anew = any(kind is BlockKind.UNCOMMITTED for kind, _ in wanted)
    if staged_anew or [block_id for _, block_id in wanted] != list(rows.scalars()):
        raise blob_complete(bundle.id)
    return str(bundle.id)


def _commit(
    tx: Transaction,
    through: Through,
    bundle: Row[Any],
    wanted: Sequence[Wanted],
    declared: Declared,
    facts: Mapping[str, Any],
) -> str | Refusal:
    now = through.custody.clock.now()
    chosen = _choose(tx, bundle.id, wanted)
    size, most = sum(row.length for row in chosen), through.custody.limits.max_bundle_size
    if size > most:
        raise TooLarge(f"the listed blocks have {size} bytes; a bundle can have at most {most}", limit=most)
    planned = plan(tx, through, bundle.blob_name, declared, bundle.created_at, size)
    if isinstance(planned, Refusal):
        return planned
    collection, case_id = planned
    custody, name = through.custody, collection.file_name
    if again := sent_again(tx, custody, bundle.stamp_id, name, size, collection.sha256, now):
        ids = {"tenant": bundle.tenant_id, "case": bundle.case_id, "bundle": bundle.id}
        return refuse(tx, through.actor, Action.UPLOAD_CONTINUED, now, again, **ids)
    case_id = bundle.case_id or case_id  # a case that claimed it meanwhile keeps it
    check_deadline(tx, case_id, now)
    _place(tx, bundle.id, chosen, now)
    row = {**_collected(collection), "state": BundleState.RECEIVING, "offset": size}
    if case_id != bundle.case_id and case_id is not None:
        check_row(through.custody.binding, row_tag.BUNDLE, bundle)
        row |= put_in(through.custody.binding, bundle, case_id)
    of = bundles.c.id == bundle.id
    tx.change(update(bundles).where(of).values({**row, "size": size, "blob_facts": json.dumps(dict(facts))}))
    refresh_due(tx, of)
    tx.audit(
        entry(
            through.actor,
            Action.UPLOAD_CONTINUED,
            now,
            tenant=bundle.tenant_id,
            case=case_id,
            bundle=bundle.id,
            subject=through.link.row.id,
            details={
                "from": 0,
                "to": size,
                "of": size,
                "blocks": len(chosen),
                "type": collection.type.value,
                "window": "declared" if declared.window_known else "assumed",
            },
        )
    )
    return str(bundle.id)


def _choose(tx: Transaction, bundle_id: str, wanted: Sequence[Wanted]) -> list[Row[Any]]:
    """Return the staged block of each entry; a block can be listed once."""
    staged = tx.execute(select(staged_blocks).where(staged_blocks.c.bundle_id == bundle_id))
    held = {row.block_id: row for row in staged}
    ids = [block_id for kind, block_id in wanted if kind is not BlockKind.COMMITTED]
    known = [held[block_id] for block_id in ids if block_id in held]
    if len(known) != len(wanted):
        raise Conflict(
            f"{len(wanted) - len(known)} of the {len(wanted)} listed blocks are not among the uncommitted ones",
            reason="block-list",
        )
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise Conflict(f"the list names block {twice!r} twice; list each block once", reason="block-list")
    return known


def _place(tx: Transaction, bundle_id: str, chosen: Sequence[Row[Any]], now: datetime) -> None:
    """Make the chosen blocks the bundle's parts, end to end; forget every other block."""
    offset, rows = 0, []
    for number, block in enumerate(chosen):
        rows.append(
            {
                "bundle_id": bundle_id,
                "number": number,
                "part_id": block.part_id,
                "offset": offset,
                "length": block.length,
                "digest": block.digest,
                "recorded_at": now,
                "block_id": block.block_id,
                "framing": block.framing,
            }
        )
        offset += block.length
    if rows:
        tx.change(insert(parts), rows)
    tx.change(delete(staged_blocks).where(staged_blocks.c.bundle_id == bundle_id))


def _collected(c: Collection) -> dict[str, Any]:
    """Return the collection's columns, as declared with the commit."""
    return {
        "type": c.type,
        "send_logs_now": c.send_logs_now,
        "logs_start": c.logs_start,
        "logs_end": c.logs_end,
        "time_collected": c.time_collected,
        "trigger": c.trigger,
        "roles": json.dumps(list(c.roles)),
        "announced_sha256": c.sha256,
    }


def get_blob(through: Through, blob_name: str) -> Row[Any]:
    """Return a committed blob. NotFound, also while it has only uncommitted blocks."""
    with through.custody.records.read() as reads:
        found = find_blob(reads, through.link.row.id, blob_name)
    if found is None or found.state == BundleState.STAGING:
        raise NotFound("there is no such blob", kind="blob")
    return found


def list_blocks(through: Through, blob_name: str) -> Blocks:
    """Return a blob's blocks: the committed ones in order, the others by id."""
    with through.custody.records.read() as reads:
        found = find_blob(reads, through.link.row.id, blob_name)
        if found is None:
            raise NotFound("there is no such blob", kind="blob")
        done = select(parts.c.block_id, parts.c.length).where(parts.c.bundle_id == found.id)
        waiting = select(staged_blocks.c.block_id, staged_blocks.c.length).where(
            staged_blocks.c.bundle_id == found.id
        )
        committed = reads.execute(done.order_by(parts.c.number)).all()
        uncommitted = reads.execute(waiting.order_by(staged_blocks.c.block_id)).all()
    return Blocks(found, _clients(committed), _clients(uncommitted))


def _clients(rows: Any) -> list[tuple[str, int]]:
    return [(row.block_id, row.length) for row in rows if not row.block_id.startswith(ONE_SHOT)]


def list_blobs(
    through: Through,
    prefix: str,
    after: str | None,
    limit: int,
    *,
    uncommitted: bool = False,
    start: str = "",
) -> Sequence[Row[Any]]:
    """Return up to `limit` blobs of the link, by name: those that begin with `prefix`, come after `after` and not
    before `start`."""
    name = bundles.c.blob_name
    wanted: list[ColumnElement[bool] | TextClause] = [bundles.c.link_id == through.link.row.id, NAMED]
    if not uncommitted:
        wanted.append(bundles.c.state != BundleState.STAGING)
    if prefix:  # not LIKE: SQLite's ignores case
        wanted.append(func.substr(name, 1, len(prefix)) == prefix)
    if start:
        wanted.append(name >= start)
    if after is not None:
        wanted.append(name > after)
    with through.custody.records.read() as reads:
        return reads.execute(select(bundles).where(*wanted).order_by(name).limit(limit)).all()


def give_up_blob(through: Through, blob_name: str) -> None:
    """Erase a blob that was never committed, or an empty one. Conflict for a complete one: the customer has that
    erased."""
    now = through.custody.clock.now()

    def work(tx: Transaction) -> None:
        found = find_blob(tx, through.link.row.id, blob_name)
        if found is None:
            raise NotFound("there is no such blob", kind="blob")
        if found.state != BundleState.STAGING and not is_empty(found):
            raise Conflict(f"this blob is complete: have bundle {found.id} erased", reason="blob-complete")
        of_bundle = {"tenant": found.tenant_id, "case": found.case_id, "bundle": found.id}
        terminated = entry(through.actor, Action.UPLOAD_TERMINATED, now, **of_bundle)
        tx.audit(terminated)
        start(tx, through.actor, [found], found.tenant_id, found.case_id, BUNDLE, "upload-terminated", now)

    through.custody.records.write(work)
