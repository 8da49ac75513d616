"""A file inside a bundle as a Windows event log: its events, by time, level, provider, id and text.

Each call is one read in the log: an entry before the first event, with the file, and the pattern as a particular that
is erased with the bundle; and one at the end. What is looked for comes in the body, so it stands in no address.

Events are JSON lines, as found: first {"log": ...}, then {"event": ...}, and {"damaged": ...} for a chunk that is not
as it was written; last {"end": ...} with the place to go on from. Without that last line the response was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response

from intake_api.api.authentication import caller, custody
from intake_api.api.routes import text
from intake_api.api.routes.blueprint import Blueprint
from intake_api.api.routes.content import send
from intake_api.schemas.text import EventSearch, LogEvent
from retention.custody.reading import bundle_reads
from retention.custody.reading.event_logs import Damage, EventsEnd, read_events
from retention.text.events import Event, EventQuery, LogHeader
from retention.text.levels import Level

routes = Blueprint("events", __name__, description="Windows event logs")
_FOUND = {
    "schema": {
        "type": "string",
        "description": "One JSON object per line: log, event, damaged; the last is end.",
    }
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A read of events that has begun: its entry is durable, nothing has been looked through."""

    opened: bundle_reads.OpenBundle
    found: Iterator[LogHeader | Event | Damage | EventsEnd]


@routes.on(
    "POST",
    "/bundles/<bundle>/events/<path:path>",
    responses={200: {"description": "The events, as they are found", "content": {text.LINES: _FOUND}}},
)
@routes.takes(EventSearch)
def events(asked: dict[str, Any], bundle: str, path: str) -> Response:
    """Read the events of one event log (.evtx); they come as they are found. One read in the log."""
    begun = begin_events(asked, bundle, path, text.SECONDS)
    try:
        return send(begun.opened, _told(begun), {"Content-Type": text.LINES})
    except Exception as error:
        raise begun.opened.failed(error) from None


def begin_events(asked: dict[str, Any], bundle: str, path: str, seconds: float) -> Reading:
    """Begin what an EventSearch asks for; it ends `seconds` after its first events were read."""
    query = EventQuery(
        since=asked["since"],
        until=asked["until"],
        level=None if asked["level"] is None else Level(asked["level"]),
        provider=asked["provider"],
        ids=frozenset(asked["ids"]),
        pattern=None if asked["pattern"] is None else text.read_pattern(asked),
        most=asked["most"],
    )
    told = {"file": path, **({"search": asked["pattern"]} if asked["pattern"] else {})}
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, lambda _: (), particulars=told)
    stop = text.ends_after(seconds)
    found = read_events(opened, path, query, begin=asked["begin"], xml=asked["xml"], stop=stop)
    return Reading(opened, found)


def _told(begun: Reading) -> Iterator[bytes]:
    schema = LogEvent()
    for one in begun.found:
        if isinstance(one, Event):
            yield text.json_line({"event": schema.dump(show_event(one))})
        elif isinstance(one, Damage):
            yield text.json_line({"damaged": {"chunk": one.chunk, "offset": one.offset, "why": one.why}})
        elif isinstance(one, LogHeader):
            yield text.json_line({"log": {"chunks": one.chunks, "dirty": one.dirty, "full": one.full}})
        else:
            yield text.json_line({"end": {"why": one.why.value, "found": one.found, "go_on": one.go_on}})


def show_event(event: Event) -> dict[str, Any]:
    """Return an event in the shape of LogEvent."""
    return {
        "place": event.place,
        "record": event.record,
        "time": event.time,
        "level": event.level.value,
        "provider": event.provider,
        "id": event.id,
        "computer": event.computer,
        "channel": event.channel,
        "data": event.data,
        **({} if event.xml is None else {"xml": event.xml}),
    }
