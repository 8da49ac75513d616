from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.bundle import (
    CLOCK_SKEW,
    LIVE,
    TRANSITIONS,
    BundleState,
    Collection,
    CollectionType,
    Triggers,
    check_collection,
    step,
)
from retention.domain.faults import Conflict, Invalid

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
TRIGGERS = Triggers({"Known.Fault": "Known", "Other.Fault": "Other"}, ("Hidden.",))
MAX = 1000
GOOD = Collection(
    type=CollectionType.ON_DEMAND,
    logs_start=NOW - 3 * HOUR,
    logs_end=NOW - HOUR,
    time_collected=NOW,
    file_name="logs.zip",
    size=10,
)


def wrong_fields(**changes: Any) -> set[str]:
    try:
        check_collection(replace(GOOD, **changes), TRIGGERS, MAX, NOW)
    except Invalid as error:
        return set(error.errors)
    return set()


@pytest.mark.parametrize(("state", "to"), [*product(BundleState, BundleState)])
def test_a_step_is_in_the_table_or_a_conflict(state: BundleState, to: BundleState) -> None:
    if to in TRANSITIONS[state]:
        assert step(state, to) is to
    else:
        with pytest.raises(Conflict) as refused:
            step(state, to)
        assert refused.value.reason == f"bundle-{state}"


def test_from_every_live_state_there_is_a_way_to_erasing_and_from_there_only_to_erased() -> None:
    assert all(BundleState.ERASING in TRANSITIONS[state] for state in LIVE)
    assert TRANSITIONS[BundleState.ERASING] == {BundleState.ERASED}
    assert TRANSITIONS[BundleState.ERASED] == frozenset()
    assert set(TRANSITIONS) == set(BundleState) == LIVE | {BundleState.ERASING, BundleState.ERASED}


@pytest.mark.parametrize(
    ("size", "wrong"), [(-1, True), (0, False), (1, False), (MAX, False), (MAX + 1, True)]
)
def test_a_size_is_none_to_the_most(size: int, wrong: bool) -> None:
    assert wrong_fields(size=size) == ({"size"} if wrong else set())


@pytest.mark.parametrize(
    "name",
    ["", " ", "\t", ".", "..", "a/b", "a\\b", "/etc/passwd", "..\\x", "a\0b", "a\nb", "a\x7fb", "\u202egnp.exe",
     "a\u200bb", "\ufeffa", "a\u2028b", "\ud800", "\ue000", "\uffff", "x" * 256, "ä" * 128],
)  # fmt: skip
def test_a_hostile_file_name_is_refused(name: str) -> None:
    assert wrong_fields(file_name=name) == {"file_name"}


@pytest.mark.parametrize(
    "name", ["a", "logs.zip", "Ärger 日本.tar.gz", "...", "-rf", "x" * 255, "ä" * 127, "a'b\"c"]
)
def test_a_plain_file_name_is_taken(name: str) -> None:
    assert wrong_fields(file_name=name) == set()


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_one_visible_word_of_a_path(name: str) -> None:
    if not wrong_fields(file_name=name):
        assert 1 <= len(name.encode()) <= 255
        assert not {"/", "\\", "\0", "\n", "\r"} & set(name)
        assert name.strip() and name not in (".", "..")
        assert not any(unicodedata.category(c)[0] == "C" for c in name)


_near = st.integers(-10, 10).map(lambda n: n * 30 * timedelta(minutes=1))


@given(_near, _near, st.integers(-1, 1), st.integers(-1, 1))
def test_the_window_has_a_start_before_its_end_and_no_future(
    start: timedelta, end: timedelta, tick: int, collected_tick: int
) -> None:
    """The future begins after the skew that a stamp's clock may have."""
    logs_end = NOW + CLOCK_SKEW + end + tick * TICK
    collected = NOW + CLOCK_SKEW + collected_tick * TICK
    logs_start = NOW + CLOCK_SKEW + start
    wrong = wrong_fields(logs_start=logs_start, logs_end=logs_end, time_collected=collected)
    assert ("logs_start" in wrong) == (logs_start >= logs_end)
    assert ("logs_end" in wrong) == (logs_end > NOW + CLOCK_SKEW)
    assert ("time_collected" in wrong) == (collected_tick > 0)


@given(st.integers(0, 5 * 3600), st.integers(0, 8 * 24 * 3600), st.integers(-1, 1))
def test_send_logs_now_takes_one_to_four_hours_within_the_last_week(length: int, ago: int, tick: int) -> None:
    logs_start = NOW - timedelta(seconds=ago) + tick * TICK
    logs_end = logs_start + timedelta(seconds=length)
    if logs_start >= logs_end or logs_end > NOW:
        return
    wrong = wrong_fields(logs_start=logs_start, logs_end=logs_end, send_logs_now=True)
    fits = HOUR <= logs_end - logs_start <= 4 * HOUR and logs_start >= NOW - timedelta(days=7)
    assert (wrong == set()) == fits
    assert wrong_fields(logs_start=logs_start, logs_end=logs_end) == set(), "other windows are free"


@pytest.mark.parametrize(
    ("ago", "length", "wrong"),
    [
        (timedelta(days=7), HOUR, set()),
        (timedelta(days=7), 4 * HOUR, set()),
        (timedelta(days=7) + TICK, 2 * HOUR, {"logs_start"}),
        (timedelta(days=1), HOUR - TICK, {"logs_end"}),
        (timedelta(days=1), 4 * HOUR + TICK, {"logs_end"}),
    ],
)
def test_the_edges_of_send_logs_now_are_inside(ago: timedelta, length: timedelta, wrong: set[str]) -> None:
    start = NOW - ago
    assert wrong_fields(logs_start=start, logs_end=start + length, send_logs_now=True) == wrong


def test_send_logs_now_is_on_demand() -> None:
    proactive = {"type": CollectionType.PROACTIVE, "trigger": "Known.Fault"}
    assert wrong_fields(**proactive, send_logs_now=True) == {"send_logs_now"}


@pytest.mark.parametrize(
    ("trigger", "known"),
    [("Known.Fault", True), ("Other.Fault", True), ("Hidden.Event", True), ("Hidden.", False), ("hidden.event", False),
     ("known.fault", False), ("Known.Fault ", False), ("Known", False), ("", False), (None, False)],
)  # fmt: skip
def test_a_proactive_collection_has_a_known_trigger(trigger: str | None, known: bool) -> None:
    wrong = wrong_fields(type=CollectionType.PROACTIVE, trigger=trigger)
    assert wrong == (set() if known else {"trigger"})
    if trigger is not None:
        assert wrong_fields(trigger=trigger) == {"trigger"}, "and only a proactive one has"


def test_a_refused_trigger_comes_with_the_list_and_all_wrong_fields_at_once() -> None:
    bad = replace(GOOD, type=CollectionType.PROACTIVE, trigger="x", size=-1, file_name="/")
    with pytest.raises(Invalid) as refused:
        check_collection(bad, TRIGGERS, MAX, NOW)
    assert set(refused.value.errors) == {"trigger", "size", "file_name"}
    assert "Known.Fault, Other.Fault, Hidden.*" in refused.value.errors["trigger"]
