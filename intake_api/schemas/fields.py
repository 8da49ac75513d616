"""The kinds of values: text safe to store and show, moments in RFC 3339, pages, problem details.

Problem details (RFC 9457) are only documented here; `intake_api.api.problems` writes them.
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
"""Older than any stamp: an earlier moment comes from a clock that was never set, or a wrong unit."""


class Word(fields.String):
    """A line of text (`lines`: several), of 1 to `longest` characters, that displays as it is written."""

    def __init__(self, *, longest: int = 200, lines: bool = False, **named: Any) -> None:
        super().__init__(validate=validate.Length(1, longest), **named)
        self._allowed = "\n\t" if lines else ""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> str:
        text = super()._deserialize(value, attr, data, **named)
        if not is_plain(text, self._allowed):
            raise ma.ValidationError(
                "Must not contain control characters, line separators, or characters that change the text direction."
            )
        return text


class Several(fields.List[Any]):
    """A list of at most `most` members; a longer one is refused before any of it is read."""

    def __init__(self, of: fields.Field[Any], *, most: int, **named: Any) -> None:
        super().__init__(of, **named)
        self._most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > self._most:
            raise ma.ValidationError(f"Must have at most {self._most} members, not {len(value)}.")
        return super()._deserialize(value, attr, data, **named)


class Moment(fields.AwareDateTime):
    """A moment in RFC 3339: read with any time zone, which is required, and written in UTC. A `bounded` one is not
    before EARLIEST."""

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
            raise ma.ValidationError("Must be a moment within the years 1 to 9999, in UTC.") from None
        if moment < EARLIEST and self._bounded:
            raise ma.ValidationError(f"Must not be before {rfc3339(EARLIEST)}.")
        return moment


class PageQuery(ma.Schema):
    """The place in a list to continue from, and how much of it to return."""

    cursor = Word(longest=200, load_default=None, metadata={"description": "`next` of the previous page"})
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "page size"},
    )


def page_of(schema: type[ma.Schema], name: str, **more: fields.Field[Any]) -> type[ma.Schema]:
    """Make the schema of a page of `schema`, with what else the page says."""
    members: dict[str, fields.Field[Any]] = {
        "items": fields.List(fields.Nested(schema)),
        "next": fields.String(allow_none=True, metadata={"description": "cursor of the next page"}),
        **more,
    }
    return ma.Schema.from_dict(members, name=name)


class ProblemDetails(ma.Schema):
    """Problem details (RFC 9457); facts of the problem (an upload's `offset`, a `limit`) are further members."""

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
