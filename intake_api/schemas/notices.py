"""Notices, and the receivers that they are sent to."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, Word, page_of
from retention.domain.notice import MAX_ADDRESS, Kind, State, Way

_WAYS = [str(way) for way in Way]


class NewReceiver(ma.Schema):
    way = fields.String(required=True, validate=validate.OneOf(_WAYS))
    address = Word(
        required=True,
        longest=MAX_ADDRESS,
        metadata={"description": "an https address for a webhook, else a mail address"},
    )
    mine = fields.Boolean(
        load_default=False,
        metadata={
            "description": "for an engineer: of answers to your own requests, not of a customer's cases"
        },
    )


class Receiver(ma.Schema):
    id = fields.String()
    way = fields.String(validate=validate.OneOf(_WAYS))
    address = fields.String()
    mine = fields.Boolean()
    added_at = Moment()
    state = fields.String(
        metadata={
            "description": "`ok`; `failing`; `removed`; `altered`: not as it was added, so nothing is sent to it"
        }
    )
    failure = fields.String(allow_none=True, metadata={"description": "why the last try failed"})
    failures = fields.Integer(metadata={"description": "failed tries in a row"})
    next_try_at = Moment(allow_none=True)
    delivered_at = Moment(allow_none=True, metadata={"description": "when it last got something"})
    waiting = fields.Integer(metadata={"description": "notices that wait to be sent"})
    given_up = fields.Integer(metadata={"description": "notices of the last 30 days that were given up"})


class AddedReceiver(Receiver):
    secret = fields.String(
        allow_none=True,
        metadata={"description": "what signs a webhook's messages (`whsec_...`); shown only now"},
    )


class Notice(ma.Schema):
    id = fields.String(metadata={"description": "`webhook-id`, and the id of the CloudEvent"})
    kind = fields.String(validate=validate.OneOf([str(kind) for kind in Kind]))
    case = fields.String(attribute="number", allow_none=True, metadata={"description": "the case's number"})
    at = Moment(metadata={"description": "when it happened"})
    entry = fields.String(attribute="entry_id", metadata={"description": "the act in the log"})
    state = fields.String(validate=validate.OneOf([str(state) for state in State]))
    tries = fields.Integer()
    failure = fields.String(allow_none=True, metadata={"description": "why the last try failed"})
    ended_at = Moment(allow_none=True, metadata={"description": "when it was delivered, or given up"})


ReceiverPage = page_of(Receiver, "ReceiverPage")
NoticePage = page_of(Notice, "NoticePage")
