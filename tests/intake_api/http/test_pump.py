"""The pump, against bodies and sessions made by hand."""

from __future__ import annotations

import io
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intake_api.http.idle_connections import LEAST_RATE
from intake_api.http.pump import AHEAD, SMALL_READ, PumpResult, least_ask, piece_sizes, pump
from retention.domain.faults import TakenOver
from retention.envelope import format as fmt


class Taken:
    """A session that keeps what it is fed."""

    def __init__(self, refuse_after: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.stopped = False
        self._refuse_after = refuse_after

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    def feed(self, piece: bytes) -> None:
        if piece:
            self.pieces.append(piece)
        if self.stopped or (self._refuse_after is not None and len(self.pieces) > self._refuse_after):
            raise TakenOver("taken over")


class Silent:
    """A body that brings some bytes, then nothing until it is ended: a read returns when all it asks for is there."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)
        self._ended = threading.Event()
        self.waits = threading.Event()

    def read(self, size: int, /) -> bytes:
        left = len(self._content.getbuffer()) - self._content.tell()
        if left < size:
            self.waits.set()
            self._ended.wait(30)
        return self._content.read(size)

    def end(self) -> None:
        self._ended.set()


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
    body.end()


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


@settings(max_examples=15, deadline=None)
@given(came=st.one_of(st.integers(0, 300_000), st.sampled_from([1, 65_535, 65_536, 1_048_521])))
def test_of_a_body_that_falls_silent_every_byte_that_came_is_fed(came):
    content = bytes(index * 31 % 251 for index in range(1000)) * (came // 1000 + 1)
    stream, session = Silent(content[:came]), Taken()
    assert pump(stream, 2_000_000, session, 0.05) == PumpResult(came, stalled=True)
    assert session.content == content[:came]


@pytest.mark.parametrize("came", [0, 1, 65_535, 1_000_000])
def test_a_session_that_is_stopped_is_heard_while_the_body_is_silent_and_has_all_that_came(came):
    stream, session = Silent(bytes(came)), Taken()
    stopping = threading.Thread(target=lambda: (stream.waits.wait(20), setattr(session, "stopped", True)))
    stopping.start()
    with pytest.raises(TakenOver):
        pump(stream, 2_000_000, session, 3600)
    assert len(session.content) == came
    stopping.join()


def test_at_the_least_rate_nothing_stalls_and_what_is_asked_for_fits_the_rate():
    for stall in (1, 2, 60, 3600):
        assert least_ask(stall) <= LEAST_RATE * stall / 4
    assert least_ask(60) == 960
    assert least_ask(3600) == SMALL_READ
    assert least_ask(0.01) == 1


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
