"""Reads and discards an unwanted body, so that its sender gets the refusal and no connection reset.

A client that is still sending reads no response, and a server that closes on it resets the connection.

Rules:
- At most MOST_DRAINED bytes, and nothing of a body that declares more: it would be in vain.
- For at most DRAIN_SECONDS; for an unauthenticated caller only until a silence of STRANGERS_SECONDS.
- Draining holds a thread, so it needs a seat of its own (`seats`), unless the request has an upload's; without one the
  body is not drained.
- A client that asked first (Expect: 100-continue) and was not told to continue sends nothing.
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
    """A sink that discards its input; for at most `seconds`, if given."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    def feed(self, piece: bytes) -> None:
        if self._until is not None and time.monotonic() > self._until:
            raise _EnoughRead


def drain(environ: WSGIEnvironment, stall_seconds: float, let_in: Holder | None) -> None:
    """Read and discard the rest of the request's body. `let_in=None`: an unauthenticated caller, counted by address."""
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
        body.end()  # a sender that is not done by now holds no thread any longer
    seat.leave(Kind.DRAIN)


def _left(environ: WSGIEnvironment) -> int:
    """Return how many bytes to drain; 0 when there are none, or it would be in vain."""
    taken: int = getattr(environ["wsgi.input"], "taken", 0)
    if "HTTP_EXPECT" in environ and not taken:
        return 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        return MOST_DRAINED
    length = environ.get("CONTENT_LENGTH") or "0"
    left = int(length) - taken if length.isascii() and length.isdigit() and len(length) < 20 else 0
    return left if 0 < left <= MOST_DRAINED else 0
