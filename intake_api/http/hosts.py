"""Loopback hosts (RFC 6761 section 6.3), and the check of the Host header (RFC 9112 section 3.2). Pure.

- Loopback is 127.0.0.0/8, ::1, and the name localhost.
- There must be one Host header, with a possible name. The server passes a missing one on as empty, and two joined by a
  comma, which no name here can hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(:[0-9]{0,5})?", re.ASCII)


def is_one_host(environ: Mapping[str, Any]) -> bool:
    """Return whether the request names exactly one host; HTTP/1.0 need not name any."""
    host = environ.get("HTTP_HOST", "")
    if not host:
        return bool(environ.get("SERVER_PROTOCOL") != "HTTP/1.1")
    return _HOST.fullmatch(host) is not None


def is_loopback_address(text: str) -> bool:
    """Return whether `text` is a loopback address; a name never is."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_loopback_host(host: str) -> bool:
    """Return whether `host` is localhost or a loopback address."""
    return host.lower().rstrip(".") == "localhost" or is_loopback_address(host)


def ensure_loopback(host: str) -> None:
    """Raise ValueError unless the host is loopback; any other name could resolve anywhere."""
    if not is_loopback_host(host):
        raise ValueError(
            "the development issuer gives tokens to anybody, so it works only on 127.0.0.1, ::1 or localhost, "
            f"not on {host!r}: bind to loopback, or configure a real issuer"
        )
