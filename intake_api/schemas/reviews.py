"""Reviews of grants that are over."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, PageQuery, Word, page_of
from retention.domain.approval import MAX_NOTE_CHARACTERS
from retention.domain.review import OPEN, Verdict

STATES = (OPEN, *(str(verdict) for verdict in Verdict))


class ReviewQuery(PageQuery):
    case = Word(load_default=None)
    state = fields.String(load_default=OPEN, validate=validate.OneOf(STATES))


class NewReview(ma.Schema):
    verdict = fields.String(required=True, validate=validate.OneOf([str(verdict) for verdict in Verdict]))
    note = Word(
        load_default=None,
        longest=MAX_NOTE_CHARACTERS,
        lines=True,
        metadata={"description": "required for a question: what is in question"},
    )


class Review(ma.Schema):
    grant = fields.String(attribute="id")
    case = fields.String(attribute="number", metadata={"description": "the case's number"})
    engineer = fields.String(attribute="subject")
    reason = fields.String()
    granted_at = Moment()
    over_at = Moment(metadata={"description": "when the grant ended, or expired"})
    end_cause = fields.String()
    approval = fields.String(allow_none=True, metadata={"description": "the request that was approved"})
    state = fields.String(
        metadata={"description": "`open`, `questioned`, `signed-off`; `altered`: not as the service wrote it"}
    )
    reviewed_at = Moment(allow_none=True)
    reviewer = fields.String(allow_none=True)
    note = fields.String(attribute="review_note", allow_none=True)


class ReviewInFull(Review):
    asked_at = Moment(allow_none=True)
    approved_by = fields.String(dump_default=None, allow_none=True)
    approved_at = Moment(dump_default=None, allow_none=True)
    approval_note = fields.String(dump_default=None, allow_none=True)
    reads = fields.Integer(metadata={"description": "openings and listings"})
    bundles = fields.Integer()
    files = fields.Integer(
        metadata={"description": "files inside bundles, by the names that are still known"}
    )
    bytes = fields.Integer(metadata={"description": "handed over, in all"})
    cut = fields.Integer(metadata={"description": "reads that ended early"})
    first_at = Moment(allow_none=True)
    last_at = Moment(allow_none=True)


ReviewPage = page_of(Review, "ReviewPage")
