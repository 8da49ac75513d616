"""The metrics of all processes of the service on one page, for Prometheus: plain HTTP, GET /metrics.

    worker, blobs, clock   each responds on a Unix socket of its own in `folder`, private to this user
    clock                  asks them all and serves one page at CASEVAULT_METRICS_LISTEN; where a function app is the
                           clock, a process `watch` does that, and nothing else

Rules:
- Never on a public address: there is no authentication and no TLS (the settings enforce this).
- A process that does not respond within PATIENCE is left out; one that is gone is forgotten.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from intake_api.config import ServerSettings
from intake_api.processes import in_background
from retention.adapters import Adapters
from retention.telemetry.exposition import merge
from retention.telemetry.observer import Observer

PATIENCE = 5.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def observer_of(settings: ServerSettings, process: str) -> Observer:
    """Return this process's observer, and offer its metrics where `serve` has made a folder for them."""
    folder = settings.metrics_folder
    observer = Adapters(settings.custody).observer(process, scraped=folder is not None)
    if folder is not None:
        offer(folder / f"{process}-{os.getpid()}", observer.exposition)
    return observer


def offer(path: Path, page: Callable[[], bytes]) -> None:
    """Send the page to everybody who connects to `path`, for as long as the process lives."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def answer() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.sendall(page())

    in_background("metrics", answer)


def gather(folder: Path) -> str:
    """Merge the pages of all processes that respond."""
    pages = {}
    for path in sorted(folder.iterdir()):
        process, _, pid = path.name.rpartition("-")
        with suppress(TimeoutError):
            try:
                pages[process, pid] = _ask(path)
            except ConnectionError:  # its process ended
                path.unlink(missing_ok=True)
    return merge(pages)


def _ask(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(str(path))
        return b"".join(iter(lambda: asking.recv(1 << 16), b"")).decode()


def serve_metrics(listen: tuple[str, int], folder: Path) -> ThreadingHTTPServer:
    """Serve the metrics page at this address on background threads until `shutdown`."""

    class Page(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version, sys_version = "casevault", ""

        def do_GET(self) -> None:
            found = self.path == "/metrics"
            content = (gather(folder) if found else "the metrics are at /metrics\n").encode()
            self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET

    server = Server(listen, Page)
    in_background("metrics-page", server.serve_forever)
    return server
