"""Servers that do to their callers what no well-behaved one does, on a plain socket of this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[socket.socket, threading.Event], None]
"""What is done with a connection, until the event is set: the test is over."""


@dataclass
class Scripted:
    """A running server; `heads` are the requests' heads as they came."""

    port: int
    heads: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def answer(raw: bytes) -> Script:
    """Send this, and close once the caller has: a close with bytes of the request unread would reset the connection."""

    def script(line: socket.socket, _: threading.Event) -> None:
        line.sendall(raw)
        line.shutdown(socket.SHUT_WR)
        line.settimeout(20)
        while line.recv(65536):
            pass

    return script


def drip(raw: bytes) -> Script:
    """Send `raw`, and then a byte every 50 milliseconds without an end."""

    def script(line: socket.socket, over: threading.Event) -> None:
        line.sendall(raw)
        while not over.wait(0.05):
            line.sendall(b"x")

    return script


def flood(raw: bytes, piece: bytes) -> Script:
    """Send `raw`, and then `piece` without an end."""

    def script(line: socket.socket, over: threading.Event) -> None:
        line.sendall(raw)
        while not over.is_set():
            line.sendall(piece)

    return script


def say_nothing(_: socket.socket, over: threading.Event) -> None:
    over.wait()


@contextmanager
def scripted(script: Script, *, reads: bool = True) -> Iterator[Scripted]:
    """Do `script` with every connection, after its request's head was read unless the server `reads` nothing."""
    listening = socket.create_server(("127.0.0.1", 0))
    over, server = threading.Event(), Scripted(listening.getsockname()[1])

    def serve(line: socket.socket) -> None:
        with line, suppress(OSError):
            head = b""
            while reads and b"\r\n\r\n" not in head:
                head += line.recv(65536) or b"\r\n\r\n"
            server.heads.append(head)
            script(line, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                line, _ = listening.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
