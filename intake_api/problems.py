"""Errors -> HTTP: the only such table. Answers are RFC 9457 problem details.

Rules:
- One code, one row: its status, its title, and what to do about it (served at /problems/<code>).
- What an exception tells a caller is decided here. One that is not listed tells nothing but the request's id; its type
  and where it happened go to the log, never its text: a text may quote a name, a token or a statement's values.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Flask, Response, g, json, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError

from audit.query import CursorError
from audit.times import rfc3339
from intake_api.calls import CallRefused
from intake_api.identity import InvalidToken, KeysUnavailable, Refusal
from retention.archive import ArchiveError, FileNotReadable
from retention.envelope.errors import KeyWrapperError, SealBroken, WrappedKeyBroken
from retention.errors import CustodyError, Invalid
from retention.objects.errors import KeyDestroyed, KeyMissing, PartMissing, StoreFull, StoreUnavailable

LOG = logging.getLogger(__name__)
RETRY_SECONDS = "5"


@dataclass(frozen=True, slots=True)
class Problem:
    """A row of the table."""

    status: int
    title: str
    advice: str


PROBLEMS: Mapping[str, Problem] = {
    "malformed": Problem(
        400, "Malformed request", "The request cannot be read: correct it as `detail` says."
    ),
    "incomplete-body": Problem(
        400,
        "The body ended early",
        "Fewer bytes came than Content-Length announced. What came is kept: ask for the offset and go on there.",
    ),
    "unauthenticated": Problem(
        401,
        "Not authenticated",
        "Send a valid bearer token of the configured issuer; `reason` says what failed.",
    ),
    "refused": Problem(
        403,
        "Refused",
        "You are known and may not do this; `reason` says why. The refusal is in the audit log.",
    ),
    "not-found": Problem(
        404,
        "Not found",
        "There is no such thing, or it is not yours to see: both are answered alike. Check the id.",
    ),
    "no-such-file": Problem(
        404, "No such file in the bundle", "List the bundle's files and use a path as listed."
    ),
    "method-not-allowed": Problem(
        405, "Method not allowed", "This address does not take this method; see the Allow header."
    ),
    "request-timeout": Problem(
        408,
        "The body stalled",
        "No bytes came for too long. What came is kept: ask for the offset and go on there.",
    ),
    "conflict": Problem(
        409,
        "Not in this state",
        "The thing is not in a state that allows this; `reason` says which it is in.",
    ),
    "offset-mismatch": Problem(
        409, "Another offset", "The upload stands at another offset, given as `offset`: go on there."
    ),
    "upload-taken-over": Problem(
        409, "Taken over", "Another request writes to this upload now. Ask for the offset before going on."
    ),
    "erased": Problem(
        410,
        "Erased",
        "The data is gone for good, or going; the tombstone says when and why. Nothing brings it back.",
    ),
    "length-required": Problem(
        411, "Length required", "Send Content-Length. Bodies of unknown length (chunked) are not taken."
    ),
    "tus-version": Problem(412, "Another tus version", "Send `Tus-Resumable: 1.0.0`."),
    "too-large": Problem(413, "Too large", "More bytes than were announced, or than are taken at all."),
    "unsupported-media-type": Problem(
        415, "Unsupported media type", "Send the Content-Type that `detail` names."
    ),
    "unsatisfiable-range": Problem(
        416, "Unsatisfiable range", "Ask for ranges inside the bundle, not too many and not over each other."
    ),
    "invalid": Problem(422, "Invalid", "`errors` names each field that is wrong and says what would do."),
    "not-an-archive": Problem(
        422,
        "Not an archive",
        "The bundle holds no files that could be listed singly; read its content instead.",
    ),
    "file-not-readable": Problem(
        422,
        "The file cannot be read singly",
        "`reason` says why. The bundle's content can still be read as a whole.",
    ),
    "archive-damaged": Problem(
        422,
        "Damaged archive",
        "The archive inside the bundle is damaged; its bytes can still be read as a whole.",
    ),
    "archive-too-large": Problem(
        422,
        "Archive too large",
        "The archive goes past what is opened here; read the bundle's content instead.",
    ),
    "internal": Problem(
        500, "Internal error", "This is ours to mend. Give the request id to the administrator."
    ),
    "seal-broken": Problem(
        500,
        "The seal is broken",
        "What is stored is not what was sealed, so nothing of it is shown. Give the request id to the administrator.",
    ),
    "unavailable": Problem(
        503,
        "Unavailable",
        "A part of the service does not answer. Nothing was done; try again after Retry-After.",
    ),
    "store-full": Problem(
        507,
        "The store is full",
        "There is no room. What was received before is kept; the administrator must act.",
    ),
}

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
    """What a caller is told of an exception."""

    code: str
    detail: str
    reason: str | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def _custody(error: CustodyError) -> Told:
    errors = error.errors if isinstance(error, Invalid) else {}
    return Told(error.code, error.message, error.reason, errors, error.facts)


def _call(error: CallRefused) -> Told:
    return Told(error.code, error.detail, error.reason, {}, error.facts, error.headers)


def _token(error: InvalidToken) -> Told:
    # RFC 6750 section 3.1: no error code for a caller that brought no token at all.
    named = (
        ""
        if error.code is Refusal.MISSING
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
    return Told("unavailable", "the records do not answer; nothing was done", "records")


def _system(error: OSError) -> Told:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Told("store-full", "the disk is full; nothing was done")
    raise error


def _http(error: HTTPException) -> Told:
    code = _CODE_OF_STATUS.get(error.code or 500, "malformed" if (error.code or 500) < 500 else "internal")
    known = "there is no such address" if error.code == 404 else PROBLEMS[code].advice
    allowed = getattr(error, "valid_methods", None)
    return Told(code, known, headers={"Allow": ", ".join(sorted(allowed))} if allowed else {})


def _fixed(code: str, detail: str, reason: str | None = None) -> Callable[[Any], Told]:
    return lambda _error: Told(code, detail, reason)


_BROKEN = _fixed(
    "seal-broken", "what is stored of this bundle is not what was sealed; nothing of it is shown"
)
_TELL: tuple[tuple[type[Exception], Callable[[Any], Told]], ...] = (
    (CustodyError, _custody),
    (CallRefused, _call),
    (InvalidToken, _token),
    (KeysUnavailable, _fixed("unavailable", "the issuer's keys cannot be had now", "issuer-keys")),
    (CursorError, lambda error: Told("invalid", str(error), None, {"cursor": "use that of the page before"})),
    (ArchiveError, _archive),
    (StoreFull, _fixed("store-full", "the store has no room left")),
    (StoreUnavailable, _fixed("unavailable", "the store does not answer", "store")),
    (KeyDestroyed, _fixed("erased", "this bundle is being erased; only its tombstone is kept")),
    (KeyMissing, _BROKEN),
    (PartMissing, _BROKEN),
    (SealBroken, _BROKEN),
    (WrappedKeyBroken, _BROKEN),
    (KeyWrapperError, _fixed("unavailable", "the key-encryption key cannot be used now", "key-wrapper")),
    (DBAPIError, _database),
    (PoolTimeout, _fixed("unavailable", "the records are too busy; nothing was done", "records")),
    (OSError, _system),
    (HTTPException, _http),
)
"""The first row that fits tells."""


def tell(error: Exception) -> Told:
    """What a caller is told of `error`; of one that is not listed, nothing."""
    try:
        for kind, teller in _TELL:
            if isinstance(error, kind):
                return teller(error)
    except OSError:
        pass
    return Told("internal", "something went wrong here; the log knows more under the request's id")


def answer(error: Exception) -> Response:
    """The problem details for `error`; unexpected ones are logged by type and place."""
    told = tell(error)
    problem = PROBLEMS[told.code]
    if problem.status >= 500:
        log_unexpected(error, g.get("request_id", "-"))
    body = {
        "type": f"/problems/{told.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": told.detail,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
        **({"reason": told.reason} if told.reason else {}),
        **({"errors": told.errors} if told.errors else {}),
        **{name: _shown(value) for name, value in told.facts.items()},
    }
    response = Response(json.dumps(body), problem.status, content_type="application/problem+json")
    response.headers.extend(told.headers)
    if problem.status == 503:
        response.headers["Retry-After"] = RETRY_SECONDS
    return response


def log_unexpected(error: BaseException, request_id: str) -> None:
    """Type and place of an error, under the request's id; no text of it."""
    cause = getattr(error, "original_exception", None) or error
    frames = traceback.extract_tb(cause.__traceback__)[-12:]
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    LOG.error("request %s: %s at %s", request_id, type(cause).__name__, places)


def _shown(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value


def install(app: Flask) -> None:
    """Answer every error of `app` by this table."""

    def handle(error: Exception) -> Response:
        if isinstance(error, InternalServerError) and isinstance(error.original_exception, Exception):
            return answer(error.original_exception)
        return answer(error)

    app.register_error_handler(Exception, handle)
