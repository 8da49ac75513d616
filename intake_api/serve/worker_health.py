"""Whether a worker responds, asked over the socket as any caller would (/healthz).

- The request needs no seat and no other part. A worker that fails it PATIENCE times in a row is wedged: the server's
  own thread is spinning, say, or every thread is waiting. The parent (granian_server.py) replaces it, as for SIGHUP,
  and ends it by force if it does not stop.
- Nothing is asked before the first worker is ready, or while a new one comes up.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from intake_api.config import as_called
from intake_api.http.seats import HEALTH

PAUSE_SECONDS = 10.0
ANSWER_SECONDS = 10.0
PATIENCE = 3


def responds(host: str, port: int, path: str = HEALTH, authority: Path | None = None) -> bool:
    """Return whether `path` responds 200 in time, with a certificate of `authority`. `authority=None` accepts any: a
    certificate from elsewhere names a public host, and this asks the address itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_verify_locations(authority)
    with closing(HTTPSConnection(as_called(host), port, timeout=ANSWER_SECONDS, context=context)) as line:
        try:
            line.request("GET", path, headers={"Connection": "close"})
            return line.getresponse().status == 200
        except (OSError, HTTPException):
            return False


class WorkerHealth:
    """A watch that asks every PAUSE_SECONDS, counts failures in a row, and calls `replace` at every PATIENCE-th."""

    def __init__(
        self,
        responds: Callable[[], bool],
        is_settled: Callable[[], bool],
        replace: Callable[[], None],
    ) -> None:
        self._responds, self._is_settled, self._replace = responds, is_settled, replace
        self._failed = 0

    def watch(self, stop: threading.Event) -> None:
        """Ask again and again until `stop`."""
        while not stop.wait(PAUSE_SECONDS):
            self.look()

    def look(self) -> None:
        """Ask once, and replace the worker if it failed too often."""
        if not self._is_settled() or self._responds() or not self._is_settled():
            self._failed = 0
            return
        self._failed += 1
        if self._failed >= PATIENCE:
            self._failed = 0
            self._replace()
