"""The HTTP API as a Flask application: rules before and after every route, the routes, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, g, request
from flask_smorest import Api  # type: ignore[import-untyped]

from intake_api.api import authentication, looks, problems
from intake_api.api.context import AppContext
from intake_api.api.routes import RESOURCES
from intake_api.api.routes.witness import witness_blueprint
from intake_api.http import cross_origin
from intake_api.http.method_override import MethodOverride
from intake_api.identity import development_blueprint
from intake_api.schemas.fields import ProblemDetails
from retention.domain.actor import Actor

_CONFIG = {
    "API_TITLE": "casevault",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/",
    "API_SPEC_OPTIONS": {"security": [{"bearer": []}]},
    "MAX_CONTENT_LENGTH": authentication.MOST_BODY,
    "PROVIDE_AUTOMATIC_OPTIONS": False,
}
COSIGNING = "/witness"
"""The prefix, for submission and for monitoring, under which others' logs are cosigned (C2SP tlog-witness)."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000",
}


class _Api(Api):  # type: ignore[misc]
    """flask-smorest without its own error responses: `problems` is the only table, and is documented here."""

    def _register_error_handlers(self) -> None:
        pass

    def _register_responses(self) -> None:
        content = {"application/problem+json": {"schema": ProblemDetails}}
        invalid = HTTPStatus(422).name  # Python renamed it in 3.13
        for name, description in (("DEFAULT_ERROR", "A problem"), (invalid, "Invalid fields")):
            self.spec.components.response(name, {"description": description, "content": content}, lazy=True)


def _without_empty_default(
    _converter: object, _field: object, *, ret: dict[str, Any], **_: object
) -> dict[str, Any]:
    """Drop an optional field's default of null or empty text: sent, it could break the field's own type."""
    if ret.get("default", ...) in (None, ""):
        del ret["default"]
    return {}


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages for people beside the API: their routes, and who finds out who calls there."""

    blueprint: Blueprint
    find_caller: Callable[[], Actor | None]


def create_app(door: AppContext, pages: Pages | None = None) -> Flask:
    """Make the API over `door`, with `pages` beside it."""
    app = Flask("casevault", static_folder=None)
    app.config.update(_CONFIG)
    app.url_map.merge_slashes = False  # a file's path inside a bundle is taken literally
    authentication.install(app, door, {pages.blueprint.name: pages.find_caller} if pages else {})
    problems.install(app)
    app.after_request(_finish)  # runs last
    app.after_request(looks.enter)
    api = _Api(app)
    api.ma_plugin.converter.add_attribute_function(_without_empty_default)
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for routes in RESOURCES:
        api.register_blueprint(routes)
    if pages is not None:
        app.register_blueprint(pages.blueprint)
    if door.development is not None:
        bind = urlsplit(door.development.issuer).hostname or ""
        app.register_blueprint(development_blueprint(door.development, bind=bind))
    if door.cosigning is not None:
        app.register_blueprint(witness_blueprint(door.cosigning), url_prefix=COSIGNING)
    looks.check(app)
    app.wsgi_app = MethodOverride(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _finish(response: Response) -> Response:
    _add_cors_headers(response)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.request_id
    return response


def _add_cors_headers(response: Response) -> None:
    """Tell a page of another origin whether it is allowed to read this response (CORS)."""
    if request.blueprint not in cross_origin.BLUEPRINTS:
        return
    response.vary.add("Origin")
    origin, listed = request.headers.get("Origin"), authentication.the_door().upload_origins
    preflight = request.method == "OPTIONS"
    response.headers.extend(cross_origin.headers_for(origin, listed, preflight=preflight))
