"""The kinds of values: text that can be stored and shown anywhere, moments in RFC 3339, pages of things.

RFC 9457 problem details, as documented; `intake_api.api.problems` writes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from audit.times import rfc3339
from retention.domain.characters import is_plain
from retention.records.queries import MAX_LIMIT

DEFAULT_LIMIT = 50
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Older than any stamp: a moment before it is a clock that was never set, or a wrong unit."""


class Word(fields.String):
    """One line of text (`lines`: several), 1 to `longest` characters, that reads as it is written."""

    def __init__(self, *, longest: int = 200, lines: bool = False, **named: Any) -> None:
        super().__init__(validate=validate.Length(1, longest), **named)
        self._allowed = "\n\t" if lines else ""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> str:
        text = super()._deserialize(value, attr, data, **named)
        if not is_plain(text, self._allowed):
            raise ma.ValidationError(
                "Must not hold control characters, line separators, or characters that turn the direction of text."
            )
        return text


class Several(fields.List[Any]):
    """A list of at most `most`; a longer one is refused before any of it is looked at."""

    def __init__(self, of: fields.Field[Any], *, most: int, **named: Any) -> None:
        super().__init__(of, **named)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > self._most:
            raise ma.ValidationError(f"Must have at most {self._most} members.")
        return super()._deserialize(value, attr, data, **named)


class Moment(fields.AwareDateTime):
    """RFC 3339; a time zone is demanded, UTC is given. A `bounded` one is not before EARLIEST."""

    def __init__(self, *, bounded: bool = True, **named: Any) -> None:
        super().__init__(**named)
        self._bounded = bounded

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **named: Any) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> datetime:
        moment = super()._deserialize(value, attr, data, **named)
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            raise ma.ValidationError("Is out of range.") from None
        if moment < EARLIEST and self._bounded:
            raise ma.ValidationError(f"Must not be before {rfc3339(EARLIEST)}.")
        return moment


class PageQuery(ma.Schema):
    """Where in a list to go on, and how much of it to give."""

    cursor = Word(longest=200, load_default=None, metadata={"description": "`next` of the page before"})
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "page size"},
    )


def page_of(schema: type[ma.Schema], name: str) -> type[ma.Schema]:
    """The schema of a page of `schema`."""
    members: dict[str, fields.Field[Any]] = {
        "items": fields.List(fields.Nested(schema)),
        "next": fields.String(allow_none=True, metadata={"description": "cursor of the next page"}),
    }
    return ma.Schema.from_dict(members, name=name)


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
