"""Pages of other origins that are allowed to send (CORS, https://fetch.spec.whatwg.org): uploads only.

Rules:
- An origin is compared as a whole with those that the deployment lists; there are no patterns, and none is listed by
  default. Any other page gets no CORS headers, so its browser keeps the response from it.
- Only uploads (tus and their preflight) are open to pages; every other address stays closed to them.
- A page sends its token in a header. Cookies are not used, so credentials are not allowed.
- A browser asks first, without a token: the response is the same for every upload, whether or not it exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from intake_api.http.hosts import is_loopback_address

BLUEPRINTS = frozenset({"uploads", "preflight"})
"""Blueprints that pages are allowed to call."""
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
"""Response headers that a page is allowed to read."""
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
    """Read a comma-separated list of origins. ValueError for one that no browser sends or no page should come from."""
    listed = [one.strip() for one in text.split(",")] if text.strip() else []
    for one in listed:
        if not _is_origin(one):
            raise ValueError(
                f"{one!r} is not an origin: write each as a browser sends it, like https://portal.example.com or "
                "https://portal.example.com:8443, in lower case, with no path and no *; http only on this machine"
            )
    return frozenset(listed)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:  # a malformed port or address
        return False
    if not host or "*" in host or not text.isascii() or parts.scheme not in ("https", "http"):
        return False
    if parts.scheme == "http" and not is_loopback_address("127.0.0.1" if host == "localhost" else host):
        return False
    default = {"https": 443, "http": 80}[parts.scheme]
    named = f"[{host}]" if ":" in host else host
    return text == f"{parts.scheme}://{named}{'' if port in (None, default) else f':{port}'}"


def headers_for(origin: str | None, listed: frozenset[str], *, preflight: bool) -> Mapping[str, str]:
    """Return the CORS headers of a response to a page of `origin`; none when it is not `listed`."""
    if origin is None or origin not in listed:
        return {}
    allowed = {"Access-Control-Allow-Origin": origin}
    return {**allowed, **(_PREFLIGHT if preflight else {"Access-Control-Expose-Headers": ", ".join(EXPOSED)})}
