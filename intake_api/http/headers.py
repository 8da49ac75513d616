"""tus: a client behind a proxy that knows no PATCH or DELETE sends POST and says what it means.

A call that HTTP itself makes wrong, whatever it is about: missing length, wrong type, impossible range.

Content-Disposition for a name that others chose (RFC 6266, RFC 8187). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote


class CallRefused(Exception):
    """`code` names a row of the table in `problem_codes`; headers go along with the answer."""

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
    """Save it, never show it; the name in ASCII for old readers, and as it is."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1] or "file"
    plain = "".join(c if c in _PLAIN else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"


if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_OF_A_BODY = ("content-length", "content-type")
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
            if meant == "HEAD":  # on the line it is a POST: its answer has the length of what is sent, none
                return self._app(environ, _bodiless(start_response))
        return self._app(environ, start_response)


def _bodiless(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_A_BODY]
        return start_response(status, [*kept, ("Content-Length", "0")], *more)

    return start
