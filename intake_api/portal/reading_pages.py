"""The reading room: what is inside a bundle, a screen of a file's lines, and searching.

- Each screen and search is one read in the log, by the same calls as the API's: decided and entered before the first
  byte. A list of files and its further pages are one (`custody.reading.kept_lists`).
- A page holds a bounded part, whatever the file: SCREEN lines or MOST matches, LONGEST characters of each.
- What is searched for is sent as a form, and stands in no address: it is a particular, which goes with the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from flask import Response, redirect, request

from intake_api.api.authentication import caller, custody
from intake_api.api.routes import files as file_routes
from intake_api.api.routes.text import Searching, begin_search, place_of, read_lines, show_line
from intake_api.portal import forms, page
from intake_api.portal.event_pages import address_of
from intake_api.schemas.bundles import FileQuery
from intake_api.schemas.text import LinesQuery, Search
from retention.archive import ArchivedFile, FileKind
from retention.custody.reading.file_lists import list_page
from retention.custody.reading.file_text import Found
from retention.custody.uploads import declaration
from retention.domain.faults import Invalid
from retention.text.encodings import NAMES
from retention.text.events import FILE_MAGIC
from retention.text.search import Why

SCREEN = 200
MOST = 200
LONGEST = 2000
_EVENT_LOG = FILE_MAGIC.decode().rstrip("\0")
SECONDS = 20.0
"""A page of a search waits no longer, and offers to go on."""


@dataclass(frozen=True, slots=True)
class Match:
    """A line that was found: `parts` are its text, each with whether it matches; `address` leads to it in its file."""

    file: str | None
    number: int
    parts: Sequence[tuple[str, bool]]
    address: str | None
    cut: bool


def files(bundle: str) -> Response:
    """Show the files of a bundle, or of an archive in it."""
    asked = forms.read(FileQuery, request.args)
    start = file_routes.read_place(asked["cursor"])
    found = list_page(custody(), caller(), bundle, file_routes.read_asked(asked), start, asked["limit"])
    return page.show(
        "files.html",
        bundle=declaration.get_bundle(custody(), caller(), bundle),
        files=found.files,
        inside=asked["inside"],
        asked=asked,
        kinds=[kind.value for kind in FileKind],
        filters=urlencode({name: asked[name] for name in ("inside", "name", "kind") if asked[name]}),
        incomplete=found.incomplete,
        next=None if found.following is None else str(found.following),
        address=lambda kind, file: address_of(bundle, kind, file.key),
        opens=_opens,
    )


def file(bundle: str, path: str) -> Response:
    """Hand over one file's bytes, under a live grant."""
    return file_routes.respond(bundle, path)


def lines(bundle: str, path: str) -> Response:
    """Show a screen of a file's lines."""
    asked = forms.read(LinesQuery, {"count": str(SCREEN), **request.args})
    found = read_lines(asked, bundle, path)
    shown = found["lines"]
    is_log = found["binary"] and shown and shown[0]["number"] == 1 and shown[0]["text"].startswith(_EVENT_LOG)
    if is_log and "line" not in request.args:  # what only begins as one comes back from there, with a line
        return redirect(address_of(bundle, "events", path), 303)  # type: ignore[return-value]
    return page.show(
        "lines.html",
        bundle=bundle,
        file=path,
        found=found,
        asked=asked,
        encodings=NAMES,
        longest=LONGEST,
        before=max(1, shown[0]["number"] - asked["count"]) if shown and shown[0]["number"] > 1 else None,
        here=address_of(bundle, "lines", path),
        whole=address_of(bundle, "files", path),
    )


def search(bundle: str) -> Response:
    """Show the lines that match, of one file or of all."""
    given = {name: value for name, value in request.form.items() if name != "begin"}
    begin = _begin(request.form.get("begin", ""))
    begun = begin_search(forms.read(Search, given, begin=begin, most=MOST), bundle, SECONDS)
    try:
        matches, unread, why, go_on = _gather(bundle, begun)
    except Exception as error:
        raise begun.opened.failed(error) from None
    begun.opened.done()
    begun.opened.close()
    return page.show(
        "search.html",
        bundle=bundle,
        asked=given,
        matches=matches,
        unread=unread,
        why=why.value,
        go_on=None if go_on is None else json.dumps(go_on),
    )


def _gather(
    bundle: str, begun: Searching
) -> tuple[list[Match], list[tuple[str | None, str]], Why, dict[str, Any] | None]:
    matches, unread = list[Match](), list[tuple[str | None, str]]()
    why, go_on = Why.COMPLETE, None
    for one in begun.found:
        if isinstance(one, Found):
            matches.append(_match(bundle, begun, one))
            continue
        if one.unread is not None:
            unread.append((one.file, one.unread))
        if one.end is not None:
            why = one.end.why
            go_on = None if one.end.go_on is None else place_of(one.file, one.end.go_on)
    return matches, unread, why, go_on


def _match(bundle: str, begun: Searching, found: Found) -> Match:
    line = show_line(found.hit.line, found.encoding, begun.zone)
    address = None
    if found.file is not None and found.place is not None:
        address = f"{address_of(bundle, 'events', found.file)}?place={found.place}"
    elif found.file is not None:
        first = max(1, line["number"] - 10)
        address = f"{address_of(bundle, 'lines', found.file)}?line={first}#L{line['number']}"
    text = line["text"][:LONGEST]
    parts = tuple(_parts(text, begun.pattern.spans(text)))
    return Match(found.file, line["number"], parts, address, len(line["text"]) > LONGEST)


def _parts(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Cut the text where a match begins or ends; adjacent matches are one part."""
    at = 0
    for mark, run in groupby(_marks(len(text), spans)):
        length = sum(1 for _ in run)
        yield text[at : at + length], bool(mark)
        at += length


def _marks(size: int, spans: Sequence[tuple[int, int]]) -> bytearray:
    marks = bytearray(size)
    for start, end in spans:
        marks[start:end] = bytes([1]) * (end - start)
    return marks


def _begin(place: str) -> Any:
    try:
        return json.loads(place) if place else None
    except (ValueError, RecursionError):
        raise Invalid("the place to go on from is not one of a search's", {"begin": "search anew"}) from None


def _opens(file: ArchivedFile) -> str:
    """Tell what a file's link leads to: its lines, its events, the files inside it, or nothing. The name is a hint."""
    if not file.readable or file.kind not in ("file", "archive"):
        return ""
    if file.kind == "archive":
        return "files"
    return "events" if file.path.lower().endswith(".evtx") else "lines"


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/bundles/<bundle>/files", "files", files),
    ("GET", "/bundles/<bundle>/files/<path:path>", "file", file),
    ("GET", "/bundles/<bundle>/lines/<path:path>", "lines", lines),
    ("POST", "/bundles/<bundle>/search", "search", search),
)
