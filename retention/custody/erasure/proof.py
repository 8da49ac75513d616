"""The end of an erasure (P5): each bundle's tombstone and, with the last, the proof and its receipt.

Everything recorded here is true already: the data key is destroyed and absence was verified
(`erasure_steps.erase_bundle`). The same commit removes the names that the data had: from the tombstone, and from the
particulars of entries about the bundle (`_FORGOTTEN`). Particulars are removed whole, because one salted hash binds
them: from then on only the leaf's opaque actor tells who it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update

from audit.entry import Action, Entry
from audit.log.append import redaction
from audit.log.tables import audit_entries
from audit.times import rfc3339
from retention.custody import receipts
from retention.custody.context import about, about_bundle, entry
from retention.custody.failed_work import UNTRIED, failed_before
from retention.domain.actor import CLOCK, Actor
from retention.domain.bundle import BundleState
from retention.domain.receipt import ERASURE, body_hash
from retention.records.tables import bundles, cases, erasure_bundles, erasures, parts, staged_blocks
from retention.records.unit_of_work import Transaction

_FORGOTTEN: Mapping[Action, frozenset[str]] = {
    Action.UPLOAD_CREATED: frozenset({"file_name"}),
    Action.BUNDLE_OPENED: frozenset({"file", "search"}),
    Action.BUNDLE_LISTED: frozenset({"inside"}),
    Action.BUNDLE_MOVED: frozenset({"reason"}),
}
"""The entries about a bundle whose particulars are removed with it if they hold one of these: names of files in it,
what was searched for in it, and words about it alone. Reasons of grants, erasures and reports are about a case or a
request, and stay."""
METHOD = "data key destroyed; objects deleted; absence verified"


def with_case() -> Any:
    """Select erasures with their case's number, as shown to callers."""
    return select(erasures, cases.c.number).join_from(erasures, cases, isouter=True)


def bundle_entry(
    actor: Actor, action: Action, now: datetime, bundle: Row[Any], erasure: str, details: dict[str, Any]
) -> Entry:
    """Make an entry about one bundle of an erasure."""
    return entry(actor, action, now, **about_bundle(bundle), subject=erasure, details=details)


def record_erased(tx: Transaction, bundle_id: str, now: datetime) -> None:
    """* Record that the bundle is erased; with its last bundle an erasure is proven."""
    bundle = tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
    if bundle.state != BundleState.ERASING:
        return
    # The tombstone keeps sizes, digests and times; words written by people are removed.
    stone = {
        "state": BundleState.ERASED,
        "erased_at": now,
        "file_name": "",
        "roles": "[]",
        "announced_sha256": None,
        "blob_name": None,
        "blob_facts": None,
        "upload_metadata": None,
        "due_at": None,
        "index_id": None,
        "index_next_at": None,
        **UNTRIED,
    }
    tx.change(update(bundles).where(bundles.c.id == bundle_id).values(stone))
    tx.change(delete(parts).where(parts.c.bundle_id == bundle_id))
    tx.change(delete(staged_blocks).where(staged_blocks.c.bundle_id == bundle_id))
    if named := _naming(tx, bundle_id):
        tx.change(
            redaction([audit_entries.c.entry_id == bindparam("of")], now), [{"of": id_} for id_ in named]
        )
    under = select(erasure_bundles.c.erasure_id).where(erasure_bundles.c.bundle_id == bundle_id)
    for erasure_id in tx.execute(under).scalars().all():
        details = {"cause": bundle.erased_cause, "size": bundle.offset, "method": METHOD}
        details |= failed_before(bundle)
        tx.audit(bundle_entry(CLOCK, Action.BUNDLE_ERASED, now, bundle, erasure_id, details))
        prove(tx, erasure_id, now)


def _naming(tx: Transaction, bundle_id: str) -> list[str]:
    """Return the entries whose particulars hold a name that is removed with the bundle."""
    e = audit_entries.c
    told = e.bundle == bundle_id, e.action.in_(list(_FORGOTTEN)), e.particulars.is_not(None)
    beside = tx.execute(select(e.entry_id, e.action, e.particulars).where(*told))
    return [
        row.entry_id for row in beside if _FORGOTTEN[Action(row.action)] & json.loads(row.particulars).keys()
    ]


def prove(tx: Transaction, erasure_id: str, now: datetime) -> None:
    """* Record the erasure as proven if its last bundle is erased; the receipt's hash stands in that entry's leaf."""
    joined = select(bundles).join(erasure_bundles, erasure_bundles.c.bundle_id == bundles.c.id)
    under = joined.where(erasure_bundles.c.erasure_id == erasure_id)
    pending = erasures.c.id == erasure_id, erasures.c.proven_at.is_(None)
    # One remaining bundle is enough to know: all are read once, at the end, not for each.
    left = under.where(bundles.c.state != BundleState.ERASED).with_only_columns(bundles.c.id).limit(1)
    if tx.execute(left).first() is not None:
        return
    if not tx.change(update(erasures).where(*pending).values(proven_at=now)):
        return
    held = tx.execute(under.order_by(bundles.c.id)).all()
    erasure = tx.execute(with_case().where(erasures.c.id == erasure_id)).one()
    body = receipts.body(_receipt(erasure, held))
    proven = entry(
        CLOCK,
        Action.ERASURE_PROVEN,
        now,
        **about(erasure),
        subject=erasure_id,
        details={"bundles": len(held), "receipt": body_hash(body)},
    )
    tx.audit(proven)
    receipts.keep(tx, erasure_id, ERASURE, body, proven.id, now)


def _receipt(erasure: Row[Any], held: Sequence[Row[Any]]) -> dict[str, Any]:
    return {
        "format": ERASURE,
        "erasure": erasure.id,
        "confirmation": erasure.confirmation,
        "scope": erasure.scope,
        "cause": erasure.cause,
        "case": erasure.number or "",
        "requested_at": rfc3339(erasure.requested_at),
        "proven_at": rfc3339(erasure.proven_at),
        "method": METHOD,
        "bundles": [
            {
                "bundle": bundle.id,
                "size": bundle.offset,
                "sha256": bundle.sha256 or "",
                "manifest": bundle.manifest or "",
                "erased_at": rfc3339(bundle.erased_at),
            }
            for bundle in held
        ],
    }
