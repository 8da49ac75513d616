"""Reading ahead: the same bytes, no more of them under way than promised, and no fault earlier than asked for."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.objects.azure.part_reader import AHEAD, DEPTH, RUN, AzurePartReader

CONTENT = bytes(range(256)) * 40


class Later(Executor):
    """Runs nothing until it is asked for, so that a test sees what is under way."""

    def __init__(self) -> None:
        self.waiting: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                if not self.done():
                    self.set_result(fn(*args, **kwargs))
                return super().result(timeout)

        future = Lazy()
        self.waiting.append(future)
        return future

    @property
    def under_way(self) -> int:
        return sum(not future.done() for future in self.waiting)


class Source:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def fetch(self, offset: int, length: int) -> bytes:
        assert offset >= 0 and length > 0 and offset + length <= len(self.content)
        self.asked.append((offset, length))
        return self.content[offset : offset + length]


reads = st.lists(
    st.tuples(
        st.integers(0, len(CONTENT) + 10), st.integers(0, 900), st.integers(0, 3000), st.integers(0, 12)
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(reads)
def test_any_reads_give_the_bytes_that_are_there(walks: list[tuple[int, int, int, int]]) -> None:
    with ThreadPoolExecutor(4) as threads:
        reader = AzurePartReader(Source(CONTENT).fetch, len(CONTENT), threads)
        for start, step, length, count in walks:
            for number in range(count):
                offset = start + number * step
                assert reader.read_at(offset, length) == CONTENT[offset : offset + length]
        reader.close()


def test_steady_steps_are_foreseen_and_each_range_is_fetched_once() -> None:
    source, later = Source(CONTENT), Later()
    reader = AzurePartReader(source.fetch, len(CONTENT), later)
    for offset in range(0, len(CONTENT) - 16, 100):
        reader.read_at(offset, 16)
        assert later.under_way <= DEPTH
    assert len(source.asked) == len(set(source.asked)) == len(range(0, len(CONTENT) - 16, 100))
    assert len(later.waiting) == len(source.asked) - 3


def test_reads_that_touch_are_fetched_together() -> None:
    """The segments of a part: the first is shorter by the header, the last by what it lacks."""
    mib = 1 << 20
    size = 20 * mib + 77
    source, later = Source(bytes(size)), Later()
    reader = AzurePartReader(source.fetch, size, later)
    walk = [(0, 40), (40, mib - 40), *((number * mib, mib) for number in range(1, 20)), (20 * mib, 77)]
    for offset, length in walk:
        assert len(reader.read_at(offset, length)) == length
        assert later.under_way <= AHEAD // RUN
    assert len(source.asked) <= 5 + 20 * mib // RUN
    assert sum(length for _, length in source.asked) == size


def test_no_more_is_fetched_ahead_than_promised() -> None:
    length = AHEAD // 3
    source, later = Source(bytes(8 * length)), Later()
    reader = AzurePartReader(source.fetch, 8 * length, later)
    for number in range(4):
        reader.read_at(number * length, length)
    assert later.under_way == 3


def test_a_step_aside_forgets_what_was_fetched_ahead() -> None:
    later = Later()
    reader = AzurePartReader(Source(CONTENT).fetch, len(CONTENT), later)
    for number in range(4):
        reader.read_at(number * 10, 10)
    reader.read_at(5000, 10)
    assert all(future.cancelled() or future.done() for future in later.waiting)


def test_a_fault_ahead_is_told_when_its_bytes_are_read_and_not_before() -> None:
    def fetch(offset: int, length: int) -> bytes:
        if offset + length > 50:
            raise OSError("the line is cut")
        return CONTENT[offset : offset + length]

    with ThreadPoolExecutor(2) as threads:
        reader = AzurePartReader(fetch, len(CONTENT), threads)
        for number in range(5):
            assert reader.read_at(number * 10, 10) == CONTENT[number * 10 : number * 10 + 10]
        with pytest.raises(OSError, match="the line is cut"):
            reader.read_at(50, 10)
