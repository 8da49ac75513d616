"""Cases, their history and assignments."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields

from intake_api.schemas.fields import Moment, Word, page_of


class Case(ma.Schema):
    id = fields.String()
    number = fields.String()
    state = fields.String()
    opened_at = Moment()
    tenant = fields.String(attribute="tenant_id")


class CaseEvent(ma.Schema):
    kind = fields.String()
    effective_at = Moment()
    recorded_at = Moment()


class Assignment(ma.Schema):
    subject = fields.String()
    issuer = fields.String()
    assigned_at = Moment()
    unassigned_at = Moment(allow_none=True)


class CaseInFull(Case):
    history = fields.List(fields.Nested(CaseEvent))
    assignments = fields.List(fields.Nested(Assignment))
    deadline = Moment(allow_none=True)


class NewCase(ma.Schema):
    number = Word(required=True, longest=64)
    directory = Word(required=True)
    opened_at = Moment(load_default=None)


class CaseClose(ma.Schema):
    closed_at = Moment(load_default=None, allow_none=True)


class CaseReopen(ma.Schema):
    reopened_at = Moment(load_default=None, allow_none=True)


class Engineer(ma.Schema):
    subject = Word(required=True, longest=512)
    issuer = Word(
        load_default=None, longest=512, metadata={"description": "the configured issuer if not given"}
    )


CasePage = page_of(Case, "CasePage")
