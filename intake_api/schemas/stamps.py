"""Tenants, stamps, and the consent to proactive collection."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields

from intake_api.schemas.fields import Moment, Word, page_of


class Tenant(ma.Schema):
    id = fields.String()
    name = fields.String()
    directory = fields.String()
    registered_at = Moment()


class NewTenant(ma.Schema):
    name = Word(required=True)
    directory = Word(
        required=True, metadata={"description": "the customer's directory at the issuer (`tid`)"}
    )


class Stamp(ma.Schema):
    id = fields.String()
    name = fields.String()
    subject = fields.String()
    proactive = fields.Boolean()
    registered_at = Moment()
    deregistered_at = Moment(allow_none=True)


class NewStamp(ma.Schema):
    name = Word(required=True)
    subject = Word(required=True, longest=512, metadata={"description": "the stamp's identity at the issuer"})
    proactive = fields.Boolean(load_default=False)


class ProactiveConsent(ma.Schema):
    enabled = fields.Boolean(required=True)


class ProactiveConsentSet(ma.Schema):
    enabled = fields.Boolean()
    set_at = Moment()
    actor = fields.String(attribute="actor_id")


class ProactiveConsentHistory(ma.Schema):
    items = fields.List(fields.Nested(ProactiveConsentSet))


TenantPage = page_of(Tenant, "TenantPage")
StampPage = page_of(Stamp, "StampPage")
