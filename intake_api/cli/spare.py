"""A connection that stands ready on a line that breaks: making one costs two round trips, in which nothing is sent.

It is made after the first break, beside the upload, and used every few seconds, so that it is alive when it is needed
and neither end takes it for forgotten. The client's pool holds it: whatever is asked next goes over it.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from intake_api.cli.client import Client
from intake_api.cli.errors import CliError

_EVERY_SECONDS, _AFTER_SECONDS = 6.0, 1.0


class Spare:
    """Keeps a spare connection while the `with` block runs, once one was `taken`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over = threading.Event()
        self._taken = threading.Event()
        self._thread: threading.Thread | None = None

    def taken(self) -> None:
        """The line broke, and whatever stood ready is used now: make another, and from now on keep one."""
        self._taken.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="spare-connection", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        while not self._over.is_set():
            if self._taken.wait(_EVERY_SECONDS):
                self._taken.clear()
                if self._over.wait(_AFTER_SECONDS):  # the upload's next request goes first
                    return
            try:
                self._client.knock()
            except CliError:
                continue  # the line is down: the upload itself says so

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._taken.set()  # a daemon: nobody waits for its last question
