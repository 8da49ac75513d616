"""Schedules by NCrontab's rules: what the host takes, and what never comes. Compared with croniter where they agree."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from functions.config import BadSchedule, check_schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * * *",
        "*/10 * * * * *",
        "5/15 * * * * *",
        "0 0 9-17 * * MON-FRI",
        "0 0 9-17 * * monday-Fri",
        "0 0 0 1,15 Ja,Jul *",
        "0 0 0 29 2 *",
        "0 0 0 29 2 0",
        "0 0 0 31-30 4 *",  # turned: the 30th and the 31st
        "0 0 0 28/3 2 *",
        "0 0 0 30,1 2 *",
        "0 0 0 31 */5 *",
        "0 */0 * * * *",
        "0 5/-1 * * * *",
        "0 0 0 13 * 5",
    ],
)
def test_the_host_takes_it_and_it_fires(schedule: str) -> None:
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("0 0 0 30 2 *", "never fires"),
        ("0 0 0 30-31 Feb *", "never fires"),
        ("0 0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 0 31 2/2 *", None),  # August is among them
        ("0 0 0 31 4/5 *", "never fires"),  # April and September
        ("0 0 0 0 * *", "0 is not a valid day"),
        ("0 0 0 32 * *", "32 is not a valid day"),
        ("0 0 24 * * *", "24 is not a valid hour"),
        ("60 * * * * *", "60 is not a valid second"),
        ("0 0 0 * 13 *", "13 is not a valid month"),
        ("0 0 0 * * 7", "7 is not a valid day of the week"),
        ("0 0 0 * * MONDAYS", "not a valid day of the week"),
        ("0 0 MON * * *", "not a valid hour"),
        ("0 0 0 L * *", "not a valid day"),
        ("0 0 0 ? * *", "not a valid day"),
        ("0 0,, 0 * * *", "not a valid minute"),
        ("0 ,5 0 * * *", "not a valid minute"),
        ("0 5- 0 * * *", "not a valid minute"),
        ("0 -5 0 * * *", "not a valid minute"),
        ("0 */x 0 * * *", "has the step"),
        ("0 */ 0 * * *", "has the step"),
        ("* * * * *", "5 fields"),
        ("0  0 0 * * *", "7 fields"),
        ("0 * * * * *\n", "not a valid day of the week"),
        ("00:05:00", "1 fields"),
        ("", "1 fields"),
    ],
)
def test_the_host_refuses_it_or_it_never_fires(schedule: str, said: str | None) -> None:
    if said is None:
        check_schedule(schedule)
        return
    with pytest.raises(BadSchedule, match=said):
        check_schedule(schedule)


NUMBERS = st.lists(st.integers(1, 31), min_size=1, max_size=3)


@given(NUMBERS, st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_it_fires_exactly_when_the_calendar_has_such_a_day(days: list[int], months: list[int]) -> None:
    day, month = ",".join(map(str, days)), ",".join(map(str, months))
    leap = [datetime(2028, at, 1, tzinfo=UTC) for at in months]
    has = any(
        (start.replace(month=start.month % 12 + 1, year=start.year + start.month // 12) - start).days
        >= min(days)
        for start in leap
    )
    try:
        check_schedule(f"0 0 0 {day} {month} *")
        fires = True
    except BadSchedule:
        fires = False
    assert fires == has
    if fires:
        assert croniter(f"0 0 {day} {month} *", leap[0]).get_next(datetime) is not None
