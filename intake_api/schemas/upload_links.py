"""Upload links, and the check of a pasted one."""

from __future__ import annotations

import json

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.bundles import RoleList
from intake_api.schemas.fields import Moment, Word, page_of
from retention.domain.bundle import CollectionType
from retention.domain.upload_link import DEFAULT_PERMISSIONS, PERMISSIONS


class NewLink(ma.Schema):
    """The terms that can be requested of both kinds of link."""

    permissions = fields.String(
        load_default=DEFAULT_PERMISSIONS,
        validate=validate.Length(1, len(PERMISSIONS)),
        metadata={"description": f"some of {PERMISSIONS}: read, create, write, delete, list"},
    )
    expires_at = Moment(required=True, metadata={"description": "within two years, and the case's life"})
    starts_at = Moment(load_default=None)
    # A client that lost its address has not asked for a link from everywhere.
    ip = Word(
        load_default=None,
        allow_none=False,
        longest=100,
        metadata={"description": "an address, or first-last"},
    )
    roles = RoleList(load_default=list, metadata={"type": "string", "description": "separated by commas"})


class NewStampLink(NewLink):
    trigger = Word(required=True, metadata={"description": "FaultIdType for blobs whose metadata names none"})


class NewCaseLink(NewLink):
    stamp = Word(
        load_default=None, longest=64, metadata={"description": "the stamp that sends, if there are several"}
    )
    type = fields.Enum(CollectionType, by_value=True, load_default=CollectionType.ON_DEMAND)
    trigger = Word(load_default=None, metadata={"description": "FaultIdType; proactive collections only"})


class Renewal(ma.Schema):
    """A link's new end."""

    expires_at = Moment(
        required=True, metadata={"description": "within two years of its beginning, and the case's life"}
    )


class UploadLink(ma.Schema):
    id = fields.String()
    stamp = fields.String(attribute="stamp_id")
    case = fields.String(attribute="number", allow_none=True, metadata={"description": "the case's number"})
    permissions = fields.String()
    ip = fields.String(attribute="addresses", allow_none=True)
    type = fields.String()
    trigger = fields.String(allow_none=True)
    roles = fields.Function(
        lambda row: json.loads(row["roles"] if isinstance(row, dict) else row.roles),
        metadata={"type": "array", "items": {"type": "string"}},
    )
    created_at = Moment()
    created_by = fields.String()
    starts_at = Moment()
    expires_at = Moment()
    revoked_at = Moment(allow_none=True)


class IssuedLink(UploadLink):
    url = fields.String(
        metadata={"description": "lets in whoever has it; shown only this once, and not kept here"}
    )


class PastedLink(ma.Schema):
    url = fields.String(required=True, validate=validate.Length(1, 4096))


class LinkCheck(ma.Schema):
    accepted = fields.Boolean()
    reason = fields.String(allow_none=True, metadata={"description": "why not, as a stable code"})
    detail = fields.String(allow_none=True)
    link = fields.String(
        allow_none=True, metadata={"description": "its id, if you are allowed to know of it"}
    )
    expires_at = Moment(allow_none=True)


UploadLinkPage = page_of(UploadLink, "UploadLinkPage")
