"""Refused calls, a method override for tus clients behind proxies, and Content-Disposition.

- A call is refused here when HTTP itself makes it wrong, whatever it is about: no length, wrong type, impossible range.
- tus: a client behind a proxy that knows no PATCH or DELETE sends POST, and the method it means in a header.
- Content-Disposition serves names that others chose (RFC 6266, RFC 8187).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote


class CallRefused(Exception):
    """A call that HTTP makes wrong. `code` names a row of `problem_codes`; the response carries `headers`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.reason = reason
        self.headers: Mapping[str, str] = dict(headers or {})
        self.facts: Mapping[str, object] = facts


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&()+,-.;=@[]^_`{}~")


def attachment(name: str) -> str:
    """Return a header that saves, never shows, the file: its name in ASCII for old clients, and as it is."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1] or "file"
    plain = "".join(c if c in _PLAIN else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"


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
