"""A proxy that ends TLS and takes a whole body before it passes the request on, as nginx does by default."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress


class BufferingProxy:
    """Listens on `port` with that certificate; `buffering` off passes the head on at once, and the body as it comes."""

    def __init__(self, to_port: int, pem: str, *, buffering: bool = True) -> None:
        self._to, self._buffering = to_port, buffering
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            bare, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(bare,), daemon=True).start()

    def _serve(self, bare: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(bare, server_side=True) as client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            if b"expect:" in head.lower():
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self._read(client, head) if self._buffering else b""
            with self._upstream() as server:
                server.sendall(head + body)
                while piece := server.recv(65536):
                    client.sendall(piece)

    def _read(self, client: ssl.SSLSocket, head: bytes) -> bytes:
        (length,) = (
            int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        body = b""
        while len(body) < length and (piece := client.recv(65536)):
            body += piece
        return body

    def _upstream(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self._to)))
