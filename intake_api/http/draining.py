"""Bodies that nobody wants are read away, so that the refusal is heard: who is still sending reads no answer, and a
server that closes on them resets the connection.

Rules:
- At most MOST_DRAINED bytes, and none of a body that announces more: it would be in vain.
- For DRAIN_SECONDS at most; of somebody who was not let in only while there is no silence of STRANGERS_SECONDS.
- Each holds a thread, so it needs a seat of its own (`seats`), unless it has that of an upload; others go unheard.
- Who asked first (Expect: 100-continue) and was not told to go on sends nothing.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from intake_api.http.pump import Endable, pump
from intake_api.http.seats import Busy, Holder, Kind, seat_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MOST_DRAINED = 64 << 20
DRAIN_SECONDS = 10.0
STRANGERS_SECONDS = 0.5


class _EnoughRead(Exception):
    """The body took too long."""


class Dropped:
    """A sink for what nobody wants; with `seconds` it takes it for no longer than that."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    def feed(self, piece: bytes) -> None:
        if self._until is not None and time.monotonic() > self._until:
            raise _EnoughRead


def drain(environ: WSGIEnvironment, stall_seconds: float, let_in: Holder | None) -> None:
    """Read away what is left of the request's body. None: of a stranger, counted by address."""
    left = _left(environ)
    if not left:
        return
    patience = stall_seconds if let_in else min(stall_seconds, STRANGERS_SECONDS)
    seat, holder = seat_of(environ), let_in or Holder(f"address {environ.get('REMOTE_ADDR', '')}")
    if not seat.has(Kind.UPLOAD):
        try:
            seat.take(Kind.DRAIN, holder)
        except Busy:
            return
    body = environ["wsgi.input"]
    with suppress(_EnoughRead):
        pump(body, left, Dropped(DRAIN_SECONDS), patience)
    if isinstance(body, Endable):
        body.end()  # who has not sent it by now holds no thread longer
    seat.leave(Kind.DRAIN)


def _left(environ: WSGIEnvironment) -> int:
    """How many bytes are to be read away; 0 when there are none, or it would be in vain."""
    taken: int = getattr(environ["wsgi.input"], "taken", 0)
    if "HTTP_EXPECT" in environ and not taken:
        return 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        return MOST_DRAINED
    length = environ.get("CONTENT_LENGTH") or "0"
    left = int(length) - taken if length.isascii() and length.isdigit() and len(length) < 20 else 0
    return left if 0 < left <= MOST_DRAINED else 0
