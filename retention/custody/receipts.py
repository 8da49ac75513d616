"""Receipts: custody's acts, signed, and provable to somebody who does not trust us (P5).

- A receipt's body is canonical JSON. Its SHA-256 stands in the leaf of the entry that it belongs to, so an inclusion
  proof of that leaf proves that this very body was logged. `retention.domain.receipt` checks it.
- The signature is a C2SP signed note over the body, by the service's receipt key. The clock signs, beside the log:
  processes that serve callers hold no key. It signs only a body whose hash the leaf names, and keeps the note with the
  receipt.
- A receipt is handed out once it is signed and its entry is in the tree, under a checkpoint: seconds after the fact.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from audit.entry import canonical
from audit.log.append import LoggedEntry, UnknownEntryError, latest_note, read_entry
from audit.tlog.checkpoint import Checkpoint, Signer, sign_note
from audit.tlog.proofs import prove_inclusion
from retention.custody.context import Custody
from retention.domain.bundle import BundleState
from retention.domain.faults import Conflict, CustodyError, NotFound, Unavailable
from retention.domain.receipt import body_hash
from retention.records.tables import UNSIGNED, bundles, receipts
from retention.records.unit_of_work import Records, Transaction

LOG = logging.getLogger(__name__)
SIGNED_AT_ONCE = 500
_NOT_SIGNED = ""
"""The note of a receipt whose body is not the one that its entry names: it is never signed."""


def body(fields: Mapping[str, Any]) -> str:
    """Return the canonical text of a receipt."""
    return canonical(fields).decode()


def keep(tx: Transaction, subject_id: str, kind: str, text: str, entry_id: str, now: datetime) -> None:
    """Record a receipt in the transaction of the entry that it belongs to."""
    row = {"subject_id": subject_id, "kind": kind, "body": text, "entry_id": entry_id, "issued_at": now}
    tx.change(insert(receipts).values(row))


def hand_out(custody: Custody, subject_id: str) -> dict[str, Any]:
    """Return the signed receipt of a bundle or an erasure, with its leaf and inclusion proof, for `receipt.check`.

    For a bundle also its present state, unsigned: a receipt tells what was received. NotFound while there is none;
    Conflict (`not-sequenced`) until the tree holds its entry, a matter of seconds, and (`bundle-damaged`) if there will
    never be one.
    """
    with custody.records.read() as reads:
        row = reads.execute(select(receipts).where(receipts.c.subject_id == subject_id)).first()
        state = reads.execute(select(bundles.c.state).where(bundles.c.id == subject_id)).scalar()
        if row is None:
            raise _no_receipt(subject_id, state)
        logged = read_entry(reads, row.entry_id)
        note = latest_note(reads)
    if row.note is None:
        raise Conflict(
            f"the receipt of {subject_id} is not signed yet; ask again in a few seconds",
            reason="not-sequenced",
        )
    if row.note == _NOT_SIGNED:
        raise Unavailable(
            f"the receipt of {subject_id} on record is not the one that the log names: it was changed, and will not be "
            "signed; tell the operator of the service",
            reason="receipt-differs",
        )
    now = {} if state is None else {"state": state}
    return {"receipt": json.loads(row.body), "note": row.note, **prove(custody, logged, note), **now}


def _no_receipt(subject_id: str, state: str | None) -> CustodyError:
    if state != BundleState.DAMAGED:
        return NotFound(
            f"there is no receipt of {subject_id} (yet): it is issued when the work is proven", kind="receipt"
        )
    return Conflict(
        f"bundle {subject_id} is damaged: the stored bytes are not those that were sent, so it has no receipt; have it "
        "erased, and send it again",
        reason="bundle-damaged",
    )


def sign_waiting(records: Records, signer: Signer, most: int = SIGNED_AT_ONCE) -> int:
    """Sign up to `most` unsigned receipts; return how many were looked at. For the clock; repeatable."""
    waiting = select(receipts).where(UNSIGNED).order_by(receipts.c.issued_at).limit(most)
    with records.read() as reads:
        rows = reads.execute(waiting).all()
        bound = {row.subject_id for row in rows if _is_bound(reads, row)}
    notes = [
        {
            "of": row.subject_id,
            "signed": sign_note(row.body + "\n", signer) if row.subject_id in bound else _NOT_SIGNED,
        }
        for row in rows
    ]
    for row in rows:
        if row.subject_id not in bound:
            LOG.error("the receipt of %s is not the one that the log names: not signing it", row.subject_id)
    if notes:
        of = update(receipts).where(receipts.c.subject_id == bindparam("of"), UNSIGNED)
        records.write(lambda tx: tx.change(of.values(note=bindparam("signed")), notes))
    return len(notes)


def _is_bound(reads: Connection, row: Row[Any]) -> bool:
    try:
        details = read_entry(reads, row.entry_id).fields.get("details", {})
    except UnknownEntryError:
        return False
    return bool(details.get("receipt") == body_hash(row.body))


def prove(custody: Custody, logged: LoggedEntry, note: str | None) -> dict[str, str]:
    """Return an entry's leaf, in base64, and the proof that the tree under `note` holds it; Conflict until it does."""
    size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size if note else 0
    if note is None or logged.leaf_index is None or logged.leaf_index >= size:
        raise Conflict("the entry is not in the tree yet; ask again in a few seconds", reason="not-sequenced")
    proof = prove_inclusion(custody.tiles, logged.leaf_index, note).text()
    return {"leaf": base64.b64encode(logged.leaf).decode(), "proof": proof}
