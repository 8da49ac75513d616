"""Receipts: what custody did, signed, and provable by somebody who does not trust us (P5).

- A receipt's body is canonical JSON. Its SHA-256 stands in the leaf of the entry that it belongs to, so an inclusion
  proof of that leaf proves that this very body was logged. How it is checked: `retention.receipt`.
- The signature is a C2SP signed note over the body, by the service's receipt key; Ed25519 is deterministic, so the
  receipt handed out tomorrow is the one of today.
- A receipt is handed out when its entry is in the tree and under a checkpoint: seconds after the fact.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from audit.checkpoint import Checkpoint, sign_note
from audit.entry import canonical
from audit.log import LoggedEntry, latest_note, read_entry
from audit.proofs import prove_inclusion
from retention.custody.context import Custody
from retention.errors import Conflict, NotFound
from retention.records.tables import receipts
from retention.records.unit_of_work import Transaction


def body(fields: Mapping[str, Any]) -> str:
    """The canonical text of a receipt."""
    return canonical(fields).decode()


def keep(tx: Transaction, subject_id: str, kind: str, text: str, entry_id: str, now: datetime) -> None:
    """Record a receipt in the transaction of the entry that it belongs to."""
    row = {"subject_id": subject_id, "kind": kind, "body": text, "entry_id": entry_id, "issued_at": now}
    tx.change(insert(receipts).values(row))


def hand_out(custody: Custody, subject_id: str) -> dict[str, Any]:
    """The signed receipt of a bundle or an erasure, with its leaf and inclusion proof: what `receipt.check` takes.

    NotFound while there is none; Conflict (`not-sequenced`) until the tree holds its entry, a matter of seconds.
    """
    with custody.records.read() as reads:
        row = reads.execute(select(receipts).where(receipts.c.subject_id == subject_id)).first()
        if row is None:
            raise NotFound("there is no receipt (yet): it is issued when the work is proven", kind="receipt")
        logged = read_entry(reads, row.entry_id)
        note = latest_note(reads)
    proven = prove(custody, logged, note)
    signed = sign_note(row.body + "\n", custody.receipt_signer)
    return {"receipt": json.loads(row.body), "note": signed, **proven}


def prove(custody: Custody, logged: LoggedEntry, note: str | None) -> dict[str, str]:
    """An entry's leaf, in base64, and the proof that it stands in the tree under `note`; Conflict until it does."""
    size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size if note else 0
    if note is None or logged.leaf_index is None or logged.leaf_index >= size:
        raise Conflict("the entry is not in the tree yet; ask again in a few seconds", reason="not-sequenced")
    proof = prove_inclusion(custody.tiles, logged.leaf_index, note).text()
    return {"leaf": base64.b64encode(logged.leaf).decode(), "proof": proof}
