"""A TCP proxy that breaks the line when certain bytes pass: before they reach the server, or after.

"Before": the server never saw them. "After": it did, and its answer is lost. A client cannot tell the two apart.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Listens on `port`; passes everything on until it is armed."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut_at: bytes | None = None
        self._deliver = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, sent: bytes, *, deliver: bool) -> None:
        """Break the next line on which a client sends these bytes; `deliver` passes them on first."""
        self._deliver, self._cut_at = deliver, sent

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for source, target, watched in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, watched), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        try:
            while data := source.recv(65536):
                if watched and self._cut_at is not None and self._cut_at in data:
                    self._cut(source, target, data)
                    return
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            _shut(end)

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self._cut_at, self.cuts = None, self.cuts + 1
        _shut(client)
        if self._deliver:
            server.sendall(data)
            server.shutdown(socket.SHUT_WR)  # the server answers into the void
            return
        _shut(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
