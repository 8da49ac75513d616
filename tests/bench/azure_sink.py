"""A storage account that keeps nothing: answers as Blob Storage does to staging, listing and committing blocks.

For measuring the path to Azure, since the emulator is ten times slower than the path. Run as a program it serves until
its input ends, and prints its port first.  python azure_sink.py CERTIFICATE.PEM
"""

from __future__ import annotations

import base64
import socket
import ssl
import sys
import threading
from urllib.parse import parse_qs, urlsplit

ROOM = 1 << 20


class Sink:
    """Block ids and sizes of each blob; bytes are read and forgotten."""

    def __init__(self) -> None:
        self.blocks: dict[str, dict[str, int]] = {}
        self.committed: set[str] = set()

    def answer(self, method: str, target: str, length: int) -> bytes:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if method == "PUT" and query.get("comp") == "block":
            self.blocks.setdefault(url.path, {})[query["blockid"]] = length
            return _head(201)
        if method == "GET" and query.get("comp") == "blocklist":
            return _head(200, self._list(url.path))
        if method == "PUT":
            self.committed.add(url.path)
            return _head(201)
        return _head(404)

    def _list(self, path: str) -> bytes:
        blocks = "".join(
            f"<Block><Name>{name}</Name><Size>{size}</Size></Block>"
            for name, size in self.blocks.get(path, {}).items()
        )
        text = f"<BlockList><CommittedBlocks/><UncommittedBlocks>{blocks}</UncommittedBlocks></BlockList>"
        return f'<?xml version="1.0"?>{text}'.encode()


def _head(status: int, body: bytes = b"") -> bytes:
    tag = base64.b16encode(b"sink").decode()
    lines = [f"HTTP/1.1 {status} Said", f'ETag: "{tag}"', "x-ms-request-id: 0", "x-ms-version: 2026-06-06"]
    lines += ["Last-Modified: Fri, 20 Nov 2026 10:00:00 GMT", "Content-Type: application/xml"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _serve(line: ssl.SSLSocket, sink: Sink) -> None:
    room = memoryview(bytearray(ROOM))
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            piece = line.recv(65536)
            if not piece:
                return
            pending += piece
        head, _, rest = pending.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        lengths = [
            int(field.split(":")[1]) for field in fields if field.lower().startswith("content-length:")
        ]
        length = lengths[0] if lengths else 0
        left, pending = length - len(rest), rest[length:]
        while left > 0:
            left -= line.recv_into(room[: min(left, ROOM)]) or left
        method, target, _ = first.split(" ")
        line.sendall(sink.answer(method, target, length))


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sink = Sink()

    def accept() -> None:
        while True:
            line, _ = listener.accept()
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = context.wrap_socket(line, server_side=True)
            threading.Thread(target=_serve, args=(secured, sink), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
