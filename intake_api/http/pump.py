"""From the request's body to the upload session: one thread reads ahead, the request's seals and stores.

Rules:
- Pieces are cut as the session seals them (segment by segment, part by part), so a full one is sealed without a copy.
- A read returns only when all it asked for is there. So it asks for little at first, for more while bytes come fast,
  and otherwise for what came in FAST_SECONDS: a slow client is read in small pieces and never mistaken for a stalled
  one.
- Stalled: no piece for `stall_seconds`. Cut: the body ended before its declared length (a server shows a closed
  connection as a clean end, RFC 9112 section 8). Either way the session keeps what came; the caller parks it.
- A chunked body (RFC 9112 section 7.1) ends where it ends: nobody here can tell a cut one from a whole one. The piece
  that fills the upload waits for the body's end, so that a body with more than that fills nothing.
- While waiting it feeds empty pieces: a writer that was stopped, taken over or erased learns of it at once, however
  silent its client.
- Every byte that arrived counts (P1): when the body stalls, or its writer has to let go, the waiting read is ended, and
  its bytes are fed first.
- AHEAD pieces wait while the next is read: more would cost memory, and gain nothing measurable. A reader whose request
  is over ends with its current read, which `intake_api.http.idle_connections` ensures; a request waits for its reader
  (`intake_api.http.request_body`), so there are never more readers than requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from queue import Empty, SimpleQueue
from typing import Protocol, runtime_checkable

from intake_api.http.idle_connections import LEAST_RATE
from intake_api.processes import log_end
from retention.custody.uploads.upload_session import PART_SEGMENTS
from retention.domain.faults import TakenOver
from retention.envelope import format as fmt

AHEAD = 1
SMALL_READ = 1024
FAST_SECONDS = 0.25
LOOK_SECONDS = 0.25
LAST_SECONDS = 2.0
"""How long feeding what had arrived may take, once no more is waited for."""


class Body(Protocol):
    """The `wsgi.input` of a request: returns fewer bytes than asked for only where the body ends."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class Endable(Protocol):
    """A body whose read can be ended: the read returns with what has come."""

    def end(self) -> None: ...


class Sink(Protocol):
    """The part of `UploadSession` that is used here."""

    def feed(self, piece: bytes) -> None:
        """Take the piece; TakenOver once no more should be sent (`UploadSession` takes the piece first)."""


@dataclass(frozen=True, slots=True)
class PumpResult:
    """The way a body ended: taken whole, cut, or stalled; or chunked with more bytes than were taken (`over`)."""

    taken: int
    cut: bool = False
    stalled: bool = False
    over: bool = False


def pump(
    stream: Body, length: int, session: Sink, stall_seconds: float, *, chunked: bool = False
) -> PumpResult:
    """Feed `length` bytes of the body to the session; if `chunked`, all of a body of at most `length` bytes.

    Raises what `session.feed` raises; never parks the session.
    """
    most = length + 1 if chunked else length
    if not most:
        return PumpResult(0)
    line = _Line(stream, session, stall_seconds)
    _Reader(stream, most, line.pieces, stall_seconds).start()
    try:
        result = _feed_chunked(line, length) if chunked else _feed(line, length)
    finally:
        line.pieces.close()
    if line.refused is not None:
        raise line.refused
    return result


def _feed(line: _Line, length: int) -> PumpResult:
    taken = 0
    while taken < length:
        piece = line.next()
        if not piece:
            return PumpResult(taken, cut=not line.stalled, stalled=line.stalled)
        line.feed(piece)
        taken += len(piece)
    return PumpResult(taken)


def _feed_chunked(line: _Line, most: int) -> PumpResult:
    taken, last = 0, b""
    while piece := line.next():
        if taken + len(last) + len(piece) > most:
            return PumpResult(taken, over=True)
        if taken + len(piece) == most:
            last = piece  # counts only if nothing follows it
            continue
        line.feed(piece)
        taken += len(piece)
    if last:
        line.feed(last)
    return PumpResult(taken + len(last), stalled=line.stalled)


class _Line:
    """A body's pieces as they come, and what ends them early: a stall, or a session that has to let go (`refused`).
    What had arrived by then comes too."""

    def __init__(self, stream: Body, session: Sink, stall_seconds: float) -> None:
        self.pieces = _Pieces()
        self.stalled = False
        self.refused: TakenOver | None = None
        self._stream, self._session, self._stall_seconds = stream, session, stall_seconds
        self._ends: float | None = None

    def next(self) -> bytes:
        """Return the next piece; empty at the end."""
        begun = time.monotonic()
        give_up = begun + self._stall_seconds
        while self._ends is None and (left := give_up - time.monotonic()) > 0:
            piece = self.pieces.take(min(left, LOOK_SECONDS))
            if piece is not None:
                # `intake_api.http.idle_connections` can be first to end a connection on which nothing moves
                self.stalled = not piece and time.monotonic() - begun > self._stall_seconds / 2
                return piece
            self.feed(b"")  # raises if the session was stopped, taken over or erased meanwhile
        if self._ends is None:
            self.stalled = True
            self._end()
        left = (self._ends or 0.0) - time.monotonic()
        return (self.pieces.take(left) if left > 0 else None) or b""

    def feed(self, piece: bytes) -> None:
        """Pass the piece on; a session that must let go gets what had arrived, and no more."""
        try:
            self._session.feed(piece)
        except TakenOver as error:
            self.refused = self.refused or error
            if self._ends is None:
                self._end()

    def _end(self) -> None:
        """Read no further. For a body that cannot be ended, do not wait for the read."""
        self._ends = 0.0
        if isinstance(self._stream, Endable):
            self._stream.end()
            self._ends = time.monotonic() + LAST_SECONDS


def piece_sizes() -> Iterator[int]:
    """Yield the plaintext bytes of each segment of a new request's parts, endlessly."""
    return cycle([fmt.segment_plaintext(number) for number in range(PART_SEGMENTS)])


def least_ask(stall_seconds: float) -> int:
    """Return the bytes that the first read asks for, and the slowest: at the least rate they come four times before a
    stall."""
    return max(1, min(SMALL_READ, int(LEAST_RATE * stall_seconds / 4)))


class _Pieces:
    """A bounded queue from one thread to another that the taker can close."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        for _ in range(AHEAD):
            self._room.put(None)

    def give(self, piece: bytes) -> bool:
        """Wait for room and add the piece; return False once closed."""
        self._room.get()
        if not self._closed:
            self._waiting.put(piece)
        return not self._closed

    def take(self, timeout: float) -> bytes | None:
        """Return the next piece, or None when none came in time."""
        try:
            piece = self._waiting.get(timeout=timeout)
        except Empty:
            return None
        self._room.put(None)
        return piece

    def close(self) -> None:
        """Stop: no more pieces will be taken."""
        self._closed = True
        self._room.put(None)


class _Reader:
    """A thread that reads the body to its end, or until nobody takes what it reads."""

    def __init__(self, stream: Body, length: int, pieces: _Pieces, stall_seconds: float) -> None:
        self._stream = stream
        self._left = length
        self._pieces = pieces
        self._fast_seconds = min(FAST_SECONDS, stall_seconds / 8)
        self._ask = self._least = least_ask(stall_seconds)

    def start(self) -> None:
        """Start reading on a daemon thread."""
        threading.Thread(target=self._run, name="body-reader", daemon=True).start()

    def _run(self) -> None:
        try:
            for size in piece_sizes():
                if not self._read(min(size, self._left)) or not self._left:
                    return
        except Exception as error:  # the request must not wait for a reader that is gone
            if not isinstance(error, OSError):  # some servers tell a reset from an end; to us both are a cut
                log_end("body-reader", error)
            self._pieces.give(b"")

    def _read(self, need: int) -> bool:
        """Pass on one segment, in as many reads as its speed needs; return whether to continue."""
        while need:
            ask, since = min(need, self._ask), time.monotonic()
            piece = self._stream.read(ask)
            took = max(time.monotonic() - since, 1e-6)
            if took < self._fast_seconds:
                self._ask = min(self._ask * 4, fmt.SEGMENT)
            else:
                self._ask = max(self._least, min(ask, int(len(piece) / took * self._fast_seconds)))
            if piece and not self._pieces.give(piece):
                return False
            if len(piece) < ask:
                self._pieces.give(b"")
                return False
            need -= ask
            self._left -= ask
        return True
