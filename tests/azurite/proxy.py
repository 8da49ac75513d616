"""A TCP proxy that can be told to cut: what a line that breaks looks like to the client."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress


class CuttingProxy:
    """Passes bytes to `port`. Each entry of `cuts` ends one connection, after so many bytes of one way.

    `up`: from the client, counted from the entry's making; `down`: from the server.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.up: deque[int] = deque()
        self.down: deque[int] = deque()
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for source, target, cuts in ((client, server, self.up), (server, client, self.down)):
                    threading.Thread(target=self._pass, args=(source, target, cuts), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, cuts: deque[int]) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if cuts and len(piece) >= cuts[0]:
                    target.sendall(piece[: cuts.popleft()])
                    self.cut += 1
                    break
                if cuts:
                    cuts[0] -= len(piece)
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()
