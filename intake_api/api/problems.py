"""Errors -> HTTP, the only such table: RFC 9457 problem details, whose codes are in `problem_codes`.

Rules:
- What a caller learns of an exception is decided here. One that is not listed shows nothing but the request's id; its
  type and place go to the service's log, never its text, which could quote a name, a token or a statement's values.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, json, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError

from audit.log.query import CursorError
from audit.times import rfc3339
from audit.tlog.tile_store import TilesUnavailableError
from intake_api.api import looks
from intake_api.api.authentication import LARGE_BODIES, the_door
from intake_api.api.problem_codes import PROBLEMS
from intake_api.http.call_refused import CallRefused
from intake_api.http.draining import drain
from intake_api.http.seats import Busy, holder_of
from intake_api.identity import InvalidToken, KeysUnavailable, TokenRefusal
from intake_api.logs import log_unexpected
from retention.archive import ArchiveError, FileNotReadable
from retention.domain.actor import NO_ROLE
from retention.domain.faults import CustodyError, Invalid
from retention.envelope.format import KeyWrapperError, NewerFraming, SealBroken, WrappedKeyBroken
from retention.objects.store_errors import KeyDestroyed, KeyMissing, PartMissing, StoreFull, StoreUnavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

RETRY_SECONDS = "5"
_ENTERED_BY_READ = frozenset({"no-such-file"})
"""Problems that the end of a read has entered in the log."""
_BODY_ENDED = frozenset({"request-timeout", "incomplete-body", "upload-taken-over"})
"""Problems of a body that brings no more bytes, or whose request was asked to let go: the rest is not waited for."""
_NOT_DRAINED = _BODY_ENDED | {"busy"}
"""Nor is that of a request that found no seat: draining its body would take another seat."""


_CODE_OF_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "refused",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
    416: "unsatisfiable-range",
    422: "invalid",
    503: "unavailable",
}
"""For errors that the web framework raises by itself."""


@dataclass(frozen=True, slots=True)
class Told:
    """The response to an exception, before it becomes problem details."""

    code: str
    detail: str
    reason: str | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def _custody(error: CustodyError) -> Told:
    if error.again_after is not None and not _is_upload():
        wait = str(round(error.again_after.total_seconds()))
        detail = f"you have been refused too often; wait {wait} seconds. This time: {error.message}"
        return Told("too-many-refusals", detail, error.reason, headers={"Retry-After": wait})
    errors = error.errors if isinstance(error, Invalid) else {}
    return Told(error.code, error.message, error.reason, errors, error.facts, _scope(error))


def _scope(error: CustodyError) -> dict[str, str]:
    """Return the challenge of RFC 6750 section 3.1 for a valid token that gives its bearer no rights here."""
    if error.reason != NO_ROLE:
        return {}
    return {
        "WWW-Authenticate": f'Bearer realm="casevault", error="insufficient_scope", error_description="{error.message}"'
    }


def _is_upload() -> bool:
    """Return whether this is an upload: its clients do not know 429 (RFC 6585), so they get the refusal itself."""
    return request.blueprint == "uploads" or request.endpoint in LARGE_BODIES


def _call(error: CallRefused) -> Told:
    return Told(error.code, error.detail, error.reason, {}, error.facts, error.headers)


def _token(error: InvalidToken) -> Told:
    # RFC 6750 section 3.1: no error code for a caller that sent no token at all.
    named = (
        ""
        if error.code is TokenRefusal.MISSING
        else f', error="invalid_token", error_description="{error.message}"'
    )
    headers = {"WWW-Authenticate": f'Bearer realm="casevault"{named}'}
    return Told("unauthenticated", error.message, error.code.value, headers=headers)


def _archive(error: ArchiveError) -> Told:
    reason = error.reason.code.replace("_", "-") if isinstance(error, FileNotReadable) else None
    return Told(error.code.replace("_", "-"), str(error), reason)


def _database(error: DBAPIError) -> Told:
    if "disk is full" in str(error.orig):
        return Told("store-full", "the records have no room left; nothing was done")
    return Told("unavailable", "the records do not respond; nothing was done", "records")


def _system(error: OSError) -> Told:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Told("store-full", "the disk is full; nothing was done")
    raise error


def _http(error: HTTPException) -> Told:
    code = _CODE_OF_STATUS.get(error.code or 500, "malformed" if (error.code or 500) < 500 else "internal")
    detail = "there is no such address" if error.code == 404 else PROBLEMS[code].advice
    allowed = getattr(error, "valid_methods", None)
    return Told(code, detail, headers={"Allow": ", ".join(sorted(allowed))} if allowed else {})


def _busy(error: Busy) -> Told:
    return Told("busy", str(error), error.reason)


def _fixed(code: str, detail: str, reason: str | None = None) -> Callable[[Any], Told]:
    return lambda _error: Told(code, detail, reason)


_BROKEN = _fixed("seal-broken", "what is stored of this bundle is not what was sealed; none of it is shown")
_RESPONSES: tuple[tuple[type[Exception], Callable[[Any], Told]], ...] = (
    (CustodyError, _custody),
    (CallRefused, _call),
    (Busy, _busy),
    (InvalidToken, _token),
    (KeysUnavailable, _fixed("unavailable", "the issuer's keys are unavailable now", "issuer-keys")),
    (CursorError, lambda error: Told("invalid", str(error), None, {"cursor": "use the previous page's"})),
    (ArchiveError, _archive),
    (StoreFull, _fixed("store-full", "the store has no room left")),
    (StoreUnavailable, _fixed("unavailable", "the store does not respond", "store")),
    (TilesUnavailableError, _fixed("unavailable", "the log's store does not respond", "log")),
    (KeyDestroyed, _fixed("erased", "this bundle is being erased; only its tombstone is kept")),
    (KeyMissing, _BROKEN),
    (PartMissing, _BROKEN),
    (SealBroken, _BROKEN),
    (WrappedKeyBroken, _BROKEN),
    (
        NewerFraming,
        _fixed("unavailable", "this bundle was sealed by a newer version of the service", "newer-framing"),
    ),
    (KeyWrapperError, _fixed("unavailable", "the key-encryption key cannot be used now", "key-wrapper")),
    (DBAPIError, _database),
    (PoolTimeout, _fixed("unavailable", "the records are too busy; nothing was done", "records")),
    (OSError, _system),
    (HTTPException, _http),
)
"""The first matching row applies."""


def tell(error: Exception) -> Told:
    """Return what a caller is told of `error`; nothing of one that is not listed."""
    try:
        for kind, teller in _RESPONSES:
            if isinstance(error, kind):
                return teller(error)
    except OSError:
        pass
    return Told("internal", "something went wrong here; the service's log has details under the request's id")


def settle(error: Exception) -> Told:
    """Return what the caller is told of `error`, once that is entered and the rest of the body is read; log an
    unexpected one by type and place."""
    told = tell(error)
    if not (getattr(error, "entered", False) or told.code in _ENTERED_BY_READ):
        try:
            looks.enter_untold(PROBLEMS[told.code].status, told.code, told.reason)
        except Exception as unwritten:  # what cannot be entered is not told
            error, told = unwritten, tell(unwritten)
    problem = PROBLEMS[told.code]
    if told.code not in _NOT_DRAINED:
        drain(request.environ, the_door().stall_seconds, holder_of(g.actor) if "actor" in g else None)
    if problem.status >= 500 and told.code != "busy":
        log_unexpected(error, g.get("request_id", "-"))
    return told


def answer(error: Exception) -> Response:
    """Make the problem details for `error`, settled."""
    told = settle(error)
    problem = PROBLEMS[told.code]
    body = {
        "type": f"/problems/{told.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": told.detail,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
        **({"reason": told.reason} if told.reason else {}),
        **({"errors": told.errors} if told.errors else {}),
        **{name: _json_value(value) for name, value in told.facts.items()},
    }
    status = f"{problem.status} {problem.title}"  # servers have no name for 460
    response = Response(json.dumps(body), status, content_type="application/problem+json")
    response.headers.extend(told.headers)
    if problem.status == 503:
        response.headers["Retry-After"] = RETRY_SECONDS
    return response


def turned_away(busy: Busy) -> WSGIApplication:
    """Make the response to a request that finds no seat, which is neither read nor passed to any part."""
    problem = PROBLEMS["busy"]
    request_id = secrets.token_hex(12)
    body = {
        "type": "/problems/busy",
        "title": problem.title,
        "status": problem.status,
        "detail": str(busy),
        "request_id": request_id,
        "reason": busy.reason,
    }
    headers = {"Retry-After": RETRY_SECONDS, "X-Request-Id": request_id, "Cache-Control": "no-store"}
    return Response(json.dumps(body), problem.status, headers, content_type="application/problem+json")


def _json_value(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value


def install(app: Flask) -> None:
    """Respond to every error of `app` by this table."""

    def handle(error: Exception) -> Response:
        if isinstance(error, InternalServerError) and isinstance(error.original_exception, Exception):
            return answer(error.original_exception)
        return answer(error)

    app.register_error_handler(Exception, handle)
