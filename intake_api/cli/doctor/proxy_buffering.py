"""The line to the service: whether a proxy on it takes whole bodies before the service hears of them.

A proxy that does (nginx, unless told otherwise) writes what stamps send into its temporary files, in plain text, and
loses what had arrived of an upload whose line breaks. A client that announces a body and sends none of it can tell: the
service refuses at once, because it asks for a body only where it wants one (Expect: 100-continue, RFC 9110 section
10.1.1); such a proxy asks for the body itself, and waits.
"""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from intake_api.cli.cli_errors import CliError

PATIENCE = 5.0
OWN_NAME = "granian"
_HEAD = (
    "PUT /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n"
    "Expect: 100-continue\r\nConnection: close\r\n\r\n"
)
_HELD = (
    "a proxy before {server} takes whole bodies before the service hears of them, as nginx does by default: bundles "
    "lie in its temporary files, in plain text, and a cut upload starts anew. Pass TCP through, or turn its buffering "
    "off (docs/deployment.md#a-proxy-in-front)"
)


def takes_no_body_first(server: str, ca: Path | None, patience: float = PATIENCE) -> str:
    """Say what is on the line, when bodies are not held back; CliError when they are."""
    parts = urlsplit(server)
    host, port = parts.hostname or "", parts.port or 443
    context = ssl.create_default_context(cafile=ca)
    try:
        with (
            socket.create_connection((host, port), patience) as bare,
            context.wrap_socket(bare, server_hostname=host) as line,
        ):
            line.sendall(_HEAD.format(host=parts.netloc).encode())
            response = HTTPResponse(line, method="PUT")
            try:
                response.begin()  # skips 100 Continue
            except TimeoutError:
                raise CliError(_HELD.format(server=server)) from None
    except (OSError, HTTPException) as error:
        raise CliError(f"the line to {server} could not be tested: {type(error).__name__}") from None
    named = [response.getheader(name) for name in ("Via", "Server")]
    others = [name for name in named if name and name != OWN_NAME]
    if others:
        return f"bodies come through as they are sent; TLS ends at a proxy before the service ({', '.join(others)})"
    return "bodies come through as they are sent"
