"""Grants, requests for approval, and consents."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, PageQuery, Several, Word, page_of
from retention.domain.approval import MAX_NOTE_CHARACTERS, Rule, State
from retention.domain.grants import DEFAULT_DURATION, MAX_REASON_CHARACTERS

_MINUTES = int(DEFAULT_DURATION.total_seconds()) // 60


class NewGrant(ma.Schema):
    reason = Word(required=True, longest=MAX_REASON_CHARACTERS, lines=True)
    duration_minutes = fields.Integer(load_default=_MINUTES, strict=True, validate=validate.Range(1, 100_000))


class Grant(ma.Schema):
    id = fields.String()
    case = fields.String(attribute="number", metadata={"description": "the case's number"})
    engineer = fields.String(attribute="subject")
    reason = fields.String()
    granted_at = Moment()
    expires_at = Moment()
    ended_at = Moment(allow_none=True)
    end_cause = fields.String(allow_none=True)
    consent = fields.String(attribute="consent_id", allow_none=True)
    live = fields.Boolean()


class Note(ma.Schema):
    note = Word(load_default=None, longest=MAX_NOTE_CHARACTERS, lines=True)


class Approval(ma.Schema):
    id = fields.String()
    case = fields.String(attribute="number", metadata={"description": "the case's number"})
    engineer = fields.String(attribute="subject")
    partner = fields.String(allow_none=True, metadata={"description": "the company of a partner's engineer"})
    reason = fields.String()
    duration_minutes = fields.Integer()
    asked_at = Moment()
    lapses_at = Moment(metadata={"description": "until when the customer can answer"})
    state = fields.String(validate=validate.OneOf([str(state) for state in State]))
    answered_at = Moment(allow_none=True)
    answered_by = fields.String(allow_none=True, metadata={"description": "for the customer and auditors"})
    note = fields.String(allow_none=True)
    grant = fields.String(attribute="grant_id", allow_none=True)
    live = fields.Boolean(metadata={"description": "whether the grant that was approved lives"})


class ApprovalQuery(PageQuery):
    case = Word(load_default=None)
    state = fields.String(load_default=None, validate=validate.OneOf([str(state) for state in State]))


class NewPolicy(ma.Schema):
    rule = fields.String(required=True, validate=validate.OneOf([str(rule) for rule in Rule]))
    long_minutes = fields.Integer(
        load_default=None,
        strict=True,
        validate=validate.Range(1, 100_000),
        metadata={"description": "for own-cases: a longer grant is asked for; 480 unless given"},
    )


class Policy(ma.Schema):
    rule = fields.String(validate=validate.OneOf([str(rule) for rule in Rule]))
    long_minutes = fields.Integer()
    of = fields.String(metadata={"description": "whose choice: `case`, `customer` or `default`"})
    set_at = Moment(allow_none=True)
    asks = fields.String(
        allow_none=True,
        metadata={
            "description": "for an engineer: when your grant waits: `never`, `longer` (than long_minutes), `always`"
        },
    )


class NewConsent(ma.Schema):
    partner = Word(required=True)
    expires_at = Moment(required=True)
    bundles = Several(
        Word(longest=64),
        most=1000,
        load_default=None,
        allow_none=False,  # a client that lost its list has not consented to all of the case
        validate=validate.Length(1),
        metadata={"description": "only these bundles; the whole case if not given"},
    )


class Consent(ma.Schema):
    id = fields.String()
    case = fields.String(attribute="number", metadata={"description": "the case's number"})
    partner = fields.String()
    bundles = fields.List(fields.String(), allow_none=True)
    given_at = Moment()
    expires_at = Moment()
    revoked_at = Moment(allow_none=True)
    live = fields.Boolean()


GrantPage = page_of(Grant, "GrantPage")
ApprovalPage = page_of(Approval, "ApprovalPage")
ConsentPage = page_of(Consent, "ConsentPage")
