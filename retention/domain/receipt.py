"""A receipt as issued, and its offline check. Pure: a document, two verifier keys, no service (P5).

Four steps; each must hold:
1. the note is signed by the receipt key;
2. its text is the receipt shown, byte for byte in canonical form;
3. the leaf is the entry of the act that the receipt documents, and names the SHA-256 of that text;
4. the leaf stands in the tree under a checkpoint signed by the log key (C2SP tlog-proof).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.entry import Action, Outcome, canonical, parse_leaf
from audit.tlog.checkpoint import NoteError, Verifier, open_note
from audit.tlog.merkle import ProofError
from audit.tlog.proofs import InclusionProof, verify_receipt_inclusion

INTAKE = "casevault-intake-receipt-v1"
ERASURE = "casevault-erasure-receipt-v1"
_ACTS = {INTAKE: Action.BUNDLE_VERIFIED, ERASURE: Action.ERASURE_PROVEN}


class ReceiptBroken(ValueError):
    """A document that does not prove what it says; the text says which step failed."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A receipt that passed the check: its fields, the leaf that binds it, and the tree's size at the checkpoint."""

    fields: Mapping[str, Any]
    leaf: Mapping[str, Any]
    leaf_index: int
    tree_size: int


def body_hash(text: str) -> str:
    """Return the hash, in hex, by which a leaf binds a receipt's body."""
    return hashlib.sha256(text.encode()).hexdigest()


def check(document: Mapping[str, Any], receipt_key: Verifier, log_key: Verifier) -> Checked:
    """Return the receipt in `document` if all four steps hold; ReceiptBroken otherwise."""
    try:
        fields, note, proof = document["receipt"], document["note"], document["proof"]
        leaf = base64.b64decode(document["leaf"], validate=True)
        text = canonical(fields).decode()
        signed = open_note(note, receipt_key)  # 1
        parsed = parse_leaf(leaf)
        inclusion = InclusionProof.parse(proof)
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:  # any part of the document is missing or malformed
        raise ReceiptBroken(f"this is not a receipt of this service: {error}") from None
    if signed != text + "\n":  # 2
        raise ReceiptBroken("the receipt shown is not the text that was signed")
    if parsed.get("details", {}).get("receipt") != body_hash(text):  # 3
        raise ReceiptBroken("the audit entry belongs to another receipt")
    try:
        checkpoint = verify_receipt_inclusion(leaf, inclusion, log_key)  # 4
    except (NoteError, ProofError) as error:
        raise ReceiptBroken(f"the audit entry is not proven to be in the log: {error}") from None
    if (parsed["action"], parsed["outcome"]) != (_ACTS.get(fields.get("format")), Outcome.SUCCESS):
        raise ReceiptBroken("the audit entry is not of the act that this receipt documents")
    return Checked(fields, parsed, inclusion.index, checkpoint.size)
