"""What stands between the server and the application: bodies that are left alone, answers that tell their end.

Why `Body` exists: a read of the body cannot be called back, and the server, once an answer is complete, takes the body
back while it holds the interpreter. A read that still waits for a silent client would then stop every other thread. So
no answer is complete before the last read has returned; `intake_api.http.idle` sees to it that every read returns.
And a read returns only when all that it asked for is there: `end` has it return with what has come, so that nothing
is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from io import BytesIO
from typing import TYPE_CHECKING, Any

from intake_api.http.idle import Connections, Reading

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LEAST_READ, MOST_READ, FAST_SECONDS = 64, 64 << 10, 0.1
"""Of a small body: little at once, so that one that drips is not waited for."""
LET_RETURN_SECONDS = 0.3
"""A read of a body that comes is waited for; only one that still waits then has its connection ended."""


class Body:
    """`wsgi.input`, which another thread than the request's may read; `taken` bytes of it were.

    `connections`: through which a read can be ended; None: none is.
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
        """Nothing once it is closed."""
        with self._reading:
            if self._closed:
                return b""
            piece: bytes = self._stream.read() if size is None else self._stream.read(size)
            self.taken += len(piece)
            self._moved = time.monotonic()
            return piece

    def read_within(self, length: int, seconds: float) -> bytes:
        """All of a small body of `length` bytes; fewer where it ends, or when the time is over."""
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
        """No read begins any more, and one that waits returns with what has come; waits a little for it."""
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
        """Waits for the read that is under way; none begins afterwards."""
        self._closed = True
        with self._reading:
            pass


class WholeBody(BytesIO):
    """A body that was read already: `wsgi.input` of a request with a small one."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.taken = len(content)


class Answer:
    """An answer's body and what is to be done once its last byte was handed over, or its caller left.

    The server iterates over the original, so this costs nothing a piece.
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
    """Middleware: the application gets a `Body`, and its answer is complete once that is left alone."""

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
