"""tus: a client behind a proxy that knows no PATCH or DELETE sends POST and says what it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_OVERRIDABLE = frozenset({"PATCH", "DELETE", "HEAD"})


class MethodOverride:
    """Applies X-HTTP-Method-Override, on uploads alone and to POST alone."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        meant = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        upload = environ.get("PATH_INFO", "").startswith("/uploads/")
        if upload and environ["REQUEST_METHOD"] == "POST" and meant in _OVERRIDABLE:
            environ["REQUEST_METHOD"] = meant
        return self._app(environ, start_response)
