"""Whether a worker responds, asked over the socket as any caller would: /healthz needs no seat and no part.

- One that fails to, PATIENCE times in a row, is wedged: the server's own thread turns in circles, say, or every thread
  waits for something. The parent replaces it (listening.py), as for SIGHUP, and ends it by force if it does not stop.
- Nothing is asked before the first worker was ready, or while a new one comes up.
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
    """Whether `path` there is answered 200 in time, with a certificate of `authority`. None: with any, for one from
    elsewhere names a public host, and this asks the address itself."""
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
    """Asks once in PAUSE_SECONDS, counts failures in a row, and calls `replace` with each PATIENCE-th."""

    def __init__(
        self,
        responds: Callable[[], bool],
        is_settled: Callable[[], bool],
        replace: Callable[[], None],
    ) -> None:
        self._responds, self._is_settled, self._replace = responds, is_settled, replace
        self._failed = 0

    def watch(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.wait(PAUSE_SECONDS):
            self.look()

    def look(self) -> None:
        """Ask once."""
        if not self._is_settled() or self._responds() or not self._is_settled():
            self._failed = 0
            return
        self._failed += 1
        if self._failed >= PATIENCE:
            self._failed = 0
            self._replace()
