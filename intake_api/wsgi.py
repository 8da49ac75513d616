"""What stands between the server and the application: bodies that are left alone, answers that tell their end.

Why `Body` exists: a read of the body cannot be called back, and the server, once an answer is complete, takes the body
back while it holds the interpreter. A read that still waits for a silent client would then stop every other thread. So
no answer is complete before the last read has returned; `intake_api.idle` sees to it that every read returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Body:
    """`wsgi.input`, which another thread than the request's may read; `taken` bytes of it were."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._reading = threading.Lock()
        self._closed = False
        self.taken = 0
        self.readline, self.readlines = stream.readline, stream.readlines

    def read(self, size: int | None = None, /) -> bytes:
        """Nothing once it is closed."""
        with self._reading:
            if self._closed:
                return b""
            piece: bytes = self._stream.read() if size is None else self._stream.read(size)
            self.taken += len(piece)
            return piece

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        """Waits for the read that is under way; none begins afterwards."""
        self._closed = True
        with self._reading:
            pass


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

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = Body(environ["wsgi.input"])
        environ["wsgi.input"] = body
        try:
            return Answer(self._app(environ, start_response), body.close)
        except BaseException:
            body.close()
            raise
