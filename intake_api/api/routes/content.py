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
from collections.abc import Iterator
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


class _Wanted:
    """The spans that the headers ask for, once the bundle is known."""

    def __init__(self) -> None:
        self.partial = False
        self._range, self._if_range = request.headers.get("Range"), request.headers.get("If-Range")

    def __call__(self, bundle: Row[Any]) -> list[bundle_reads.Span]:
        try:
            spans = ranges.wanted(self._range, self._if_range, _etag(bundle), bundle.size)
        except ranges.Unsatisfiable as error:
            unsatisfied = {"Content-Range": f"bytes */{bundle.size}"}
            raise CallRefused(
                "unsatisfiable-range", error.message, reason=error.reason, headers=unsatisfied
            ) from None
        self.partial = spans is not None
        return [(0, bundle.size)] if spans is None else spans


@routes.on(
    "GET",
    "/bundles/<bundle>/content",
    also=("HEAD",),
    parameters=[
        _header("Range", "One or more byte ranges."),
        _header("If-Range", "The ETag."),
        _header("If-None-Match", "The ETag."),
    ],
    responses={"206": {"description": "The requested ranges", "content": {BYTES: _BINARY}}},
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
        known = _readable(bundle)
        if request.if_none_match.contains_weak(known.sha256):
            return Response(status=304, headers={"ETag": _etag(known)})
    wanted = _Wanted()
    opened = bundle_reads.open_bundle(custody(), caller(), bundle, wanted)
    try:
        return _streamed(opened, wanted.partial)
    except Exception as error:
        raise opened.failed(error) from None


def _streamed(opened: bundle_reads.OpenBundle, partial: bool) -> Response:
    bundle, spans = opened.bundle, opened.spans
    headers = _headers(bundle)
    if len(spans) > 1:
        boundary = secrets.token_hex(16)
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        heads = [_part_head(boundary, span, bundle.size) for span in spans]
        tail = f"\r\n--{boundary}--\r\n".encode()
        length = sum(len(head) for head in heads) + sum(size for _, size in spans) + len(tail)
        pieces = _multipart(opened, heads, tail)
    else:
        length = spans[0][1]
        pieces = opened.pieces(spans[0])
        if partial:
            headers["Content-Range"] = ranges.content_range(spans[0], bundle.size)
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


def _multipart(opened: bundle_reads.OpenBundle, heads: list[bytes], tail: bytes) -> Iterator[bytes]:
    for head, span in zip(heads, opened.spans, strict=True):
        yield head
        yield from opened.pieces(span)
    yield tail


def _head_response(bundle: str) -> Response:
    """Respond to HEAD with the whole's headers. Nothing is opened, so no grant is needed, only the right to know."""
    known = _readable(bundle)
    return Response(headers={**_headers(known), "Content-Length": str(known.size)})


def _readable(bundle: str) -> Row[Any]:
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
