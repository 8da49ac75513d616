"""Grants and consents."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, Several, Word, page_of
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
ConsentPage = page_of(Consent, "ConsentPage")
