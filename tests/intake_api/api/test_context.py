"""An answer shared by those who ask at about the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from intake_api.api.context import SingleFlight


def test_an_answer_counts_for_its_time_and_is_then_found_anew() -> None:
    seconds = 100.0
    last: SingleFlight[int] = SingleFlight(3, now=lambda: seconds)
    numbers = count(1)
    assert [last.get(lambda: next(numbers)) for _ in range(3)] == [1, 1, 1]
    seconds += 2.9
    assert last.get(lambda: next(numbers)) == 1
    seconds += 0.1
    assert [last.get(lambda: next(numbers)) for _ in range(2)] == [2, 2]


def test_its_time_begins_when_it_was_found() -> None:
    seconds = 0.0
    last: SingleFlight[str] = SingleFlight(3, now=lambda: seconds)

    def slowly() -> str:
        nonlocal seconds
        seconds += 60
        return "found"

    last.get(slowly)
    assert last.get(lambda: "again") == "found"


def test_of_many_who_ask_at_once_one_finds_out() -> None:
    last: SingleFlight[int] = SingleFlight(60)
    numbers, begun, go_on = count(1), threading.Event(), threading.Event()

    def find_out() -> int:
        begun.set()
        go_on.wait(10)
        return next(numbers)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(last.get, find_out)
        begun.wait(10)
        others = [pool.submit(last.get, find_out) for _ in range(7)]
        go_on.set()
        assert [each.result() for each in (first, *others)] == [1] * 8


def test_who_has_waited_for_long_goes_without() -> None:
    last: SingleFlight[int] = SingleFlight(60, patience=0.05)
    begun, go_on = threading.Event(), threading.Event()

    def hangs() -> int:
        begun.set()
        go_on.wait(10)
        return 1

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(last.get, hangs)
        begun.wait(10)
        assert last.get(lambda: 2) is None
        go_on.set()
        assert first.result() == 1
    assert last.get(lambda: 2) == 1


def test_an_error_is_its_askers_and_is_not_kept() -> None:
    last: SingleFlight[int] = SingleFlight(60)

    def fails() -> int:
        raise OSError("no part")

    with pytest.raises(OSError, match="no part"):
        last.get(fails)
    assert last.get(lambda: 2) == 2
