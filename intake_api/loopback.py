"""° What counts as this machine talking to itself: 127.0.0.0/8, ::1, and the name localhost (RFC 6761 section 6.3)."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


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
