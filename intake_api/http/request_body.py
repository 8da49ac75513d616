"""Between server and application: bodies whose reads can be ended, responses that report their end.

Why `Body` exists: a read of the body cannot be called back, and the server, once a response is complete, takes the body
back while it holds the interpreter. A read that still waits for a silent client would then stop every other thread. So
no response is complete before the last read has returned; `idle_connections` makes sure that every read returns.
And a read returns only when all that it asked for is there: `end` makes it return with what has come, so that nothing
is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from io import BytesIO
from typing import TYPE_CHECKING, Any

from intake_api.http.idle_connections import Connections, Reading

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LEAST_READ, MOST_READ, FAST_SECONDS = 64, 64 << 10, 0.1
"""Reads of a small body ask for little at once, so that a dripping one is not waited for."""
LET_RETURN_SECONDS = 0.3
"""How long a read is waited for before its connection is ended."""


class Body:
    """The `wsgi.input` of a request, which another thread can read; `taken` bytes of it were.

    A read can be ended through `connections`; with None, none is.
    """

    def __init__(self, stream: Any, address: str = "", connections: Connections | None = None) -> None:
        self._stream = stream
        self._address = address
        self._connections = connections
        self._reading = threading.Lock()
        self._closed = False
        self._begun = self._moved = time.monotonic()
        self.taken = 0
        self.readline, self.readlines = stream.readline, stream.readlines

    def read(self, size: int | None = None, /) -> bytes:
        """Read as `wsgi.input` does; nothing once closed."""
        with self._reading:
            if self._closed:
                return b""
            piece: bytes = self._stream.read() if size is None else self._stream.read(size)
            self.taken += len(piece)
            self._moved = time.monotonic()
            return piece

    def read_within(self, length: int, seconds: float) -> bytes:
        """Read a small body of `length` bytes whole; fewer where it ends, or when the time is up."""
        until, content, ask = time.monotonic() + seconds, bytearray(), LEAST_READ
        watched = nullcontext() if self._connections is None else self._connections.end_at(seconds, self.end)
        with watched:
            while len(content) < length and time.monotonic() < until:
                asked, since = min(ask, length - len(content)), time.monotonic()
                piece = self.read(asked)
                content += piece
                if len(piece) < asked:
                    break
                ask = min(4 * ask, MOST_READ) if time.monotonic() - since < FAST_SECONDS else LEAST_READ
        return bytes(content)

    def end(self) -> None:
        """Let no further read begin, and make a waiting one return with what has come; wait a little for it."""
        self._closed = True
        if self._has_returned(LET_RETURN_SECONDS) or self._connections is None:
            return
        reading = Reading(self._address, self._begun, self.taken, self._moved)
        self._connections.end_reading(reading, self._has_returned)

    def _has_returned(self, seconds: float) -> bool:
        if not self._reading.acquire(timeout=seconds):
            return False
        self._reading.release()
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        """Wait for the read that is under way; none begins afterwards."""
        self._closed = True
        with self._reading:
            pass


class WholeBody(BytesIO):
    """A small body that was read already, as the request's `wsgi.input`."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.taken = len(content)


class Answer:
    """A response's body, and what to do once its last byte was handed over or its caller left.

    The server iterates over the original, so a piece costs nothing more.
    """

    def __init__(self, body: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._ended()


class LastReadFirst:
    """WSGI middleware that gives the application a `Body`, and completes its response once nobody reads that."""

    def __init__(self, app: WSGIApplication, connections: Connections | None = None) -> None:
        self._app = app
        self._connections = connections

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = Body(environ["wsgi.input"], environ.get("REMOTE_ADDR", ""), self._connections)
        environ["wsgi.input"] = body
        try:
            return Answer(self._app(environ, start_response), body.close)
        except BaseException:
            body.close()
            raise
