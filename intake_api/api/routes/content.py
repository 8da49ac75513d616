"""A bundle's content, whole or by ranges (RFC 9110 section 14).

The hot path: no schema, one decision, one entry.

Order: decide and write the entry (`bundle_reads.open_bundle`) -> open the first piece, so that faults show before the
response begins -> the rest as the client takes it -> closing the response, complete or cut, writes the entry of the
end. That entry counts the bytes handed to the socket: those that the server took of the response.
A read that ends early ends short of its Content-Length, so that its reader sees that it was cut; the entry says why.
A grant's end is not an error of the service.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from flask import Response, g, request
from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.http import ranges
from intake_api.http.call_refused import CallRefused
from intake_api.http.content_disposition import attachment
from intake_api.logs import log_unexpected
from retention.custody.context import about_bundle
from retention.custody.reading import bundle_reads
from retention.custody.uploads import declaration
from retention.domain.bundle import BundleState
from retention.domain.faults import Conflict, Erased, Refused

routes = Blueprint("content", __name__, description="The bytes of bundles")
LOG = logging.getLogger(__name__)
BYTES = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _header(name: str, what: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "description": what, "schema": {"type": "string"}}


CONDITIONS = [
    _header("Range", "One or more byte ranges."),
    _header("If-Range", "The ETag."),
    _header("If-None-Match", "The ETag."),
]
PARTIAL = {"206": {"description": "The requested ranges", "content": {BYTES: _BINARY}}}


class Wanted:
    """The spans that the headers ask for, once the size and the ETag are known. `partial`: they are by Range."""

    def __init__(self) -> None:
        self.partial = False
        self._range, self._if_range = request.headers.get("Range"), request.headers.get("If-Range")

    def __call__(self, bundle: Row[Any]) -> list[bundle_reads.Span]:
        return self.of(bundle.size, _etag(bundle))

    def of(self, size: int, etag: str) -> list[bundle_reads.Span]:
        """Return the spans of something with this size and strong ETag. CallRefused when none can be served."""
        try:
            spans = ranges.wanted(self._range, self._if_range, etag, size)
        except ranges.Unsatisfiable as error:
            unsatisfied = {"Content-Range": f"bytes */{size}"}
            raise CallRefused(
                "unsatisfiable-range", error.message, reason=error.reason, headers=unsatisfied
            ) from None
        self.partial = spans is not None
        return [(0, size)] if spans is None else spans


@routes.on(
    "GET",
    "/bundles/<bundle>/content",
    also=("HEAD",),
    parameters=CONDITIONS,
    responses=PARTIAL,
)
@routes.gives(200, {"type": "string", "format": "binary"}, content_type=BYTES)
def content(bundle: str) -> Response:
    """Read the content, under a live grant. Every read is in the audit log."""
    return respond(bundle)


def respond(bundle: str) -> Response:
    """Respond to a request for the content, whichever door it came through."""
    if request.method == "HEAD":
        return _head_response(bundle)
    if "If-None-Match" in request.headers:
        known = readable(bundle)
        if request.if_none_match.contains_weak(known.sha256):
            return Response(status=304, headers={"ETag": _etag(known)})
    wanted = Wanted()
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, wanted)
    try:
        return _streamed(opened, wanted.partial)
    except Exception as error:
        raise opened.failed(error) from None


def _streamed(opened: bundle_reads.OpenBundle, partial: bool) -> Response:
    bundle = opened.bundle
    return send_spans(opened, opened.pieces, opened.spans, bundle.size, _headers(bundle), partial=partial)


def send_spans(
    opened: bundle_reads.OpenBundle,
    pieces_of: Callable[[bundle_reads.Span], Iterator[bytes]],
    spans: Sequence[bundle_reads.Span],
    size: int,
    headers: dict[str, str],
    *,
    partial: bool,
) -> Response:
    """Respond with the spans of something that has `size` bytes; `partial` if they were asked for by Range."""
    headers = dict(headers)
    if len(spans) > 1:
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        heads = [_part_head(boundary, span, size) for span in spans]
        tail = f"\r\n--{boundary}--\r\n".encode()
        length = sum(len(head) for head in heads) + sum(length for _, length in spans) + len(tail)
        pieces = _multipart(pieces_of, spans, heads, tail)
    else:
        length = spans[0][1]
        pieces = pieces_of(spans[0])
        if partial:
            headers["Content-Range"] = ranges.content_range(spans[0], size)
    headers["Content-Length"] = str(length)
    return send(opened, pieces, headers, 206 if partial else 200)


def send(
    opened: bundle_reads.OpenBundle, pieces: Iterator[bytes], headers: dict[str, str], status: int = 200
) -> Response:
    """Respond with `pieces`; closing the response, complete or cut, closes the read."""
    first = next(pieces, b"")
    held = opened.hold_back()
    response = Response(_handed_over(opened, first, held, pieces, g.request_id), status, headers)
    response.call_on_close(opened.close)  # also when the client left before the first piece
    return response


def _handed_over(
    opened: bundle_reads.OpenBundle, first: bytes, held: int, rest: Iterator[bytes], request_id: str
) -> Iterator[bytes]:
    opened.hand_over(held)
    try:
        yield from chain((first,), rest)
    except Exception as error:
        # Too late for a problem: ending short of Content-Length makes the server cut the connection.
        if isinstance(error, (Refused, Erased)):
            LOG.info("request %s: the read was cut: %s", request_id, error.reason or error.code)
        else:
            log_unexpected(error, request_id)
        return
    opened.done()


def _part_head(boundary: str, span: bundle_reads.Span, size: int) -> bytes:
    content_range = ranges.content_range(span, size)
    return f"\r\n--{boundary}\r\nContent-Type: {BYTES}\r\nContent-Range: {content_range}\r\n\r\n".encode()


def _multipart(
    pieces_of: Callable[[bundle_reads.Span], Iterator[bytes]],
    spans: Sequence[bundle_reads.Span],
    heads: list[bytes],
    tail: bytes,
) -> Iterator[bytes]:
    for head, span in zip(heads, spans, strict=True):
        yield head
        yield from pieces_of(span)
    yield tail


def _head_response(bundle: str) -> Response:
    """Respond to HEAD with the whole's headers. Nothing is opened, so no grant is needed, only the right to know."""
    known = readable(bundle)
    return Response(headers={**_headers(known), "Content-Length": str(known.size)})


def readable(bundle: str) -> Row[Any]:
    """Look up a complete bundle that the caller is allowed to know of, unopened. NotFound, Erased, Conflict."""
    known = declaration.get_bundle(custody(), caller(), bundle)
    looked_at(**about_bundle(known))
    declaration.refuse_if_erased(known)
    if known.state != BundleState.COMPLETE:
        raise Conflict(f"the bundle is not complete: it is {known.state}", reason=f"bundle-{known.state}")
    return known


def _headers(bundle: Row[Any]) -> dict[str, str]:
    return {
        "Content-Type": BYTES,
        "ETag": _etag(bundle),
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(bundle.file_name),
    }


def _etag(bundle: Row[Any]) -> str:
    return f'"{bundle.sha256}"'
