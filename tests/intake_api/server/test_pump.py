"""The pump, against bodies and sessions made by hand."""

from __future__ import annotations

import io
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intake_api.pump import AHEAD, PumpResult, piece_sizes, pump
from retention.envelope import format as fmt
from retention.errors import TakenOver


class Taken:
    """A session that keeps what it is fed."""

    def __init__(self, refuse_after: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.stopped = False
        self._refuse_after = refuse_after

    def feed(self, piece: bytes) -> None:
        if self.stopped or (self._refuse_after is not None and len(self.pieces) >= self._refuse_after):
            raise TakenOver("taken over")
        if piece:
            self.pieces.append(piece)


class Silent:
    """A body that brings some bytes, then nothing until it is ended."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        self.end = threading.Event()
        self.reads = 0

    def read(self, size: int, /) -> bytes:
        self.reads += 1
        left = len(self._content.getbuffer()) - self._content.tell()
        if left < size:
            self.end.wait(30)
        return self._content.read(size)


lengths = st.one_of(
    st.integers(0, 300_000),
    st.sampled_from(
        [fmt.FIRST_PLAINTEXT, fmt.FIRST_PLAINTEXT + 1, fmt.FIRST_PLAINTEXT + fmt.LATER_PLAINTEXT]
    ),
)


@settings(max_examples=40, deadline=None)
@given(length=lengths, missing=st.one_of(st.just(0), st.integers(1, 300_000)))
def test_all_that_comes_is_fed_in_order_and_a_body_that_is_too_short_is_cut(length, missing):
    content = bytes(index * 31 % 251 for index in range(1000)) * (length // 1000 + 1)
    content = content[: max(0, length - missing)]
    session = Taken()
    result = pump(io.BytesIO(content), length, session, 5)
    assert b"".join(session.pieces) == content
    assert result == PumpResult(len(content), cut=len(content) < length)


@settings(max_examples=60, deadline=None)
@given(length=lengths, most=lengths)
def test_a_chunked_body_is_fed_to_its_end_and_fills_nothing_when_there_is_more_than_fits(length, most):
    content = (bytes(index * 31 % 251 for index in range(1000)) * (length // 1000 + 1))[:length]
    session = Taken()
    result = pump(io.BytesIO(content), most, session, 5, chunked=True)
    fed = b"".join(session.pieces)
    if length <= most:
        assert (fed, result) == (content, PumpResult(length))
    else:
        assert result == PumpResult(len(fed), over=True)
        assert len(fed) < most or most == 0
        assert content.startswith(fed)


def test_what_fills_a_chunked_body_counts_also_when_its_end_never_comes():
    body, session = Silent(bytes(100_000)), Taken()
    result = pump(body, 65_536, session, 0.5, chunked=True)
    assert result.over  # one byte more than fits had come
    body, session = Silent(bytes(65_536)), Taken()
    result = pump(body, 131_071, session, 0.5, chunked=True)
    assert result == PumpResult(65_536, stalled=True)
    assert len(b"".join(session.pieces)) == 65_536
    body.end.set()


def test_full_pieces_are_those_that_a_session_seals_without_a_copy():
    size = fmt.FIRST_PLAINTEXT + 5 * fmt.LATER_PLAINTEXT
    session = Taken()
    pump(io.BytesIO(bytes(size)), size, session, 60)
    assert [len(piece) for piece in session.pieces[-5:]] == [fmt.LATER_PLAINTEXT] * 5
    sizes = piece_sizes()
    part = [next(sizes) for _ in range(64)]
    assert part == [fmt.FIRST_PLAINTEXT] + [fmt.LATER_PLAINTEXT] * 63
    assert next(sizes) == fmt.FIRST_PLAINTEXT


def test_no_more_is_read_than_was_announced():
    stream = io.BytesIO(bytes(500_000))
    assert pump(stream, 200_000, Taken(), 5) == PumpResult(200_000)
    assert stream.tell() == 200_000


def test_a_silent_body_is_stalled_and_what_came_was_fed():
    stream, session = Silent(bytes(100_000)), Taken()
    assert pump(stream, 200_000, session, 0.3) == PumpResult(65_536, stalled=True)
    stream.end.set()
    assert sum(map(len, session.pieces)) == 65_536


def test_a_session_that_is_stopped_is_heard_while_the_body_is_silent():
    stream, session = Silent(b""), Taken()
    threading.Timer(0.2, setattr, (session, "stopped", True)).start()
    begun = time.monotonic()
    with pytest.raises(TakenOver):
        pump(stream, 10, session, 20)
    assert time.monotonic() - begun < 5
    stream.end.set()


def test_a_session_that_refuses_ends_the_reading():
    class Endless:
        read_bytes = 0

        def read(self, size: int, /) -> bytes:
            self.read_bytes += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(TakenOver):
        pump(stream, 1 << 40, Taken(refuse_after=3), 20)
    time.sleep(0.2)
    held = stream.read_bytes
    time.sleep(0.2)
    assert stream.read_bytes == held
    assert held <= (AHEAD + 5) * fmt.SEGMENT
