"""The URL of a PostgreSQL database, and the check that it is safe. Needs no driver.

- The form is `postgresql://user@host:port/database?sslmode=verify-full&sslrootcert=...`. Every parameter that libpq
  knows is allowed in its query and is passed on.
- Over a network TLS with the server's name checked is required (`sslmode=verify-full`); a Unix socket or loopback may
  go without (P1).
"""

from __future__ import annotations

import ipaddress

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

CONNECTIONS = 20
"""The most connections that one process opens."""


class UnsafeUrlError(ValueError):
    """A URL that cannot be used; the text says why, without the URL."""


def check_url(url: str) -> URL:
    """Parse the URL if it is safe to use; UnsafeUrlError otherwise."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnsafeUrlError("it is not a URL; expected postgresql://user@host/database") from None
    if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise UnsafeUrlError("it must begin with postgresql://")
    if not parsed.database:
        raise UnsafeUrlError("it names no database; expected postgresql://user@host/database")
    if "service" in parsed.query:
        raise UnsafeUrlError(
            "a service file may name another machine: give its parameters here, not service="
        )
    if not all(is_local(host) for host in _hosts(parsed)) and parsed.query.get("sslmode") != "verify-full":
        raise UnsafeUrlError(
            "it reaches another machine without TLS that checks the server's name: "
            "add ?sslmode=verify-full&sslrootcert=<file with the server's CA> (P1)"
        )
    return parsed.set(drivername="postgresql+psycopg")


def is_here(url: str) -> bool:
    """Tell whether all of the database is on this machine, and so shares its clock."""
    return all(is_local(host) for host in _hosts(make_url(url)))


def _hosts(url: URL) -> list[str]:
    """List every host that the URL names: in its place, and in its query (several, for failover)."""
    named = url.query.get("host", ())
    several = [named] if isinstance(named, str) else list(named)
    spread = [host for text in several for host in text.split(",")]
    address = url.query.get("hostaddr", ())
    return [
        *([url.host] if url.host else []),
        *(_bare(host) for host in spread),
        *([address] if isinstance(address, str) else address),
    ]


def _bare(host: str) -> str:
    """Strip the port, which SQLAlchemy accepts in the query as host:port."""
    return host if host.startswith("/") else host.rsplit(":", 1)[0]


def is_local(host: str) -> bool:
    """Tell whether the host, or the folder of a socket, is this machine."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
