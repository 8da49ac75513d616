"""Ends connections on which nothing moves, where the server knows no bound of its own.

A caller that sends no more of its body, takes no more of its answer, asks nothing more, or vanished without a word:
each holds a thread or a descriptor, and a read of the body cannot be called back. A connection is idle while nothing is
sent and less than LEAST arrives. Idle for `idle_seconds`, it is read no further, so that an answer (408) still goes
out; idle for twice that, it is closed.

Linux tells by TCP_INFO (tcp(7)) what moved. Other systems do not; there nothing is ended.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

LEAST = 32 * 1024
"""Bytes: less than this in `idle_seconds` is as good as nothing."""
_TCP_INFO = struct.Struct("=B43xI80xQ")  # state; last_data_sent, milliseconds ago; bytes_received
_ESTABLISHED = 1


class Connections:
    """This process's connections to `port`. One thread at a time."""

    def __init__(self, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._clock = clock
        self._progress: dict[str, tuple[int, float]] = {}  # by socket: bytes received, and when that was

    def end_idle(self, idle_seconds: float) -> int:
        """Look once; how many were ended."""
        seen: dict[str, tuple[int, float]] = {}
        ended = 0
        for name, connection in _connections(self._port):
            with suppress(OSError):
                idle = self._idle_for(name, connection, seen)
                if idle >= idle_seconds:
                    connection.shutdown(socket.SHUT_RDWR if idle >= 2 * idle_seconds else socket.SHUT_RD)
                    ended += 1
        self._progress = seen
        return ended

    def _idle_for(self, name: str, connection: socket.socket, seen: dict[str, tuple[int, float]]) -> float:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, sent_ago, received = _TCP_INFO.unpack(told)
        now = self._clock()
        before, since = self._progress.get(name, (received, now))
        seen[name] = (before, since) if received - before < LEAST else (received, now)
        return min(now - seen[name][1], sent_ago / 1000) if state == _ESTABLISHED else 0.0


def _connections(port: int) -> Iterator[tuple[str, socket.socket]]:
    """Each socket's name in the kernel and a copy of its descriptor, closed when the next is asked for: the server may
    close its own at any time, and the number would then be another's."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            name = str(entry.readlink())
            if not name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as copy:
                if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.getsockname()[1] == port:
                    yield name, copy
