"""A file inside a bundle as text: a screen of its lines, and searching one file or all.

Each call is one read in the log: an entry before the first line, with the file, and the pattern as a particular that is
erased with the bundle; and one at the end, with the bytes of the lines handed over.

A search is JSON lines, as found: {"match": ...} and {"context": ...}, {"file": ...} when a file is done with (or could
not be read), and last {"end": ...} with where to go on. Without that last line the response was cut.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Response

from intake_api.api.authentication import caller, custody
from intake_api.api.routes.blueprint import Blueprint
from intake_api.api.routes.content import send
from intake_api.schemas.text import LinesQuery, Search, TextLine, TextLines
from retention.custody.reading import bundle_reads
from retention.custody.reading.file_lines import Screen, show_lines
from retention.custody.reading.file_text import Found, Passed, search_bundle
from retention.domain.faults import Invalid
from retention.text.encodings import Encoding
from retention.text.levels import find_level
from retention.text.lines import Line
from retention.text.pattern import Pattern, PatternError, compile_pattern
from retention.text.search import Position, Query, Why
from retention.text.times import Zone, find_time

LINES = "application/jsonl"
SECONDS = 60.0
"""A search ends this long after it began to look, and says where to go on; coming to a line takes no longer."""
routes = Blueprint("text", __name__, description="Lines of files, and searching")
_FOUND = {
    "schema": {
        "type": "string",
        "description": "One JSON object per line: match, context, file; the last is end.",
    }
}


@dataclass(frozen=True, slots=True)
class Searching:
    """A search that has begun: its entry is durable, nothing has been looked through."""

    opened: bundle_reads.OpenBundle
    found: Iterator[Found | Passed]
    pattern: Pattern
    zone: Zone


@routes.on("GET", "/bundles/<bundle>/lines/<path:path>")
@routes.takes(LinesQuery, "query")
@routes.gives(200, TextLines)
def lines(query: dict[str, Any], bundle: str, path: str) -> Any:
    """Read lines of one file, decoded: from a line or a time on, or the last. One read in the log."""
    return read_lines(query, bundle, path)


def read_lines(query: dict[str, Any], bundle: str, path: str) -> dict[str, Any]:
    """Read the lines that a LinesQuery asks for, in the shape of TextLines."""
    zone, encoding = _zone(query["utc_offset"]), _encoding(query["encoding"])
    screen = Screen(
        count=query["count"],
        line=query["line"] or 1,
        tail=query["tail"],
        time=query["time"],
        before=query["before"],
        zone=zone,
    )
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, lambda _: (), particulars={"file": path})
    try:
        found = show_lines(opened, path, screen, encoding, ends_after(SECONDS))
    except Exception as error:
        raise opened.failed(error) from None
    opened.done()
    opened.close()
    detected = found.detected
    return {
        "encoding": detected.encoding.name,
        "guessed": detected.guessed,
        "binary": detected.binary,
        "lines": [show_line(line, detected.encoding, zone) for line in found.lines],
        "next": found.following,
    }


@routes.on(
    "POST",
    "/bundles/<bundle>/search",
    responses={200: {"description": "What is found, as it is found", "content": {LINES: _FOUND}}},
)
@routes.takes(Search)
def search(asked: dict[str, Any], bundle: str) -> Response:
    """Search one file of the bundle, or all that fit; lines come as they are found. One read in the log."""
    begun = begin_search(asked, bundle, SECONDS)
    try:
        return send(begun.opened, _told(begun), {"Content-Type": LINES})
    except Exception as error:
        raise begun.opened.failed(error) from None


def begin_search(asked: dict[str, Any], bundle: str, seconds: float) -> Searching:
    """Begin what a Search asks for; it ends `seconds` after its first block of text."""
    pattern = read_pattern(asked)
    encoding, zone = _encoding(asked["encoding"]), _zone(asked["utc_offset"])
    place, begin, resume = asked["begin"], Position(), None
    if place is not None:
        begin = Position(place["offset"], place["line"], place["continues"], place["seen"])
        resume = place["file"]
    query = Query(
        pattern, asked["before"], asked["after"], asked["since"], asked["until"], asked["most"], zone
    )
    named = {"file": asked["file"] or asked["files"], "search": asked["pattern"]}
    told = {name: value for name, value in named.items() if value}
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, lambda _: (), particulars=told)
    found = search_bundle(
        opened,
        query,
        encoding,
        only=asked["file"],
        named=asked["files"],
        resume=resume,
        begin=begin,
        stop=ends_after(seconds),
    )
    return Searching(opened, found, pattern, zone)


def ends_after(seconds: float) -> Callable[[], bool]:
    """Return what tells that `seconds` have passed since it was first asked: so each call gets further, even if coming
    to its place takes longer than that."""
    ends: float | None = None

    def passed() -> bool:
        nonlocal ends
        now = time.monotonic()
        if ends is None:
            ends = now + seconds
            return False
        return now > ends

    return passed


def _told(begun: Searching) -> Iterator[bytes]:
    schema, number, last = TextLine(), 0, Why.COMPLETE
    go_on: dict[str, Any] | None = None
    for one in begun.found:
        if isinstance(one, Found):
            number += one.hit.found
            line = schema.dump(show_line(one.hit.line, one.encoding, begun.zone))
            if one.place is not None:
                line["place"] = one.place
            if one.hit.found:
                line["spans"] = begun.pattern.spans(line["text"])
            yield json_line({"match" if one.hit.found else "context": {"file": one.file, **line}})
            continue
        told: dict[str, Any] = {"file": one.file, "unread": one.unread}
        if one.end is not None:
            told["found"], last = one.end.found, one.end.why
            go_on = None if one.end.go_on is None else place_of(one.file, one.end.go_on)
        yield json_line({"file": told})
    yield json_line({"end": {"why": last.value, "found": number, "go_on": go_on}})


def place_of(file: str | None, position: Position) -> dict[str, Any]:
    """Say where a search goes on, in the shape of Place."""
    seen = None if position.seen is None else position.seen.isoformat()
    where = {"offset": position.offset, "line": position.number, "continues": position.continues}
    return {"file": file, **where, "seen": seen}


def show_line(line: Line, encoding: Encoding, zone: Zone) -> dict[str, Any]:
    """Return a line in the shape of TextLine."""
    text = encoding.decode(line.raw)
    stamp = find_time(text, zone)
    return {
        "number": line.number,
        "offset": line.offset,
        "size": len(line.raw),
        "text": text,
        "continues": line.continues,
        "cut": line.cut,
        "time": None if stamp is None else stamp.at,
        "level": find_level(text).value,
    }


def read_pattern(asked: dict[str, Any]) -> Pattern:
    """Compile what is asked for. Invalid."""
    try:
        return compile_pattern(
            asked["pattern"],
            literal=asked["literal"],
            ignore_case=asked["ignore_case"],
            words=asked["words"],
        )
    except PatternError as error:
        raise Invalid(str(error), {"pattern": str(error)}) from None


def _encoding(name: str | None) -> Encoding | None:
    return None if name is None else Encoding(name)


def _zone(minutes: int) -> Zone:
    return Zone(timedelta(minutes=minutes), custody().clock.now().year)


def json_line(told: dict[str, Any]) -> bytes:
    """Write one object as a line."""
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
