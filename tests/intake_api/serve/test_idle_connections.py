"""Connections that are ended, and those that are not: real sockets, and what the kernel says of them."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intake_api.http.idle_connections import CROWDED, SPARED_SECONDS, Connections, Reading
from tests.intake_api.serve.serving import until


class Pairs:
    """Connections to one port of this process: (the caller's end, ours)."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.all: list[tuple[socket.socket, socket.socket]] = []

    def add(self, sent: bytes = b"") -> tuple[socket.socket, socket.socket]:
        caller = socket.create_connection(("127.0.0.1", self.port))
        ours, _ = self._listener.accept()
        caller.sendall(sent)
        ours.settimeout(5)
        self.all.append((caller, ours))
        return caller, ours

    def close(self) -> None:
        for each in (self._listener, *(end for pair in self.all for end in pair)):
            each.close()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    made.close()


def is_ended(ours: socket.socket) -> bool:
    """Whether it is read no further: all that had come, then an end."""
    ours.settimeout(0.05)
    try:
        while ours.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    return True


def read(pairs: Pairs, of: Reading, which: socket.socket) -> bool:
    """End the reading of `of`, which is over once `which` was ended."""
    return Connections(pairs.port).end_reading(of, lambda _: is_ended(which))


def test_what_had_arrived_is_handed_over_before_the_end(pairs: Pairs) -> None:
    _, ours = pairs.add(b"x" * 1000)
    begun = time.monotonic()
    reading = Reading("127.0.0.1", begun, 0, begun)
    assert Connections(pairs.port).end_reading(reading, lambda _: True)
    assert ours.recv(5000) == b"x" * 1000
    assert ours.recv(5000) == b""


def test_of_many_only_the_likeliest_is_ended(pairs: Pairs) -> None:
    """Those that brought less than was handed over, have sent a response since, or are another's are none of it."""
    less = pairs.add(b"x" * 10)[1]
    answered = pairs.add(b"x" * 2000)[1]
    more = pairs.add(b"x" * 9000)[1]
    own = pairs.add(b"x" * 2000)[1]
    time.sleep(2)
    answered.sendall(b"a response")
    now = time.monotonic()
    begun = now - 1.9
    assert until(lambda: read(pairs, Reading("127.0.0.1", begun, 1500, begun), own), 5)
    assert [is_ended(each) for each in (less, answered, more)] == [False, False, False]
    assert not read(pairs, Reading("192.0.2.1", begun, 0, begun), more)
    assert not is_ended(more)


@pytest.mark.parametrize("without", [False, True], ids=["descriptors left", "none left"])
def test_the_idle_are_ended_also_when_no_descriptor_is_left(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, without: bool
) -> None:
    idle, moving = pairs.add(), pairs.add()
    now = [0.0]
    connections = Connections(pairs.port, clock=lambda: now[0])
    if without:

        def none_left(*_: object) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(os, "dup", none_left)
        monkeypatch.setattr(Path, "iterdir", none_left)
    assert connections.end_idle(0.2) == 0
    time.sleep(0.25)
    now[0] = 0.25
    moving[0].sendall(b"x" * 100)
    assert until(lambda: (moving[1].recv(100, socket.MSG_PEEK | socket.MSG_DONTWAIT) or b"") != b"", 5)
    assert connections.end_idle(0.2) == 1
    assert is_ended(idle[1])
    assert not is_ended(moving[1])
    assert os.fstat(moving[1].fileno())  # and no descriptor of the server's was closed


def test_in_a_crowd_the_longest_idle_make_room_and_the_youngest_stay(pairs: Pairs) -> None:
    for _ in range(20):
        pairs.add(b"x")
    now = [0.0]
    connections = Connections(pairs.port, most=20, clock=lambda: now[0])
    assert connections.end_idle(3600) == 0, "all are new"
    assert connections.crowded
    time.sleep(SPARED_SECONDS + 0.1)
    now[0] = SPARED_SECONDS + 0.1
    young = pairs.add(b"x")
    ended = connections.end_idle(3600)
    assert ended == len(pairs.all) - int(20 * CROWDED)
    assert not is_ended(young[1])


def test_what_takes_longer_than_it_may_is_ended_once_it_is_due() -> None:
    now, ended = [0.0], []
    connections = Connections(1, clock=lambda: now[0])

    def end() -> None:
        ended.append(now[0])

    with connections.end_at(5, end):
        for now[0] in (0.0, 4.9, 5.0):
            connections.end_overdue()
    now[0] = 100.0
    assert connections.end_overdue() == 0
    assert ended == [5.0]
