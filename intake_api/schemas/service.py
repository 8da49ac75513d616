"""The service's own health and readiness."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields


class Health(ma.Schema):
    status = fields.String(required=True)


class Readiness(ma.Schema):
    status = fields.String(required=True, metadata={"description": "ok, unavailable or draining"})
    checks = fields.Dict(
        fields.String(), fields.String(), metadata={"description": "each part: ok, or what is wrong"}
    )
    uploads = fields.String(metadata={"description": "ok, or why no upload is accepted"})
    destruction = fields.String(metadata={"description": "ok, or why no deadline counts"})
    schema = fields.String(metadata={"description": "ok, or that the database is another version's"})
    sequencing = fields.String(metadata={"description": "ok, or how late entries reach the log"})
