from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.case import (
    TRANSITIONS,
    CaseEvent,
    CaseEventKind,
    CaseState,
    check_number,
    next_event,
    state_after,
    step,
)
from retention.domain.faults import Conflict, Invalid

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
STATES: list[CaseState | None] = [None, *CaseState]


@pytest.mark.parametrize(("state", "kind"), [*product(STATES, CaseEventKind)])
def test_a_step_is_in_the_table_or_a_conflict(state: CaseState | None, kind: CaseEventKind) -> None:
    if (state, kind) in TRANSITIONS:
        assert step(state, kind) is TRANSITIONS[state, kind]
    else:
        with pytest.raises(Conflict) as refused:
            step(state, kind)
        assert refused.value.reason == f"case-{state or 'unknown'}"


def test_the_table_is_the_rule_of_the_design() -> None:
    open_, closed = CaseState.OPEN, CaseState.CLOSED
    expected = {
        (None, CaseEventKind.OPENED): open_,
        (open_, CaseEventKind.CLOSED): closed,
        (closed, CaseEventKind.REOPENED): open_,
    }
    assert expected == TRANSITIONS


@given(
    st.lists(st.tuples(st.sampled_from(CaseEventKind), st.integers(-5, 5), st.integers(0, 3)), max_size=12)
)
def test_every_history_that_next_event_builds_is_in_order_and_never_in_the_future(
    tries: list[tuple[CaseEventKind, int, int]],
) -> None:
    history: list[CaseEvent] = []
    now = NOW
    for kind, ahead, passed in tries:
        now += passed * TICK
        try:
            history.append(next_event(history, kind, now + ahead * TICK, now))
        except (Conflict, Invalid):
            legal = (state_after(history), kind) in TRANSITIONS
            early = bool(history) and now + ahead * TICK < history[-1].effective_at
            assert not legal or ahead > 0 or early
    assert all(event.effective_at <= event.recorded_at for event in history)
    assert history == sorted(history, key=lambda event: event.effective_at)
    assert [event.kind for event in history[::2]][1:] == [CaseEventKind.REOPENED] * (len(history[::2]) - 1)


@pytest.mark.parametrize("number", ["1" * 15, "9" * 16])
def test_15_or_16_digits_are_a_case_number(number: str) -> None:
    assert check_number(number) == number


@pytest.mark.parametrize(
    "number",
    ["", "1" * 14, "1" * 17, "1" * 15 + "\n", " " + "1" * 15, "١" * 15, "12345678901234a", "-" + "1" * 15],
)
def test_anything_else_is_not(number: str) -> None:
    with pytest.raises(Invalid):
        check_number(number)


def test_the_pattern_is_the_deployments() -> None:
    assert check_number("CS-12", r"CS-[0-9]+") == "CS-12"
