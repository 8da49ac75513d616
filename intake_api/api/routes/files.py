"""The files inside a bundle: listed, and read one at a time, with its content's decision and audit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from flask import Response, request
from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.routes.blueprint import Blueprint
from intake_api.api.routes.content import BYTES, CONDITIONS, PARTIAL, Wanted, readable, send, send_spans
from intake_api.http.content_disposition import attachment
from intake_api.http.ranges import LONGEST_HEADER
from intake_api.schemas.bundles import File, FilePage, FileQuery
from retention.archive import ArchivedFile, FileKind, open_file
from retention.custody.reading import bundle_reads
from retention.custody.reading.file_lists import Asked, Listing, list_page, open_list
from retention.domain.faults import Invalid
from retention.envelope.bundle_file import SealedFile

LINES = "application/jsonl"
_PIECE = 64 * 1024
routes = Blueprint("files", __name__, description="The files inside bundles")


_LISTED = {
    "schema": {
        "type": "string",
        "description": "One JSON object per line; the last line has their number, and `incomplete` as a page does.",
    }
}


@routes.on("GET", "/bundles/<bundle>/files", responses={200: {"content": {LINES: _LISTED}}})
@routes.takes(FileQuery, "query")
@routes.gives(200, FilePage)
def index(query: dict[str, Any], bundle: str) -> Any:
    """List the files of the archive that the bundle is (or of a nested one), in their stored order.

    `name` and `kind` choose among them; a page may then be short, or empty, and others follow all the same.
    Accept: application/jsonl gives all of them from the cursor on in one response, with one pair of entries in the log.
    Pages have one pair too, while they are asked for within five minutes of the first and the grant stands.
    """
    start, asked = read_place(query["cursor"]), read_asked(query)
    if request.accept_mimetypes.best == LINES:
        return _whole(bundle, asked, start)
    page = list_page(custody(), caller(), bundle, asked, start, query["limit"])
    more = None if page.following is None else str(page.following)
    return {"items": [_shown(file) for file in page.files], "next": more, "incomplete": page.incomplete}


def read_asked(query: dict[str, Any]) -> Asked:
    """Read which files a FileQuery asks for."""
    kind = query["kind"]
    return Asked(query["inside"], query["name"], None if kind is None else FileKind(kind))


def _whole(bundle: str, asked: Asked, start: int) -> Response:
    opened = open_list(custody(), caller(), bundle, asked.inside)
    try:
        listing = Listing(opened, asked.inside, start)
        files = filter(asked.fits, opened.passing(iter(listing)))
        return send(opened, _lines(files, listing), {"Content-Type": LINES})
    except Exception as error:
        raise opened.failed(error) from None


@routes.on("GET", "/bundles/<bundle>/files/<path:path>", parameters=CONDITIONS, responses=PARTIAL)
@routes.gives(200, {"type": "string", "format": "binary"}, content_type=BYTES)
def read(bundle: str, path: str) -> Response:
    """Read one file's bytes, whole or by ranges. The one file of a `.gz`, whose size nobody knows, comes whole."""
    return respond(bundle, path)


def respond(bundle: str, path: str) -> Response:
    """Hand over what the request asks of one file, under a live grant."""
    if "If-None-Match" in request.headers:
        tag = _tag(readable(bundle), path)
        if request.if_none_match.contains_weak(tag):
            return Response(status=304, headers={"ETag": f'"{tag}"'})
    wanted = Wanted()
    asked = request.headers.get("Range")
    told = {"file": path, **({"range": asked[:LONGEST_HEADER]} if asked else {})}
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, lambda _: (), particulars=told)
    try:
        return _sent(opened, path, wanted)
    except Exception as error:
        raise opened.failed(error) from None


def _sent(opened: bundle_reads.OpenBundle, path: str, wanted: Wanted) -> Response:
    file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
    etag = f'"{_tag(opened.bundle, path)}"'
    headers = {"Content-Type": BYTES, "Content-Disposition": attachment(path), "ETag": etag}
    if file.size is not None:
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(file.size)}
    if request.method == "HEAD":  # none of the file is handed over, and the log says so
        opened.done()
        opened.close()
        return Response(headers=headers)
    if file.size is None:
        return send(opened, opened.deliver(file.chunks), headers)
    spans = wanted.of(file.size, etag)
    if not wanted.partial:
        return send(opened, opened.deliver(file.chunks), headers)
    return send_spans(
        opened, lambda span: opened.deliver(file.part(*span)), spans, file.size, headers, partial=True
    )


def _tag(bundle: Row[Any], path: str) -> str:
    """Return the file's ETag, unquoted: a bundle's bytes never change, so they and the key name the content."""
    return hashlib.sha256(f"{bundle.sha256}/{path}".encode()).hexdigest()[:32]


def _lines(files: Iterator[ArchivedFile], listing: Listing) -> Iterator[bytes]:
    """Yield one JSON object per line for each file, then one with their number: without it the list was cut. Where the
    archive itself is, that line says so."""
    schema, number, gathered = File(), 0, b""
    for file in files:
        gathered += json.dumps(schema.dump(_shown(file)), ensure_ascii=False).encode() + b"\n"
        number += 1
        if len(gathered) >= _PIECE:
            yield gathered
            gathered = b""
    incomplete = {"incomplete": listing.incomplete} if listing.incomplete else {}
    yield gathered + json.dumps({"files": number, **incomplete}).encode() + b"\n"


def read_place(cursor: str | None) -> int:
    """Read the cursor: a place in the archive's own order, which never changes."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Invalid("the cursor is not one of this list's", {"cursor": "use the previous page's"})
    return int(cursor)


def _shown(file: ArchivedFile) -> dict[str, Any]:
    # A readable file is named exactly as it must be requested; a malicious name is made safe to show.
    return {
        "path": file.key if file.readable else file.path,
        "size": file.size,
        "compressed_size": file.packed_size,
        "modified": file.modified,
        "kind": file.kind.value,
        "readable": file.readable,
        "why_not": None if file.reason is None else file.reason.message,
        "name_guessed": file.guessed,
    }
