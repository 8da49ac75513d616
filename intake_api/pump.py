"""From the request's body to the upload session: one thread reads ahead, the request's own thread seals and stores.

Rules:
- Pieces are cut as the session seals them (segment by segment, part by part), so a full one is sealed without a copy.
- A read returns only when all it asked for is there, so what is asked for starts small and doubles while it comes
  fast; a slow client is read in small pieces and is never taken for a stalled one.
- Stalled: no piece for `stall_seconds`. Cut: the body ended before its announced length (a server shows a closed
  connection as a clean end, RFC 9112 section 8). Either way the session keeps what came; parking it is the caller's.
- A chunked body (RFC 9112 section 7.1) ends where it ends: nobody here can tell a cut one from a whole one. The piece
  that fills the upload waits for the body's end, so that a body with more than that fills nothing.
- While it waits it feeds nothing again and again: a writer that was stopped, taken over or erased hears of it at once,
  however silent its client.
- AHEAD pieces wait while the next is read: more would cost memory, and gain nothing measurable. A reader whose request
  is over ends with the read it is in, which `intake_api.idle` sees to; there are never more than READERS of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from queue import Empty, SimpleQueue
from typing import Protocol

from retention.custody.receiving import PART_SEGMENTS
from retention.envelope import format as fmt
from retention.errors import Unavailable

AHEAD = 1
READERS = 256
SMALL_READ = 64 * 1024
FAST_SECONDS = 0.25
LOOK_SECONDS = 0.25
_free_readers = threading.BoundedSemaphore(READERS)


class Body(Protocol):
    """`wsgi.input`: fewer bytes than asked for only where the body ends."""

    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    """What is used of `UploadSession`."""

    def feed(self, piece: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class PumpResult:
    """How a body ended: all of it taken, or cut, or stalled; or it was chunked and had more than was taken (`over`)."""

    taken: int
    cut: bool = False
    stalled: bool = False
    over: bool = False


def pump(
    stream: Body, length: int, session: Sink, stall_seconds: float, *, chunked: bool = False
) -> PumpResult:
    """Feed `length` bytes of the body to the session, or, `chunked`, all of a body of at most `length` bytes.

    Raises what `session.feed` raises; never parks.
    """
    most = length + 1 if chunked else length
    if not most:
        return PumpResult(0)
    pieces = _Pieces()
    reader = _Reader(stream, most, pieces, min(FAST_SECONDS, stall_seconds / 8))
    reader.start()
    try:
        feeding = _feed_chunked if chunked else _feed
        return feeding(pieces, length, session, stall_seconds)
    finally:
        pieces.close()


def _feed(pieces: _Pieces, length: int, session: Sink, stall_seconds: float) -> PumpResult:
    taken = 0
    while taken < length:
        piece = _next_piece(pieces, session, stall_seconds)
        if not piece:
            return PumpResult(taken, cut=piece is not None, stalled=piece is None)
        session.feed(piece)
        taken += len(piece)
    return PumpResult(taken)


def _feed_chunked(pieces: _Pieces, most: int, session: Sink, stall_seconds: float) -> PumpResult:
    taken, last = 0, b""
    while piece := _next_piece(pieces, session, stall_seconds):
        if taken + len(last) + len(piece) > most:
            return PumpResult(taken, over=True)
        if taken + len(piece) == most:
            last = piece  # counts when nothing comes behind it
            continue
        session.feed(piece)
        taken += len(piece)
    if last:
        session.feed(last)
    return PumpResult(taken + len(last), stalled=piece is None)


def _next_piece(pieces: _Pieces, session: Sink, stall_seconds: float) -> bytes | None:
    """The next piece; empty where the body ends; None after `stall_seconds` without one."""
    give_up = time.monotonic() + stall_seconds
    while (left := give_up - time.monotonic()) > 0:
        piece = pieces.take(min(left, LOOK_SECONDS))
        if piece is not None:
            return piece
        session.feed(b"")  # nothing to take: raises when the session was stopped, taken over or erased
    return None


def piece_sizes() -> Iterator[int]:
    """Plaintext bytes of each segment of a new request's parts, without end."""
    return cycle([fmt.segment_plaintext(number) for number in range(PART_SEGMENTS)])


class _Pieces:
    """A bounded queue from one thread to another that the taker can close."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        for _ in range(AHEAD):
            self._room.put(None)

    def give(self, piece: bytes) -> bool:
        """Waits for room; False once closed."""
        self._room.get()
        if not self._closed:
            self._waiting.put(piece)
        return not self._closed

    def take(self, timeout: float) -> bytes | None:
        """The next piece, or None when none came in time."""
        try:
            piece = self._waiting.get(timeout=timeout)
        except Empty:
            return None
        self._room.put(None)
        return piece

    def close(self) -> None:
        """Nobody takes any more."""
        self._closed = True
        self._room.put(None)


class _Reader:
    """Reads the body to its end, or until nobody takes what it reads."""

    def __init__(self, stream: Body, length: int, pieces: _Pieces, fast_seconds: float) -> None:
        self._stream = stream
        self._left = length
        self._pieces = pieces
        self._fast_seconds = fast_seconds
        self._ask = SMALL_READ

    def start(self) -> None:
        """Read in a thread of its own. `Unavailable` when there are too many."""
        if not _free_readers.acquire(blocking=False):
            raise Unavailable("too many uploads hang here; try again later", reason="too-many-uploads")
        try:
            # A daemon: a stop of the service does not wait for a silent client.
            threading.Thread(target=self._run, name="body-reader", daemon=True).start()
        except BaseException:
            _free_readers.release()
            raise

    def _run(self) -> None:
        try:
            for size in piece_sizes():
                if not self._read(min(size, self._left)) or not self._left:
                    return
        except OSError:  # a server that tells a reset from an end; to us both are a cut
            self._pieces.give(b"")
        finally:
            _free_readers.release()

    def _read(self, need: int) -> bool:
        """Pass on one segment's worth, in as many reads as its speed asks for; whether to go on."""
        while need:
            ask, since = min(need, self._ask), time.monotonic()
            piece = self._stream.read(ask)
            fast = time.monotonic() - since < self._fast_seconds
            self._ask = min(self._ask * 2, fmt.SEGMENT) if fast else SMALL_READ
            if piece and not self._pieces.give(piece):
                return False
            if len(piece) < ask:
                self._pieces.give(b"")
                return False
            need -= ask
            self._left -= ask
        return True
