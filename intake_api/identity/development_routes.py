"""The routes of the development issuer. NOT FOR PRODUCTION, and every response says so.

They serve only a peer on loopback that came directly (no forwarding header) and asked for a loopback name: a web page
whose own name resolves to 127.0.0.1 asks for another. Everybody else gets 403. The routes do not even exist when the
service binds to anything but loopback.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Blueprint, Response, json, request
from flask.typing import ResponseReturnValue

from intake_api.http.hosts import ensure_loopback, is_loopback_address, is_loopback_host
from intake_api.identity.caller import ROLE_OF_CLAIM_VALUE
from intake_api.identity.development import ALGORITHM, LIFETIME, DevelopmentIssuer

WARNING = "development issuer: not for production"
FORWARDING_HEADERS = frozenset({"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"})


def development_blueprint(issuer: DevelopmentIssuer, *, bind: str) -> Blueprint:
    """Make the routes below the issuer's own path. `bind`: the host listened on; ValueError unless it is loopback."""
    ensure_loopback(bind)
    routes = Blueprint("development", __name__, url_prefix=urlsplit(issuer.issuer).path.rstrip("/") or None)
    routes.before_request(refuse_strangers)

    @routes.get("/.well-known/openid-configuration")
    def configuration() -> Response:
        address = issuer.issuer.rstrip("/")
        return _answer(
            {
                "issuer": issuer.issuer,
                "jwks_uri": f"{address}/jwks",
                "token_endpoint": f"{address}/token",
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    @routes.get("/jwks")
    def key_set() -> Response:
        return _answer(issuer.key_set())

    @routes.post("/token")
    def token() -> Response:
        return _token(issuer)

    return routes


def _token(issuer: DevelopmentIssuer) -> Response:
    form = request.form
    subject, named = form.get("subject", ""), form.getlist("role")
    if not subject or not named:
        return _problem(HTTPStatus.BAD_REQUEST, "the form needs a subject and at least one role")
    if not set(named) <= ROLE_OF_CLAIM_VALUE.keys():
        return _problem(HTTPStatus.BAD_REQUEST, f"unknown role: use one of {', '.join(ROLE_OF_CLAIM_VALUE)}")
    token = issuer.token(
        subject,
        [ROLE_OF_CLAIM_VALUE[value] for value in named],
        directory=form.get("directory"),
        partner=form.get("partner"),
        name=form.get("name"),
    )
    return _answer(
        {"access_token": token, "token_type": "Bearer", "expires_in": int(LIFETIME.total_seconds())},
    )


def refuse_strangers() -> ResponseReturnValue | None:
    """Refuse whoever is not on this machine, or did not come directly."""
    straight = not any(header in request.headers for header in FORWARDING_HEADERS)
    if straight and is_loopback_address(request.remote_addr or "") and _asked_for_loopback():
        return None
    return _problem(HTTPStatus.FORBIDDEN, "this issuer serves only callers on the same machine")


def _asked_for_loopback() -> bool:
    try:
        return is_loopback_host(urlsplit(f"//{request.host}").hostname or "")
    except ValueError:
        return False


def _problem(status: HTTPStatus, detail: str) -> Response:
    """Make problem details (RFC 9457)."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return _answer(body, status, "application/problem+json")


def _answer(
    body: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK, content_type: str = "application/json"
) -> Response:
    response = Response(json.dumps({**body, "warning": WARNING}), status, content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Casevault-Warning"] = WARNING
    return response
