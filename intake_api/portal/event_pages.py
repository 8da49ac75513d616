"""An event log in the reading room: its events as a table with filters, and one event in full.

- Each page is one read in the log, by the same call as the API's. A page holds at most MOST events, LONGEST characters
  of each one's data and SHORT of its names; an event in full LARGEST characters of its XML.
- What is looked for is sent as a form, and stands in no address. The address of one event says its place in the file.
- What a file is, its bytes say: what is no event log is shown as lines, and lines of an event log as events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import quote

from flask import Response, redirect, request

from intake_api.api.routes.events import Reading, begin_events
from intake_api.portal import forms, page
from intake_api.schemas.text import EventSearch
from retention.custody.reading.event_logs import Damage, EventsEnd, NotAnEventLog
from retention.domain.faults import Invalid
from retention.text.events import Event, LogHeader
from retention.text.levels import Level
from retention.text.search import Why

MOST = 100
LONGEST = 2000
SHORT = 200
LARGEST = 200_000
SECONDS = 20.0
"""A page waits no longer, and offers to go on."""
_LEVELS = [level.value for level in Level if level is not Level.NONE]


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the table shows it, with its data as one text alone; `cut` if that is not all of it."""

    event: Event
    stamp: str
    data: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a page shows of a read."""

    header: LogHeader
    rows: list[Row]
    damaged: list[Damage]
    end: EventsEnd


def events(bundle: str, path: str) -> Response:
    """Show the first events of a log; with `place` the one that is there."""
    try:
        if "place" in request.args:
            return _one(bundle, path, request.args["place"])
        return _several(bundle, path, {})
    except NotAnEventLog:
        return redirect(address_of(bundle, "lines", path) + "?line=1", 303)  # type: ignore[return-value]


def find_events(bundle: str, path: str) -> Response:
    """Show the events that were asked for."""
    return _several(bundle, path, request.form)


def _several(bundle: str, path: str, given: Mapping[str, str]) -> Response:
    asked = {name: value for name, value in given.items() if name not in ("begin", "ids")}
    ids = [forms.whole(one) for one in given.get("ids", "").replace(",", " ").split()]
    begin = forms.whole(given.get("begin") or "0")
    wanted = forms.read(EventSearch, asked, ids=ids, begin=begin, most=MOST)
    found = _gather(begin_events(wanted, bundle, path, SECONDS), _short_row)
    return page.show(
        "events.html",
        bundle=bundle,
        file=path,
        asked={name: value for name, value in given.items() if name != "begin"},
        found=found,
        levels=_LEVELS,
        why=found.end.why.value,
        go_on=found.end.go_on,
        here=address_of(bundle, "events", path),
        whole=address_of(bundle, "files", path),
    )


def _one(bundle: str, path: str, place: str) -> Response:
    wanted = forms.read(EventSearch, {}, begin=forms.whole(place), most=1, xml=True)
    found = _gather(begin_events(wanted, bundle, path, SECONDS), _whole_row)
    if not found.rows or found.rows[0].event.place != wanted["begin"]:
        raise Invalid(
            f"the event log has no event at the place {place}",
            {"place": "must be one that its list of events leads to"},
        )
    row = found.rows[0]
    data = [(name, value[:LONGEST]) for name, value in islice(row.event.data, MOST)]
    return page.show(
        "event.html",
        bundle=bundle,
        file=path,
        row=row,
        data=data,
        xml=(row.event.xml or "")[:LARGEST],
        cut=len(row.event.xml or "") > LARGEST,
        here=address_of(bundle, "events", path),
        whole=address_of(bundle, "files", path),
    )


def _gather(begun: Reading, row: Callable[[Event], Row]) -> Gathered:
    rows, damaged = list[Row](), list[Damage]()
    header: LogHeader | None = None
    end = EventsEnd(Why.COMPLETE, 0, None)
    try:
        for one in begun.found:
            if isinstance(one, Event):
                rows.append(row(one))
            elif isinstance(one, Damage):
                damaged.append(one)
            elif isinstance(one, LogHeader):
                header = one
            else:
                end = one
    except Exception as error:
        raise begun.opened.failed(error) from None
    begun.opened.done()
    begun.opened.close()
    assert header is not None  # noqa: S101 - it is the first thing that is told
    return Gathered(header, rows, damaged[:MOST], end)


def _short_row(event: Event) -> Row:
    """Keep of an event what the table shows: a hostile one has a megabyte."""
    row, names = _whole_row(event), (event.provider, event.computer, event.channel)
    provider, computer, channel = (name[:SHORT] for name in names)
    kept = replace(event, provider=provider, computer=computer, channel=channel, data=(), xml=None, told=b"")
    return replace(row, event=kept, cut=row.cut or any(len(name) > SHORT for name in names))


def _whole_row(event: Event) -> Row:
    text = " ".join(f"{name}={value[:LONGEST]}" for name, value in islice(event.data, MOST))
    cut = (
        len(text) > LONGEST or len(event.data) > MOST or any(len(value) > LONGEST for _, value in event.data)
    )
    stamp = "" if event.time is None else event.time.isoformat(" ", "milliseconds").removesuffix("+00:00")
    return Row(event, stamp, text[:LONGEST], cut)


def address_of(bundle: str, kind: str, key: str) -> str:
    """Return the address of a file's page of that kind."""
    return f"/portal/bundles/{bundle}/{kind}/{quote(key, safe='')}"


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/bundles/<bundle>/events/<path:path>", "events", events),
    ("POST", "/bundles/<bundle>/events/<path:path>", "find_events", find_events),
)
