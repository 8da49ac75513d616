"""The service about itself: is it up, is it ready, what do its problems mean."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from html import escape

from flask import Response, g, jsonify
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from intake_api.calling import custody, the_door
from intake_api.calls import CallRefused
from intake_api.problem_codes import PROBLEMS
from intake_api.problems import log_unexpected
from intake_api.routes.blueprint import Blueprint
from retention.custody.context import Custody
from retention.custody.opening import EntryNotKept
from retention.errors import Unavailable
from retention.inspecting import MOST_UNSEQUENCED
from retention.log_gate import check_now
from retention.observing.state import oldest_unsequenced
from retention.timekeeping import doubt, read_mark

routes = Blueprint("service", __name__, description="Health, and what the problems mean")
_PUBLIC: list[dict[str, list[str]]] = []


def _database(parts: Custody) -> None:
    with parts.records.read() as reads:
        reads.execute(text("SELECT 1"))


def _log(parts: Custody) -> None:
    parts.tiles.check()
    with suppress(DBAPIError, OSError):  # another check tells of the database
        check_now(parts.gate, parts.records, parts.clock.now())


def _unaltered(parts: Custody) -> None:
    with suppress(SQLAlchemyError, OSError):  # that it does not answer, `database` tells
        parts.schema.require(parts.records)
    if parts.openings.lost:
        raise EntryNotKept


_CHECKS: dict[str, Callable[[Custody], object]] = {
    "database": _database,
    "unaltered": _unaltered,
    "object_store": lambda parts: parts.objects.check(),
    "key_store": lambda parts: parts.keys.check(),
    "log": _log,
    "key_file": lambda parts: parts.wrapper.current_kek_id,
}


@routes.on("GET", "/healthz", security=_PUBLIC)
@routes.gives(200)
def health() -> Response:
    """The process answers."""
    return jsonify({"status": "ok"})


@routes.on("GET", "/readyz", security=_PUBLIC)
@routes.gives(
    200,
    description="Every part answers; 503 names the parts that do not, and why nothing is opened, or tells of a stop",
)
def readiness() -> Response:
    """Every part that custody needs answers, and no stop was asked for.

    Found out at most once in some seconds, however many ask.
    """
    if the_door().draining():
        response = jsonify({"status": "draining"})
        response.status_code = 503
        return response
    found = the_door().readiness.get(_look)
    checks = dict(found or {})  # nothing: a part has not answered for long
    # What takes this service out of nothing: the rest goes on while they do not.
    apart = {name: checks.pop(name, "unknown") for name in _APART}
    ready = set(checks.values()) == {"ok"}
    status = "ok" if ready else "unavailable"
    response = jsonify({"status": status, "checks": checks, **apart})
    response.status_code = 200 if ready else 503
    return response


def _look() -> dict[str, str]:
    return {name: _outcome(check) for name, check in _CHECKS.items()} | {
        name: _said(look) for name, look in _APART.items()
    }


def _uploads(parts: Custody) -> str:
    return (
        "no room: only what is kept for erasing and for the log" if parts.objects.free_space() == 0 else "ok"
    )


def _destruction(parts: Custody) -> str:
    with parts.records.read() as reads:
        return doubt(read_mark(reads)) or "ok"


def _sequencing(parts: Custody) -> str:
    with parts.records.read() as reads:
        waits = oldest_unsequenced(reads, parts.clock.now())
    late = f"late: an entry waits for its place in the log for {waits:.0f} s"
    return late if waits > MOST_UNSEQUENCED.total_seconds() else "ok"


_APART: dict[str, Callable[[Custody], str]] = {
    "uploads": _uploads,
    "destruction": _destruction,
    "sequencing": _sequencing,
}


def _said(look: Callable[[Custody], str]) -> str:
    try:
        return look(custody())
    except Exception:  # the checks tell what is wrong
        return "unknown"


def _outcome(check: Callable[[Custody], object]) -> str:
    try:
        check(custody())
    except Unavailable as error:  # its words are for callers
        return error.message
    except Exception as error:  # whatever is wrong with a part, the answer is that it is not there
        log_unexpected(error, g.request_id)
        return "unavailable"
    return "ok"


@routes.on("GET", "/problems/<code>", security=_PUBLIC)
@routes.gives(200, content_type="text/html", description="What a problem's type means")
def problem_page(code: str) -> Response:
    """What a problem's type means, and what to do."""
    problem = PROBLEMS.get(code)
    if problem is None:
        raise CallRefused("not-found", "there is no such problem")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(problem.title)}</title>'
        f"<h1>{escape(problem.title)}</h1><p><code>{escape(code)}</code>, HTTP {problem.status}</p>"
        f"<p>{escape(problem.advice)}</p></html>\n"
    )
    headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    return Response(page, content_type="text/html; charset=utf-8", headers=headers)
