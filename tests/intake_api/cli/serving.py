"""A small HTTPS server for the client's tests: a real socket, a real certificate, answers by script."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from intake_api.serve.certificates import local_certificate


@dataclass
class Answer:
    """What the server says; `cut` closes the connection without a word after reading so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    body = {"type": f"/problems/{code}", "status": status, "detail": detail, **more}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/problem+json"})


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    read: Callable[[int], bytes]


class Served(ThreadingHTTPServer):
    """Answers by `script(asked)`; keeps what was asked."""

    daemon_threads = True

    def __init__(self, folder: Path, script: Callable[[Asked], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[Asked] = []
        tls = local_certificate(folder, datetime.now(UTC))
        assert tls.authority is not None
        self.ca = tls.authority
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not like our certificate is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Served

    def _serve(self) -> None:
        asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read)
        self.server.asked.append(asked)
        answer = self.server.script(asked)
        if answer.cut is not None:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
