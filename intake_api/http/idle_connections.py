"""This process's connections: ends those on which nothing moves, where the server sets no bound.

A caller that stops sending its body, reading its response or asking, or that vanishes without a word, holds a thread or
a descriptor, and a read of the body cannot be called back.

Rules:
- A connection is idle while nothing is sent and less than LEAST_RATE arrives. Idle for `idle_seconds`, it is read no
  further: a response (408) still goes out, and what had arrived is handed over. Idle for twice that, it is closed.
- Near the limit of open connections, the longest idle are closed early, and those that never brought a byte first (the
  server bounds its connections only behind the TLS handshake): there is always room for a health probe.
- One body's read can be ended alone (`end_reading`). The server does not say which connection a request came over, so
  the likeliest of its caller's are tried in turn, the silent ones first. A body ended in error is kept as far as it
  came, and its sender can continue.
- No free descriptor is needed: with none left, connections are found and ended all the same.

Linux reports by TCP_INFO (tcp(7)) what moved. Other systems do not; there nothing is ended.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

LEAST_RATE = 64
"""Least bytes a second of a body; a slower sender gets 408, and what came is kept."""
CROWDED = 7 / 8
"""Fraction of the connections allowed at once above which idle ones are closed."""
SPARED_SECONDS = 1.0
SPARED_UNHEARD_SECONDS = 0.25
"""A connection idle for less, or that brought nothing in less, is not closed, however many there are."""
TRY_SECONDS = 0.1
QUIET_SECONDS = 0.2
_SLACK = 1.0
_TCP_INFO = struct.Struct("=B43xI4xI72xQ")  # state; last data sent, received (ms ago); bytes received
_ESTABLISHED = 1


@dataclass(frozen=True, slots=True)
class Told:
    """The kernel's facts of a connection. Seconds and bytes."""

    sent_ago: float
    received_ago: float
    received: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A body that is being read: the caller's address, since when, the bytes handed over, and when the last were."""

    address: str
    begun: float
    taken: int
    moved: float


class Connections:
    """This process's connections to `port`, `most` at once.

    One thread ends what is idle or overdue; any thread can ask for the end of a read.
    """

    def __init__(
        self, port: int, most: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._port = port
        self._most = most
        self._clock = clock
        self._progress: dict[str, tuple[int, float]] = {}  # by socket: bytes received, and when that was
        self.crowded = False
        self._lock = threading.Lock()
        self._due: dict[Callable[[], None], float] = {}

    @contextmanager
    def end_at(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """Have `end_overdue` call `end` if the block takes longer than `seconds`."""
        due = self._clock() + seconds
        with self._lock:
            self._due[end] = due
        try:
            yield
        finally:
            with self._lock:
                self._due.pop(end, None)

    def end_overdue(self) -> int:
        """End what is overdue now; return how many were."""
        now = self._clock()
        with self._lock:
            overdue = [end for end, due in self._due.items() if due <= now]
        for end in overdue:
            end()
        return len(overdue)

    def end_idle(self, idle_seconds: float) -> int:
        """End the connections idle for `idle_seconds` now; return how many were ended."""
        seen: dict[str, tuple[int, float]] = {}
        waiting: list[tuple[bool, float, str, int]] = []
        ended = 0
        for name, number, connection in _connections(self._port):
            with suppress(OSError):
                idle = self._idle_for(name, connection, seen, idle_seconds)
                if idle >= idle_seconds:
                    connection.shutdown(socket.SHUT_RDWR if idle >= 2 * idle_seconds else socket.SHUT_RD)
                    ended += 1
                    continue
                unheard = name in seen and not seen[name][0]
                if idle >= (SPARED_UNHEARD_SECONDS if unheard else SPARED_SECONDS):
                    waiting.append((unheard, idle, name, number))
        self._progress = seen
        self.crowded = self._most is not None and len(seen) > self._most * CROWDED
        return ended + self._make_room(len(seen) - ended, waiting)

    def _make_room(self, held: int, waiting: list[tuple[bool, float, str, int]]) -> int:
        """Close the longest idle until there is room for new ones; return how many."""
        too_many = 0 if self._most is None else held - int(self._most * CROWDED)
        closed = 0
        for *_, name, number in sorted(waiting, reverse=True)[: max(0, too_many)]:
            with suppress(OSError), _Copy(name, number) as connection:
                connection.shutdown(socket.SHUT_RDWR)
                closed += 1
        return closed

    def _idle_for(
        self, name: str, connection: socket.socket, seen: dict[str, tuple[int, float]], idle_seconds: float
    ) -> float:
        told = _tcp_info(connection)
        if told is None:
            return 0.0
        now = self._clock()
        before, since = self._progress.get(name, (told.received, now))
        least = LEAST_RATE * idle_seconds
        seen[name] = (before, since) if told.received - before < least else (told.received, now)
        return min(now - seen[name][1], told.sent_ago)

    def end_reading(self, of: Reading, has_ended: Callable[[float], bool]) -> bool:
        """Make a waiting read of the body return with what has come; return whether it did.

        `has_ended(seconds)` waits for that.
        """
        for name, number in self._likely(of):
            with suppress(OSError), _Copy(name, number) as connection:
                connection.shutdown(socket.SHUT_RD)
            if has_ended(TRY_SECONDS):
                return True
        return has_ended(0)

    def _likely(self, of: Reading) -> list[tuple[str, int]]:
        """Return connections that can be the body's: nothing was sent over them since it is read, and the last bytes
        came after the last ones handed over. Those silent for about as long as the body, with the fewest other bytes,
        come first."""
        now, found = self._clock(), []
        for name, number, connection in _connections(self._port):
            with suppress(OSError):
                told = _tcp_info(connection)
                if (
                    told is not None
                    and told.received >= of.taken
                    and told.sent_ago >= now - of.begun - _SLACK
                    and told.received_ago <= now - of.moved + _SLACK
                    and _same(connection.getpeername()[0], of.address)
                ):
                    moves = told.received_ago < QUIET_SECONDS
                    apart = abs(now - of.moved - told.received_ago) // QUIET_SECONDS
                    found.append((moves, apart, told.received - of.taken, name, number))
        return [(name, number) for *_, name, number in sorted(found)]


def _tcp_info(connection: socket.socket) -> Told | None:
    """Ask the kernel; None once the connection is no longer open both ways."""
    state, sent, received, total = _TCP_INFO.unpack(
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    )
    return Told(sent / 1000, received / 1000, total) if state == _ESTABLISHED else None


def _same(one: str, other: str) -> bool:
    try:
        return ip_address(one.partition("%")[0]) == ip_address(other.partition("%")[0])
    except ValueError:
        return False


class _Copy:
    """A copy of the socket of that name and number, closed afterwards: the server can close its own at any time, and
    the number would then be another's. With no descriptor left it is the server's own. OSError when it is gone."""

    def __init__(self, name: str, number: int) -> None:
        self._own = True
        try:
            copied = os.dup(number)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            copied, self._own = number, False
        self._socket = socket.socket(fileno=copied)
        self._is_same = _name(copied) == name

    def __enter__(self) -> socket.socket:
        if not self._is_same:
            self.__exit__()
            raise OSError(errno.EBADF, "the descriptor belongs to another socket by now")
        return self._socket

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._socket.close()
        else:
            self._socket.detach()


def _name(number: int) -> str | None:
    """Return a socket's name in the kernel; None for anything else."""
    status = os.fstat(number)
    return f"socket:[{status.st_ino}]" if stat.S_ISSOCK(status.st_mode) else None


def _connections(port: int) -> Iterator[tuple[str, int, socket.socket]]:
    """Yield each socket's name, its number and a copy of it, closed when the next is asked for."""
    if sys.platform != "linux":
        return
    for number in _numbers():
        with suppress(OSError):
            name = _name(number)
            if name is None:
                continue
            with _Copy(name, number) as copy:
                inet = copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM
                if inet and copy.getsockname()[1] == port:
                    yield name, number, copy


def _numbers() -> Iterator[int]:
    """List this process's descriptors; with none left to list them by, every possible number."""
    try:
        return iter([int(entry.name) for entry in Path("/proc/self/fd").iterdir()])
    except OSError:
        return iter(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
