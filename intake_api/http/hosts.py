"""What counts as this machine talking to itself: 127.0.0.0/8, ::1, and the name localhost (RFC 6761 section 6.3).

The Host header: one, and a name that can be one (RFC 9112 section 3.2). Pure.

The server hands a missing one over as empty, and two joined by a comma, which no name here may hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(:[0-9]{0,5})?", re.ASCII)


def is_one_host(environ: Mapping[str, Any]) -> bool:
    """Whether the request says which host it is for; HTTP/1.0 need not."""
    host = environ.get("HTTP_HOST", "")
    if not host:
        return bool(environ.get("SERVER_PROTOCOL") != "HTTP/1.1")
    return _HOST.fullmatch(host) is not None


def is_loopback_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_loopback_host(host: str) -> bool:
    return host.lower().rstrip(".") == "localhost" or is_loopback_address(host)


def ensure_loopback(host: str) -> None:
    """ValueError unless the host is loopback; any other name may resolve anywhere."""
    if not is_loopback_host(host):
        raise ValueError(
            "the development issuer gives tokens to anybody, so it works only on 127.0.0.1, ::1 or localhost, "
            f"not on {host!r}: bind to loopback, or configure a real issuer"
        )
