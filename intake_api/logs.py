"""The service's logs on standard error: one JSON object per line.

Rules:
- No query string, no header, no body: they may hold a token or a signature.
- A request is named by its route, not by its path: paths hold file names and case numbers, which are particulars.
- Lines logged while a request is served carry its trace: the caller's (W3C Trace Context), or one begun here.

Fields of each line: time, level, from, message; where present also trace_id, trace (of an error) and the message's own
facts. A request's facts: method, status, route, request_id, ms.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flask import Flask, request, request_started

from intake_api.http.request_body import Answer
from intake_api.processes import places_of
from retention.telemetry.observer import NOTHING, Observer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUTE = "casevault.route"
REQUESTS = logging.getLogger("casevault.requests")
ERRORS = logging.getLogger("casevault.errors")
_TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)


class JsonLines(logging.Formatter):
    """A formatter that writes a record as one line, with the fields of `extra={"facts": {...}}` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "from": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if (trace_id := _TRACE_ID.get()) is not None:
            line["trace_id"] = trace_id
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info).splitlines()
        return json.dumps(line, ensure_ascii=False)


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"_granian": {"level": "INFO"}},
}
"""For logging.config.dictConfig."""


class RequestLog:
    """WSGI middleware that logs each request, and notifies the observer, once its last byte was handed over or its
    caller left."""

    def __init__(self, app: WSGIApplication, observer: Observer = NOTHING) -> None:
        self._app, self._observer = app, observer
        self._open, self._ended = 0, threading.Condition()

    def wait_until_ended(self, seconds: float) -> None:
        """Wait until the last request's end is logged, for at most `seconds`."""
        with self._ended:
            self._ended.wait_for(lambda: not self._open, seconds)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = perf_counter()
        method = environ["REQUEST_METHOD"]
        facts: dict[str, Any] = {"method": method}
        watched = self._observer.request(environ.get("HTTP_TRACEPARENT"))
        _TRACE_ID.set(watched.trace_id)
        with self._ended:
            self._open += 1

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            facts["status"] = int(status[:3])
            facts["request_id"] = next((value for name, value in headers if name == "X-Request-Id"), None)
            return start_response(status, headers, *more)

        def ended() -> None:
            route, seconds = environ.get(ROUTE), perf_counter() - begun
            facts["route"] = route
            facts["ms"] = round(seconds * 1000, 3)
            _TRACE_ID.set(watched.trace_id)  # the end may come in another thread
            REQUESTS.info("request", extra={"facts": facts})
            _TRACE_ID.set(None)
            watched.ended(method, route, facts.get("status", 0), seconds)
            with self._ended:
                self._open -= 1
                self._ended.notify_all()

        with watched.within():
            try:
                return Answer(self._app(environ, started), ended)
            except BaseException:
                ended()
                raise


def log_unexpected(error: BaseException, request_id: str) -> None:
    """Log an error's type and place, never its text, under the request's id."""
    cause = getattr(error, "original_exception", None) or error
    ERRORS.error("request %s: %s", request_id, places_of(cause))


def note_routes(app: Flask) -> None:
    """Put the route of each request to `app` in its log line."""
    request_started.connect(_note_route, app, weak=False)


def _note_route(_app: Flask, **_more: Any) -> None:
    request.environ[ROUTE] = request.url_rule.rule if request.url_rule else None
