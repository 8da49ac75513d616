"""RFC 9457 problem details, as documented; `intake_api.problems` writes them."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields


class ProblemDetails(ma.Schema):
    """Facts of the problem (an upload's `offset`, a `limit`) stand beside these members."""

    class Meta:
        unknown = ma.INCLUDE

    type = fields.String(metadata={"description": "/problems/<code>"})
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    instance = fields.String()
    request_id = fields.String()
    reason = fields.String(metadata={"description": "a stable code, where there are several reasons"})
    errors = fields.Dict(fields.String(), fields.String(), metadata={"description": "field -> what to do"})
