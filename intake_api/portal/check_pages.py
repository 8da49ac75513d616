"""Proofs, checked in the page: what is to be checked, and where its script finds it.

The page's script verifies (`assets/verify.js`): receipts, entries and the growth of the tree, against the keys that its
reader pinned. The service is asked for the document alone, and could be away for one from a file.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote

from flask import Response, jsonify, request

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.portal import forms, page
from intake_api.schemas.audit import ConsistencyAnswer, ConsistencyQuery, InclusionAnswer, InclusionQuery
from retention.custody.reading import log_queries

FAULTS = ("document", "key", "signature", "text", "leaf", "checkpoint", "tree", "grown")
"""What the script can find wrong, each with a sentence."""
_ADDRESSES = {
    "bundle": "/portal/bundles/{}/receipt",
    "erasure": "/portal/erasures/{}/receipt",
    "entry": "/portal/proofs/inclusion?entry={}",
}


def check() -> Response:
    """Show the page that checks a receipt or an entry; `bundle`, `erasure` or `entry` names one to begin with."""
    asked = ((kind, request.args[kind]) for kind in _ADDRESSES if request.args.get(kind))
    address = next((_ADDRESSES[kind].format(quote(id_, safe="")) for kind, id_ in asked), "")
    return page.show("check.html", address=address, faults=FAULTS)


def inclusion() -> Any:
    """Prove that an entry is in the tree."""
    asked = forms.read(InclusionQuery, request.args)
    proof = log_queries.prove_entry(custody(), caller(), asked["entry"])
    looked_at(subject=asked["entry"])
    return jsonify(InclusionAnswer().dump(proof))


def consistency() -> Any:
    """Prove that the tree of one size goes on from that of an earlier one."""
    asked = forms.read(
        ConsistencyQuery, {}, **{name: forms.whole(value) for name, value in request.args.items()}
    )
    hashes = log_queries.prove_growth(custody(), asked["old"], asked["new"])
    return jsonify(ConsistencyAnswer().dump({**asked, "hashes": [b64encode(one).decode() for one in hashes]}))


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/check", "check", check),
    ("GET", "/proofs/inclusion", "proof_of_inclusion", inclusion),
    ("GET", "/proofs/consistency", "proof_of_growth", consistency),
)
