"""A server that stands before Azurite and gives answers of its own where a test says so: throttling, odd states."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

Headers = dict[str, str]
T = TypeVar("T")


@dataclass
class Said:
    """An answer in place of Azurite's. `after`: Azurite is asked first, and its answer thrown away."""

    status: int
    code: str = "ServerBusy"
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    after: bool = False


class Scripted:
    """Passes requests on. `script` holds what is said to the next requests of a kind; `added` goes to all answers."""

    def __init__(self, port: int) -> None:
        self.script: dict[str, deque[Said]] = {}
        self.added: dict[str, Headers] = {}
        self.acts: dict[str, deque[Callable[[], object]]] = {}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"scripted": self, "azurite": port})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, kind: str, *answers: Said) -> None:
        """`kind`: a method, or a method and a piece of the query: `PUT comp=block`."""
        self.script.setdefault(kind, deque()).extend(answers)

    def first(self, kind: str, act: Callable[[], object]) -> None:
        """Do `act` when the next request of this kind has come, before it is passed on: the worst moment."""
        self.acts.setdefault(kind, deque()).append(act)

    def next_of(self, queues: dict[str, deque[T]], method: str, path: str) -> T | None:
        for kind, waiting in queues.items():
            wanted, _, query = kind.partition(" ")
            if waiting and method == wanted and query in path:
                return waiting.popleft()
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    scripted: Scripted
    azurite: int
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.scripted.requests.append(f"{self.command} {self.path}")
        act = self.scripted.next_of(self.scripted.acts, self.command, self.path)
        if act is not None:
            act()
        said = self.scripted.next_of(self.scripted.script, self.command, self.path)
        if said is None or said.after:
            status, headers, content = self._pass_on(body)
        if said is not None:
            status, headers, content = said.status, {"x-ms-error-code": said.code, **said.headers}, said.body
        self._answer(status, headers, content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

    def _pass_on(self, body: bytes) -> tuple[int, Headers, bytes]:
        azurite = http.client.HTTPConnection("127.0.0.1", self.azurite, timeout=30)
        try:
            azurite.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # as signed, the Host header too
                azurite.putheader(name, value)
            azurite.endheaders(body)
            answer = azurite.getresponse()
            headers = {
                k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")
            }
            return answer.status, headers | self.scripted.added.get(self.command, {}), answer.read()
        finally:
            azurite.close()

    def _answer(self, status: int, headers: Headers, content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass
