"""A TCP proxy that cuts connections in mid-stream, at bytes that a seed decides: now by a FIN, now by an RST."""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress


class CuttingProxy:
    """Listens on `port`, passes on to `target`. Each connection is cut after some bytes of its sender's, until `cuts`
    have been; later ones are left alone, so that an upload ends."""

    def __init__(self, target: int, seed: int, cuts: int, most: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._cuts = cuts
        self._most = most
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.done = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _plan(self) -> tuple[int | None, bool]:
        """After how many bytes to cut (None: never), and whether by an RST."""
        with self._lock:
            if self.done >= self._cuts:
                return None, False
            return self._random.randrange(2000, self._most), self._random.random() < 0.5

    def _serve(self, near: socket.socket) -> None:
        limit, reset = self._plan()
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            threading.Thread(target=_copy, args=(far, near), daemon=True).start()
            if not _copy(near, far, limit):
                return
            with self._lock:
                self.done += 1
            for end in (near, far):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RD)


def _copy(source: socket.socket, sink: socket.socket, limit: int | None = None) -> bool:
    """Pass bytes on until the source ends (False), or `limit` of them have gone (True)."""
    with suppress(OSError):
        while limit is None or limit > 0:
            piece = source.recv(65536 if limit is None else min(limit, 65536))
            if not piece:
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return False
            sink.sendall(piece)
            limit = None if limit is None else limit - len(piece)
        return True
    return False
