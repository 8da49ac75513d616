"""The service itself: whether it is up, whether it is ready, and what its problems mean."""

from __future__ import annotations

from html import escape

from flask import Response, jsonify

from intake_api.api.authentication import the_door
from intake_api.api.problem_codes import PROBLEMS
from intake_api.api.readiness import APART, CHECKS, LATE, OK
from intake_api.api.routes.blueprint import Blueprint
from intake_api.http.call_refused import CallRefused
from intake_api.schemas.service import Health, Readiness

routes = Blueprint("service", __name__, description="Health, and what the problems mean")


@routes.on("GET", "/healthz")
@routes.gives(200, described=Health)
def health() -> Response:
    """Report that the process is up."""
    return jsonify({"status": "ok"})


@routes.on("GET", "/readyz")
@routes.gives(
    200,
    described=Readiness,
    description="Every part responds. 503 names those that do not and why nothing is opened, or says that a stop began",
)
def readiness() -> Response:
    """Report whether every part that custody needs responds, and no stop was requested.

    Responds within two seconds even when a part does not; checks at most once every few seconds, however many ask.
    """
    if the_door().draining():
        response = jsonify({"status": "draining"})
        response.status_code = 503
        return response
    found = the_door().readiness.get(lambda: the_door().parts.look(the_door().services))
    checks = dict(found or dict.fromkeys(CHECKS, LATE))
    apart = {name: checks.pop(name, "unknown") for name in APART}
    ready = set(checks.values()) == {OK}
    status = "ok" if ready else "unavailable"
    response = jsonify({"status": status, "checks": checks, **apart})
    response.status_code = 200 if ready else 503
    return response


@routes.on("GET", "/problems/<code>")
@routes.gives(200, {"type": "string"}, content_type="text/html", description="What a problem's type means")
def problem_page(code: str) -> Response:
    """Explain a problem's type, and what to do."""
    problem = PROBLEMS.get(code)
    if problem is None:
        raise CallRefused("not-found", "there is no problem with this code")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(problem.title)}</title>'
        f"<h1>{escape(problem.title)}</h1><p><code>{escape(code)}</code>, HTTP {problem.status}</p>"
        f"<p>{escape(problem.advice)}</p></html>\n"
    )
    headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    return Response(page, content_type="text/html; charset=utf-8", headers=headers)
