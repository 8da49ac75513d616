"""The method override of tus clients: behind a proxy without PATCH and DELETE they send POST, and name the method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


_OF_A_BODY = ("content-length", "content-type")
_OVERRIDABLE = frozenset({"PATCH", "DELETE", "HEAD"})


class MethodOverride:
    """WSGI middleware that applies X-HTTP-Method-Override, to a POST on uploads only."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        meant = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        upload = environ.get("PATH_INFO", "").startswith("/uploads/")
        if upload and environ["REQUEST_METHOD"] == "POST" and meant in _OVERRIDABLE:
            environ["REQUEST_METHOD"] = meant
            if meant == "HEAD":  # on the wire it is a POST, so Content-Length must be that of the empty body
                return self._app(environ, _bodiless(start_response))
        return self._app(environ, start_response)


def _bodiless(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_A_BODY]
        return start_response(status, [*kept, ("Content-Length", "0")], *more)

    return start
