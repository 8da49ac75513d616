"""Where notices arrive: an https server that keeps what is posted to it, and a mail server (aiosmtpd) with TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from intake_api.serve.certificates import local_certificate


@dataclass
class Tls:
    """A certificate for this machine, and the authority that it is checked against."""

    authority: Path
    server: ssl.SSLContext

    @classmethod
    def made(cls, folder: Path) -> Tls:
        files = local_certificate(folder, datetime.now(UTC))
        assert files.authority is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        return cls(files.authority, context)


@dataclass
class Hook:
    """A running https server. `status` is its response to each post, `location` a header with it."""

    port: int
    status: int = 204
    location: str | None = None
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hook?for=contoso"


@contextmanager
def https_receiver(tls: Tls) -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            hook.paths.append(self.path)
            self.send_response(hook.status)
            if hook.location is not None:
                self.send_header("Location", hook.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.server.wrap_socket(server.socket, server_side=True)
    hook = Hook(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """A running mail server; `refuses` is its response to a recipient, if it takes none."""

    port: int = 0
    got: list[Message] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuses: str | None = None

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: Any) -> str:  # noqa: N802
        if self.refuses is not None:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes) and envelope.mail_from is not None
        self.got.append(message_from_bytes(envelope.content, policy=default))
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        self.encrypted.append(
            session.ssl is not None or server.transport.get_extra_info("cipher") is not None
        )
        return "250 OK"


@contextmanager
def mail_server(
    tls: Tls | None, *, implicit: bool = False, login: tuple[str, str] | None = None
) -> Iterator[Mailbox]:
    """With `tls` by STARTTLS, or `implicit`ly; without it unencrypted."""
    box = Mailbox()

    def known(_: object, __: object, ___: object, ____: object, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        well = (data.login.decode(), data.password.decode()) == login
        return AuthResult(success=well, handled=False)

    more: dict[str, Any] = {}
    if login is not None:
        more = {
            "authenticator": known,
            "auth_required": True,
            "auth_require_tls": tls is not None and not implicit,
        }
    if tls is not None and not implicit:
        more |= {"tls_context": tls.server, "require_starttls": True}
    kwargs = {"ssl_context": tls.server} if tls is not None and implicit else {}
    with socket.create_server(("127.0.0.1", 0)) as free:  # aiosmtpd connects to the port that it was given
        box.port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **kwargs, **more)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
