"""Pages of other origins that may send (CORS, https://fetch.spec.whatwg.org): from a list, and uploads alone.

Rules:
- An origin is compared as a whole with those that the deployment lists; there are no patterns, and none by default. Any
  other page is told nothing, so that its browser keeps the response from it.
- Only uploads (tus and their preflight) are open to pages; every other address stays closed to them.
- A page brings its token in a header. Cookies are not used, so credentials are not allowed.
- A browser asks first, without a token: the response is the same for every upload, whether or not it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from intake_api.http.hosts import is_loopback_address

BLUEPRINTS = frozenset({"uploads", "preflight"})
"""What pages may call."""
EXPOSED = (
    *("Location", "Retry-After", "X-Request-Id", "WWW-Authenticate"),
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *(
        "Upload-Offset",
        "Upload-Length",
        "Upload-Defer-Length",
        "Upload-Metadata",
        "Upload-Expires",
        "Upload-Concat",
    ),
)
"""Headers of responses that a page may read."""
_SENT = (
    *("Authorization", "Content-Type", "Tus-Resumable", "X-HTTP-Method-Override", "X-Request-ID"),
    *(
        "Upload-Offset",
        "Upload-Length",
        "Upload-Defer-Length",
        "Upload-Metadata",
        "Upload-Checksum",
        "Upload-Concat",
    ),
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, HEAD, PATCH, DELETE",
    "Access-Control-Allow-Headers": ", ".join(_SENT),
    "Access-Control-Max-Age": "600",
}


def read_origins(text: str) -> frozenset[str]:
    """The origins of a list separated by commas. ValueError for what no browser sends, or no page should come from."""
    listed = [one.strip() for one in text.split(",")] if text.strip() else []
    for one in listed:
        if not _is_origin(one):
            raise ValueError(
                f"{one!r} is no origin: write each as a browser sends it, like https://portal.example.com or "
                "https://portal.example.com:8443, in lower case, with no path and no *; http only on this machine"
            )
    return frozenset(listed)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:  # a port or an address that is none
        return False
    if not host or "*" in host or not text.isascii() or parts.scheme not in ("https", "http"):
        return False
    if parts.scheme == "http" and not is_loopback_address("127.0.0.1" if host == "localhost" else host):
        return False
    default = {"https": 443, "http": 80}[parts.scheme]
    named = f"[{host}]" if ":" in host else host
    return text == f"{parts.scheme}://{named}{'' if port in (None, default) else f':{port}'}"


def headers_for(origin: str | None, listed: frozenset[str], *, preflight: bool) -> Mapping[str, str]:
    """What a response to a page of this `origin` carries; nothing when it is not `listed`."""
    if origin is None or origin not in listed:
        return {}
    allowed = {"Access-Control-Allow-Origin": origin}
    return {**allowed, **(_PREFLIGHT if preflight else {"Access-Control-Expose-Headers": ", ".join(EXPOSED)})}
