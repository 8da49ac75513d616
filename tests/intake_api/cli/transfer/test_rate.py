"""The pace of sending: never above the limit, no gush after a pause, small pieces on a slow line."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.cli.transfer.rate import FIRST, LARGEST, SMALLEST, Pace, parse_rate


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(st.integers(1, 10**9), st.lists(st.tuples(st.booleans(), st.floats(0, 5)), min_size=1, max_size=60))
def test_no_stretch_of_time_carries_more_than_the_limit_and_one_piece(
    limit: int, steps: list[tuple[bool, float]]
) -> None:
    time = Time()
    pace = Pace(limit, time.clock, time.sleep)
    left: list[tuple[float, int]] = []
    for slow, seconds in steps:
        pace.keep(pace.piece)
        left.append((time.now, pace.piece))
        time.now += seconds if slow else 0
        pace.took()
    for first, (begin, _) in enumerate(left):
        carried = 0
        for at, count in left[first:]:
            assert carried <= limit * (at - begin) * 1.000001 + 1e-3
            carried += count


@given(st.integers(1000, 10**8))
def test_a_limited_line_is_used_fully_and_smoothly(limit: int) -> None:
    time = Time()
    pace = Pace(limit, time.clock, time.sleep)
    began = time.now
    for _ in range(100):
        pace.keep(pace.piece)
        pace.took()
    assert time.now - began == pytest.approx(99 * pace.piece / limit)
    assert pace.piece / limit <= 0.05


def test_pieces_follow_what_the_line_takes() -> None:
    time = Time()
    pace = Pace(None, time.clock, time.sleep)
    assert pace.piece == FIRST

    def sent(seconds: float) -> int:
        pace.keep(pace.piece)
        time.now += seconds
        pace.took()
        return pace.piece

    assert [sent(0) for _ in range(10)][-1] == LARGEST
    assert sent(0.1) == LARGEST
    assert [sent(1) for _ in range(10)][-1] == SMALLEST


def test_several_connections_share_one_limit() -> None:
    pace = Pace(400_000)
    began, threads = time.monotonic(), []
    for _ in range(4):
        body = pace.cut(b"x" * 50_000)
        threads.append(threading.Thread(target=lambda body=body: [len(piece) for piece in body]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= (200_000 - pace.piece) / 400_000  # a limit, not a speed


def test_a_body_without_a_limit_is_whole() -> None:
    assert Pace().cut(b"x" * 50_000) == b"x" * 50_000


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 50_000))
def test_a_paced_body_is_the_same_body(content: bytes, limit: int) -> None:
    clock = Time()
    body = Pace(limit, clock.clock, clock.sleep).cut(content)
    assert b"".join(body) == content  # type: ignore[arg-type]
    assert len(body) == len(content)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "rate"), [("500", 500), ("32k", 32768), ("2M", 2 << 20), ("1g", 1 << 30)])
def test_a_rate_is_read(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "k", "1.5M", "2 M", "2MB", "٣"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bytes a second"):
        parse_rate(text)
