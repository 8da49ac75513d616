"""Erasures, by their confirmation numbers."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields

from intake_api.schemas.fields import Moment, Word, page_of
from retention.domain.grants import MAX_REASON_CHARACTERS


class ErasureRequest(ma.Schema):
    reason = Word(
        load_default="",
        longest=MAX_REASON_CHARACTERS,
        lines=True,
        metadata={"description": "required of an engineer who requests it for the customer"},
    )


class Report(ma.Schema):
    reason = Word(
        required=True,
        longest=MAX_REASON_CHARACTERS,
        lines=True,
        metadata={"description": "what was found, without repeating it"},
    )


class Erasure(ma.Schema):
    confirmation = fields.String()
    scope = fields.String()
    cause = fields.String()
    case = fields.String(attribute="number", allow_none=True, metadata={"description": "the case's number"})
    requested_at = Moment()
    proven_at = Moment(allow_none=True)
    resend_until = Moment(
        allow_none=True,
        metadata={
            "description": "until then a stamp's file of the same name and size is refused, so that no client resumes "
            "what is erased; null where it can be sent again at once"
        },
    )
    state = fields.Function(
        lambda row: "pending" if row.proven_at is None else "proven", metadata={"type": "string"}
    )


ErasurePage = page_of(Erasure, "ErasurePage")
