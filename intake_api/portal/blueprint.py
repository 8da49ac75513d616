"""The portal's routes together: who is calling, which requests are taken, and errors as pages.

Rules:
- Every page but those of `OPEN` needs a session (`browser_session`); without one a page leads to the sign-in and back.
- A request that another site began is refused: `Sec-Fetch-Site` says so, or where a browser does not send it, `Origin`.
  Only following a link to a page is taken from anywhere (a link in a mail), for it changes nothing.
- The back-channel of the issuer is no browser: its token is its proof.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, g, redirect, request
from werkzeug.exceptions import InternalServerError

from intake_api.api import problems
from intake_api.api.app import Pages
from intake_api.api.authentication import custody, note_refused
from intake_api.api.context import AppContext
from intake_api.api.problem_codes import PROBLEMS
from intake_api.http.call_refused import CallRefused
from intake_api.identity import InvalidToken, IssuerAway, SignInFailed
from intake_api.portal import (
    approval_pages,
    auditor_pages,
    check_pages,
    engineer_pages,
    event_pages,
    notice_pages,
    operator_pages,
    page,
    reading_pages,
    sign_in_pages,
    upload_pages,
)
from intake_api.portal.browser_session import COOKIE, SignInNeeded, drop_cookie, find_caller
from retention.domain.actor import Actor

NAME = "portal"
OPEN = frozenset(
    f"{NAME}.{name}"
    for name in (
        "root",
        "asset",
        "sign_in",
        "start",
        "callback",
        "choose_person",
        "issuer_signed_out",
        "missing",
    )
)
"""Endpoints without a session."""
_BACK_CHANNEL = f"{NAME}.issuer_signed_out"
_FOR_EVER = "public, max-age=31536000, immutable"


def portal_pages(door: AppContext) -> Pages | None:
    """Return the portal for an application; None where nobody could sign in: no client at the issuer is configured."""
    if door.development is None and door.sign_in is None:
        return None
    routes = Blueprint(NAME, __name__)
    routes.add_url_rule("/", "root", _to_portal)
    routes.add_url_rule("/portal/assets/<mark>/<name>", "asset", _asset)
    for room in (
        sign_in_pages,
        engineer_pages,
        reading_pages,
        event_pages,
        operator_pages,
        upload_pages,
        approval_pages,
        notice_pages,
        auditor_pages,
        check_pages,
    ):
        for method, rule, endpoint, view in room.ROUTES:
            routes.add_url_rule(f"/portal{rule}", endpoint, view, methods=[method])
    routes.add_url_rule("/portal/<path:_>", "missing", _missing)
    routes.register_error_handler(Exception, _error_page)
    return Pages(routes, _find_caller)


def _find_caller() -> Actor | None:
    if request.endpoint != _BACK_CHANNEL:
        _refuse_other_sites()
    return None if request.endpoint in OPEN else find_caller()


def _refuse_other_sites() -> None:
    site, reads = request.headers.get("Sec-Fetch-Site"), request.method in ("GET", "HEAD")
    if site in ("same-origin", "none") or (reads and site is None):
        return
    if reads and request.headers.get("Sec-Fetch-Dest") == "document":
        return  # a link in a mail, or the issuer's way back
    origin = request.headers.get("Origin")
    if site is None and origin is not None and urlsplit(origin).netloc == request.host:
        return
    raise CallRefused(
        "refused", "another site began this request; open the portal and do it there", reason="other-site"
    )


def _to_portal() -> Response:
    return redirect("/portal/", 303)  # type: ignore[return-value]


def _asset(mark: str, name: str) -> Response:
    try:
        content, kind, current = page.asset(name)
    except (KeyError, OSError):
        raise CallRefused("not-found", "there is no such file of the portal") from None
    kept = {"Cache-Control": _FOR_EVER} if mark == current else {}
    return Response(content, content_type=kind, headers=kept)


def _missing(_: str) -> Response:
    raise CallRefused("not-found", "there is no such page; start from the first one")


def _error_page(error: Exception) -> Response:
    if isinstance(error, InternalServerError) and isinstance(error.original_exception, Exception):
        error = error.original_exception
    if request.endpoint in upload_pages.SPOKEN and not isinstance(error, (SignInNeeded, IssuerAway)):
        return problems.answer(error)
    if isinstance(error, SignInNeeded):
        back = request.full_path.rstrip("?") if request.method == "GET" else "/portal/"
        response: Response = redirect(f"/portal/sign-in?to={quote(back, safe='/')}", 303)  # type: ignore[assignment]
        drop_cookie(response, COOKIE)
        return response
    if isinstance(error, (SignInFailed, InvalidToken)):
        note_refused(custody(), request.remote_addr or "", "sign-in-failed", g.request_id)
    if isinstance(error, SignInFailed):
        return page.show("failed_sign_in.html", 403, why=str(error), request_id=g.request_id)
    if isinstance(error, IssuerAway):
        return page.show("failed_sign_in.html", 503, why=str(error), request_id=g.request_id)
    told = problems.settle(error)
    problem = PROBLEMS[told.code]
    shown = page.show(
        "problem.html",
        problem.status,
        title=problem.title,
        detail=told.detail,
        advice=problem.advice,
        errors=told.errors,
        request_id=g.get("request_id", ""),
    )
    shown.headers.extend({name: value for name, value in told.headers.items() if name != "WWW-Authenticate"})
    return shown
