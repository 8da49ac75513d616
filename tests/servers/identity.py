"""What a process on Azure finds around it: the endpoint that gives its managed identity's tokens, and names that lead
to the vaults. Both are told by environment variables that the real clients read; nothing of them is replaced.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAX_BYTES = 1 << 16


class IdentityEndpoint:
    """As App Service and Container Apps give it. `tokens`: what is given for a resource, asked for each time."""

    def __init__(self, tokens: dict[str, Callable[[], str]], lifetime: int = 3600) -> None:
        self.tokens = tokens
        self.lifetime = lifetime
        self.header = os.urandom(8).hex()
        self.asked: list[dict[str, str]] = []
        handler = type("Handler", (_Tokens,), {"endpoint": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._server.server_address[1]}/msi/token"
        return {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": self.header}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Tokens(BaseHTTPRequestHandler):
    endpoint: IdentityEndpoint

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.endpoint.asked.append(query)
        give = self.endpoint.tokens.get(query.get("resource", "").removesuffix("/"))
        if self.headers.get("X-IDENTITY-HEADER") != self.endpoint.header or give is None:
            self._send(400, {"statusCode": 400, "message": "no such resource, or not the header"})
            return
        until = str(int(time.time()) + self.endpoint.lifetime)
        answer = {
            "access_token": give(),
            "expires_on": until,
            "resource": query["resource"],
            "token_type": "Bearer",
        }
        self._send(200, answer)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class NamesOfThisMachine:
    """An https proxy that leads every name to this machine: for processes that look names up by themselves."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        return {"HTTPS_PROXY": url, "NO_PROXY": "127.0.0.1,localhost"}

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and len(head) < MAX_BYTES:
                if not (piece := client.recv(4096)):
                    return
                head += piece
            method, target, _ = head.split(b" ", 2)
            if method != b"CONNECT":
                return
            with socket.create_connection(("127.0.0.1", int(target.rpartition(b":")[2]))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(MAX_BYTES):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
