"""Lines of a file, searching, and the events of an event log."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, Word
from retention.custody.reading.file_lines import MOST_LINES
from retention.text.encodings import NAMES
from retention.text.events import PLACES
from retention.text.levels import Level
from retention.text.pattern import LONGEST

MOST_CONTEXT = 100
MOST_FOUND = 10_000
MOST_IDS = 100
_ENCODING = "what to decode from; else the file's first bytes tell"
_OFFSET = "minutes that the file's times without a zone are ahead of UTC"


class _HowRead(ma.Schema):
    encoding = fields.String(
        load_default=None, validate=validate.OneOf(NAMES), metadata={"description": _ENCODING}
    )
    utc_offset = fields.Integer(
        load_default=0, validate=validate.Range(-1440, 1440), metadata={"description": _OFFSET}
    )
    before = fields.Integer(
        load_default=0,
        validate=validate.Range(0, MOST_CONTEXT),
        metadata={"description": "lines of context before"},
    )


class LinesQuery(_HowRead):
    line = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 1 << 53),
        metadata={"description": "the first line, from 1"},
    )
    tail = fields.Boolean(load_default=False, metadata={"description": "the last lines"})
    time = Moment(
        load_default=None, bounded=False, metadata={"description": "the first line from then or later"}
    )
    count = fields.Integer(load_default=100, validate=validate.Range(1, MOST_LINES))

    @ma.validates_schema
    def _one_place(self, data: dict[str, Any], **_: Any) -> None:
        given = [name for name in ("line", "tail", "time") if data[name]]
        if len(given) > 1:
            raise ma.ValidationError(f"Give one of line, tail and time, not {' and '.join(given)}.", given[1])


class TextLine(ma.Schema):
    number = fields.Integer(metadata={"description": "from 1"})
    offset = fields.Integer(metadata={"description": "of its first byte in the file"})
    size = fields.Integer(metadata={"description": "bytes, without the line end"})
    text = fields.String()
    continues = fields.Boolean(metadata={"description": "the rest of a line longer than 64 KiB"})
    cut = fields.Boolean(metadata={"description": "the line goes on in the next piece"})
    time = Moment(allow_none=True)
    level = fields.String()


class TextLines(ma.Schema):
    encoding = fields.String()
    guessed = fields.Boolean(metadata={"description": "the encoding is a guess"})
    binary = fields.Boolean(metadata={"description": "it does not look like text"})
    lines = fields.List(fields.Nested(TextLine))
    next = fields.Integer(allow_none=True, metadata={"description": "the line after these; null at the end"})


class Place(ma.Schema):
    """Where a search goes on, as the end of an earlier one says."""

    file = fields.String(load_default=None, allow_none=True)
    offset = fields.Integer(required=True, strict=True, validate=validate.Range(0, 1 << 53))
    line = fields.Integer(required=True, strict=True, validate=validate.Range(1, 1 << 53))
    continues = fields.Boolean(load_default=False)
    seen = Moment(load_default=None, allow_none=True, bounded=False)


class _HowMatched(ma.Schema):
    literal = fields.Boolean(load_default=False)
    ignore_case = fields.Boolean(load_default=False)
    words = fields.Boolean(load_default=False)


class Search(_HowRead, _HowMatched):
    pattern = fields.String(required=True, validate=validate.Length(0, LONGEST))
    after = fields.Integer(load_default=0, validate=validate.Range(0, MOST_CONTEXT))
    since = Moment(load_default=None, bounded=False)
    until = Moment(load_default=None, bounded=False)
    file = fields.String(load_default=None, metadata={"description": "one file, by its key"})
    files = Word(
        load_default=None,
        longest=200,
        metadata={"description": "files whose path or name fits, like *.log"},
    )
    most = fields.Integer(load_default=1000, validate=validate.Range(1, MOST_FOUND))
    begin = fields.Nested(Place, load_default=None)

    @ma.validates_schema
    def _one_choice(self, data: dict[str, Any], **_: Any) -> None:
        if data["file"] is not None and data["files"] is not None:
            raise ma.ValidationError("Give one of file and files.", "files")


class EventSearch(_HowMatched):
    """Which events of an event log to show; without conditions all."""

    pattern = fields.String(
        load_default=None,
        validate=validate.Length(1, LONGEST),
        metadata={"description": "found in a name or value of the event"},
    )
    since = Moment(load_default=None, bounded=False)
    until = Moment(load_default=None, bounded=False, metadata={"description": "excluded"})
    level = fields.String(
        load_default=None,
        validate=validate.OneOf([level.value for level in Level if level is not Level.NONE]),
        metadata={"description": "this level or worse"},
    )
    provider = Word(
        load_default=None, longest=200, metadata={"description": "its name, or a pattern like *Cluster*"}
    )
    ids = fields.List(
        fields.Integer(strict=True, validate=validate.Range(0, (1 << 32) - 1)),
        load_default=list,
        validate=validate.Length(0, MOST_IDS),
        metadata={"description": "event ids"},
    )
    xml = fields.Boolean(load_default=False, metadata={"description": "each event's XML too"})
    most = fields.Integer(load_default=1000, validate=validate.Range(1, MOST_FOUND))
    begin = fields.Integer(
        load_default=0,
        strict=True,
        validate=validate.Range(0, (1 << 32) * PLACES),
        metadata={"description": "the place to go on from, as the end of an earlier response says"},
    )


class LogEvent(ma.Schema):
    place = fields.Integer()
    record = fields.Integer(allow_none=True)
    time = Moment(allow_none=True)
    level = fields.String()
    provider = fields.String()
    id = fields.Integer(allow_none=True)
    computer = fields.String()
    channel = fields.String()
    data = fields.List(fields.List(fields.String()))
    xml = fields.String(allow_none=True)
