"""The settings of notices: read by the process that sends them, which is the clock.

| variable | meaning | default |
|---|---|---|
| CASEVAULT_ORIGIN | the service's public address, for links to the portal; the API has the same setting | no links |
| CASEVAULT_WEBHOOK_NETWORKS | networks that webhooks may reach though not public: 10.1.0.0/16, comma separated | none |
| CASEVAULT_NOTICES_CA | PEM bundle that certificates of webhooks and mail server are checked against | the system's |
| CASEVAULT_SMTP_HOST | the server that takes mail | none: no mail is sent |
| CASEVAULT_SMTP_PORT | its port | 587; 465 with tls |
| CASEVAULT_SMTP_SECURITY | starttls, tls, or none, for a server on this machine alone | starttls |
| CASEVAULT_SMTP_FROM | the sender's address; required with CASEVAULT_SMTP_HOST | none |
| CASEVAULT_SMTP_USER | the user to sign in as | none: no sign-in |
| CASEVAULT_SMTP_PASSWORD | the user's password; from a secret store, not from a file that others read | none |
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from retention.domain.faults import Invalid
from retention.domain.notice import Network, Way, check_address, read_networks

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """The server that takes the mail, and who it is from. `security`: `starttls`, `tls` or `none`."""

    host: str
    port: int
    sender: str
    security: str = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    authorities: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSettings:
    """The settings of the table above."""

    origin: str | None = None
    networks: tuple[Network, ...] = ()
    authorities: Path | None = None
    mail: MailServer | None = None


def notices_from_environment(environ: Mapping[str, str]) -> NoticeSettings:
    """Read the settings from `environ`; ValueError names the wrong variable and what is accepted."""
    authorities = environ.get("CASEVAULT_NOTICES_CA") or None
    origin = read_origin(environ, "CASEVAULT_ORIGIN", "https://casevault.example.com")
    try:
        networks = read_networks(environ.get("CASEVAULT_WEBHOOK_NETWORKS", ""))
    except ValueError as error:
        raise ValueError(f"CASEVAULT_WEBHOOK_NETWORKS cannot be used: {error}") from None
    path = None if authorities is None else Path(authorities).resolve()
    return NoticeSettings(origin=origin, networks=networks, authorities=path, mail=_mail(environ, path))


def read_origin(environ: Mapping[str, str], name: str, example: str) -> str | None:
    """Read an https origin, for every door alike; None where it is not set. ValueError says what it must look like."""
    text = environ.get(name)
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or "@" in text:
        raise ValueError(f"{name} must look like {example}, with no path, not {text!r}")
    return text.rstrip("/")


def _mail(environ: Mapping[str, str], authorities: Path | None) -> MailServer | None:
    host = environ.get("CASEVAULT_SMTP_HOST") or None
    if host is None:
        return None
    if not (_HOST.fullmatch(host) or _is_ip(host)):
        raise ValueError("CASEVAULT_SMTP_HOST must be a host's name or address, without a port")
    security = environ.get("CASEVAULT_SMTP_SECURITY") or "starttls"
    if security not in _PORTS:
        raise ValueError(f"CASEVAULT_SMTP_SECURITY must be starttls, tls or none, not {security!r}")
    if security == "none" and host not in _HERE:
        raise ValueError(
            f"CASEVAULT_SMTP_SECURITY is none, which is for a server on this machine, not for {host}: "
            "use starttls or tls"
        )
    port = environ.get("CASEVAULT_SMTP_PORT") or str(_PORTS[security])
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"CASEVAULT_SMTP_PORT must be a port from 1 to 65535, not {port!r}")
    user, password = (
        environ.get("CASEVAULT_SMTP_USER") or None,
        environ.get("CASEVAULT_SMTP_PASSWORD") or None,
    )
    if (user is None) != (password is None):
        raise ValueError(
            "only one of CASEVAULT_SMTP_USER and CASEVAULT_SMTP_PASSWORD is set: set both or neither"
        )
    return MailServer(
        host=host,
        port=int(port),
        sender=_sender(environ),
        security=security,
        user=user,
        password=password,
        authorities=authorities,
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _sender(environ: Mapping[str, str]) -> str:
    try:
        return check_address(Way.MAIL, environ.get("CASEVAULT_SMTP_FROM") or "", loopback=False)
    except Invalid:
        raise ValueError(
            "CASEVAULT_SMTP_FROM must be the sender's address, like casevault@example.com, where "
            "CASEVAULT_SMTP_HOST is set"
        ) from None
