"""Receipts as they are handed out: only described here, as signed documents are sent as they were kept.

docs/formats.md has their format.
"""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields

from intake_api.schemas.fields import Moment
from retention.domain.receipt import ERASURE, INTAKE

_HEX = {"description": "SHA-256, lower-case hex"}


class IntakeReceiptBody(ma.Schema):
    format = fields.String(required=True, metadata={"const": INTAKE})
    bundle = fields.String(required=True)
    stamp = fields.String(required=True)
    case = fields.String(required=True, metadata={"description": "the case's number, or empty"})
    size = fields.Integer(required=True)
    sha256 = fields.String(required=True, metadata=_HEX)
    manifest = fields.String(required=True, metadata=_HEX)
    seal = fields.String(required=True)
    received_at = Moment(required=True)
    verified_at = Moment(required=True)
    nonce = fields.String(required=True, metadata={"description": "32 hex digits"})


class ErasedBundle(ma.Schema):
    bundle = fields.String(required=True)
    size = fields.Integer(required=True)
    sha256 = fields.String(required=True, metadata={"description": "empty if it was not complete"})
    manifest = fields.String(required=True, metadata={"description": "empty if it was not complete"})
    erased_at = Moment(required=True)


class ErasureReceiptBody(ma.Schema):
    format = fields.String(required=True, metadata={"const": ERASURE})
    erasure = fields.String(required=True)
    confirmation = fields.String(required=True)
    scope = fields.String(required=True)
    cause = fields.String(required=True)
    case = fields.String(required=True, metadata={"description": "the case's number, or empty"})
    requested_at = Moment(required=True)
    proven_at = Moment(required=True)
    method = fields.String(required=True)
    bundles = fields.List(fields.Nested(ErasedBundle), required=True)


class ErasureReceipt(ma.Schema):
    """A receipt with its proof, as `casevault receipts verify` checks it offline."""

    receipt = fields.Nested(ErasureReceiptBody, required=True)
    note = fields.String(
        required=True, metadata={"description": "C2SP signed note over the receipt's canonical JSON"}
    )
    leaf = fields.String(required=True, metadata={"description": "base64 of the audit leaf that binds it"})
    proof = fields.String(required=True, metadata={"description": "C2SP tlog-proof of the leaf"})


class IntakeReceipt(ErasureReceipt):
    receipt = fields.Nested(IntakeReceiptBody, required=True)
    state = fields.String(
        required=True, metadata={"description": "the bundle's present state, which is not signed"}
    )
