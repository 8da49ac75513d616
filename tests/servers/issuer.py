"""An OpenID Connect issuer on this machine: over https, with tokens for whoever a test says. Keys as the development
issuer's; found by its discovery document, as any issuer is.
"""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from intake_api.identity import DevelopmentIssuer
from intake_api.serve.certificates import local_certificate
from retention.clock import SystemClock
from tests.service import Persona


class LocalIssuer:
    """`environment` makes a service trust it."""

    def __init__(self, folder: Path) -> None:
        made = local_certificate(folder / "tls", datetime.now(UTC))
        assert made.authority is not None
        self.authorities = made.authority
        handler = type("Handler", (_Documents,), {"issuer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"https://localhost:{self._server.server_address[1]}"
        self.tokens = DevelopmentIssuer(folder / "issuer.pem", self.address, "casevault", SystemClock())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {"CASEVAULT_ISSUER": self.address, "CASEVAULT_ISSUER_CA": str(self.authorities)}

    def bearer(self, who: Persona) -> dict[str, str]:
        """The header that lets `who` in."""
        token = self.tokens.token(who.subject, who.roles, directory=who.directory, partner=who.partner)
        return {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Documents(BaseHTTPRequestHandler):
    issuer: LocalIssuer

    def do_GET(self) -> None:
        address = self.issuer.address
        documents: dict[str, dict[str, object]] = {
            "/.well-known/openid-configuration": {"issuer": address, "jwks_uri": f"{address}/jwks"},
            "/jwks": self.issuer.tokens.key_set(),
        }
        found = documents.get(self.path)
        content = json.dumps(found or {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""
