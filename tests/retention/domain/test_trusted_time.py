"""What a clock can be made to say, and what is sure all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from retention.domain.trusted_time import (
    DRIFT,
    NONE,
    SETTLE,
    SHORT,
    SLACK,
    Belief,
    Mark,
    begin,
    due_by,
    judge,
    tell,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
steps = st.timedeltas(SECOND, timedelta(minutes=10))
errors = st.one_of(st.timedeltas(-SLACK, SLACK), st.timedeltas(-400 * DAY, 400 * DAY))
right = st.timedeltas(-SLACK / 3, SLACK / 3)


@st.composite
def liars(draw: st.DrawFn) -> list[tuple[timedelta, timedelta]]:
    """(how long, how wrong) of a clock that never stays wrong by one amount for as long as it would be believed."""
    told = []
    for _ in range(draw(st.integers(1, 8))):
        wrong = draw(st.timedeltas(2 * SLACK, 400 * DAY)) * draw(st.sampled_from((1, -1)))
        told.append((draw(st.timedeltas(SECOND, min(abs(wrong), SETTLE) - SECOND)), wrong))
        told.append((draw(steps), NONE))
    return told


@given(liars(), st.integers(1, 5))
def test_alone_a_clock_that_errs_for_less_than_it_is_believed_moves_nothing(
    told: list[tuple[timedelta, timedelta]], looks: int
) -> None:
    truth, belief = START, Belief(START, START)
    for length, wrong in told:
        for _ in range(looks):
            truth += length / looks
            belief = judge(belief, length / looks, truth + wrong, ())
            assert belief.is_apart == (wrong != NONE)
            assert abs(belief.sure - truth) < SECOND
            assert abs(belief.told - truth) < SECOND
            assert due_by(belief, NONE, truth + wrong, ()) <= truth + SECOND


@given(st.lists(st.tuples(steps, errors), max_size=30))
def test_alone_no_clock_runs_ahead_of_what_passed_by_more_than_slack_before_it_can_have_settled(
    told: list[tuple[timedelta, timedelta]],
) -> None:
    """Any sequence of readings, however they creep, up to the first that may settle (the test above holds when)."""
    passed, belief = NONE, Belief(START, START)
    for ran, wrong in told:
        if belief.is_apart and belief.settled + ran >= min(abs(belief.gap), SETTLE) - SLACK:
            return
        passed += ran
        belief = judge(belief, ran, START + passed + wrong, ())
        assert belief.sure - START <= passed * (1 + DRIFT) + SLACK + SECOND
        assert belief.told <= belief.sure + SLACK


@given(st.lists(st.tuples(steps, errors, right, right), min_size=1, max_size=20))
def test_two_others_that_are_right_make_up_for_any_clock(
    told: list[tuple[timedelta, timedelta, timedelta, timedelta]],
) -> None:
    truth, belief = START, Belief(START, START)
    for ran, wrong, one, other in told:
        truth += ran
        belief = judge(belief, ran, truth + wrong, (truth + one, truth + other))
        assert abs(belief.sure - truth) <= 2 * SLACK


@given(st.lists(st.tuples(steps, errors, right), min_size=1, max_size=20))
def test_one_other_that_is_right_is_enough_where_the_process_was_right_before(
    told: list[tuple[timedelta, timedelta, timedelta]],
) -> None:
    truth, belief = START, Belief(START, START)
    for ran, wrong, other in told:
        truth += ran
        belief = judge(belief, ran, truth + wrong, (truth + other,))
        assert abs(belief.sure - truth) <= 2 * SLACK


@given(st.timedeltas(2 * SHORT, 400 * DAY), st.lists(steps, min_size=300, max_size=300))
def test_a_machine_that_was_off_is_believed_after_as_long_as_it_was_off_a_day_at_most(
    off: timedelta, looks: list[timedelta]
) -> None:
    belief, passed = begin(START + off, (), Mark(START)), NONE
    needed = min(off, SETTLE)
    for ran in looks:
        assert belief.is_apart == (passed < needed)
        if belief.is_apart:
            assert belief.sure == START + passed
        assert belief.told == START + off + passed, "what nothing contradicts is told"
        passed += ran
        belief = judge(belief, ran, START + off + passed, ())


@given(st.timedeltas(2 * SHORT, 400 * DAY), st.integers(1, 20))
def test_what_has_settled_is_not_lost_by_a_restart(off: timedelta, restarts: int) -> None:
    belief, passed, needed = begin(START + off, (), Mark(START)), NONE, min(off, SETTLE)
    share = needed / (restarts + 1) + timedelta(microseconds=1)
    for _ in range(restarts):
        passed += share
        belief = judge(belief, share, START + off + passed, ())
        belief = begin(START + off + passed, (), Mark(belief.sure, belief.gap, belief.settled))
        assert belief.is_apart
    assert not judge(belief, share, START + off + passed + share, ()).is_apart


@given(st.timedeltas(2 * SHORT, 400 * DAY), st.timedeltas(-SLACK, SLACK))
def test_another_clock_that_agrees_makes_a_long_absence_sure_at_once(off: timedelta, skew: timedelta) -> None:
    belief = begin(START + off, (START + off + skew,), Mark(START))
    assert not belief.is_apart
    assert belief.sure == min(START + off, START + off + skew)


@given(st.timedeltas(2 * SLACK, 400 * DAY), st.timedeltas(NONE, 400 * DAY))
def test_another_clock_that_says_less_is_what_a_start_goes_by(ahead: timedelta, off: timedelta) -> None:
    truth = START + off
    belief = begin(truth + ahead, (truth,), Mark(START))
    assert (belief.is_apart, belief.told, belief.sure) == (True, truth, truth) or off <= SLACK
    assert belief.sure <= truth


@given(st.timedeltas(2 * SLACK, 400 * DAY))
def test_a_clock_that_starts_before_what_was_sure_is_known_to_be_wrong(behind: timedelta) -> None:
    belief = begin(START - behind, (), Mark(START))
    assert (belief.is_apart, belief.told, belief.sure) == (True, START, START)


def test_a_wrong_clock_of_a_start_that_is_set_right_is_followed_at_once() -> None:
    """Booted with a wrong clock, and the time service answers seconds later."""
    belief = begin(START + 91 * DAY, (), Mark(START))
    assert belief.told == START + 91 * DAY
    assert tell(belief, 5 * SECOND, START + 2 * HOUR) == START + 2 * HOUR
    belief = judge(belief, 5 * SECOND, START + 2 * HOUR, ())
    assert (belief.told, belief.sure) == (START + 2 * HOUR, START + 5 * SECOND)


def test_what_contradicts_every_clock_settles_nothing() -> None:
    """Database, storage and this machine a day apart from each other: nobody is believed beyond the second-latest."""
    belief = Belief(START, START)
    for hour in range(1, 50):
        now = START + hour * HOUR
        belief = judge(belief, HOUR, now + 91 * DAY, (now - DAY,))
        assert (belief.is_apart, belief.sure) == (True, now)
        assert due_by(belief, NONE, now + 91 * DAY, (now - DAY,)) == now
