from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.entry import Action, Entry, Outcome, parse_leaf
from audit.times import rfc3339
from audit.tlog.overdue import Overdue, overdue

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS_90 = timedelta(days=90)
SECOND = timedelta(seconds=1)
Leaf = dict[str, Any]


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def leaf(action: Action, at: datetime, **fields: Any) -> Leaf:
    entry = Entry(id="e", at=at, action=action, actor="a", actor_kind="k", **fields)
    return parse_leaf(entry.leaf())


def opened(case: str, at: datetime) -> Leaf:
    return leaf(Action.CASE_OPENED, at, case=case)


def closed(case: str, at: datetime, heard: datetime | None = None, **fields: Any) -> Leaf:
    return leaf(Action.CASE_CLOSED, heard or at, case=case, details={"closed_at": rfc3339(at)}, **fields)


def reopened(case: str, at: datetime) -> Leaf:
    return leaf(Action.CASE_REOPENED, at, case=case)


def created(bundle: str, at: datetime, case: str | None = None) -> Leaf:
    return leaf(Action.UPLOAD_CREATED, at, bundle=bundle, case=case, details={"type": "proactive"})


def received(bundle: str, at: datetime, case: str | None = None) -> Leaf:
    details = {"received_at": rfc3339(at)}
    return leaf(Action.BUNDLE_RECEIVED, at + SECOND, bundle=bundle, case=case, details=details)


def claimed(bundle: str, case: str, at: datetime) -> Leaf:
    return leaf(Action.BUNDLE_CLAIMED, at, bundle=bundle, case=case)


def moved(bundle: str, case: str, at: datetime) -> Leaf:
    return leaf(Action.BUNDLE_MOVED, at, bundle=bundle, case=case, subject="another case")


def erased(bundle: str, at: datetime, **fields: Any) -> Leaf:
    return leaf(Action.BUNDLE_ERASED, at, bundle=bundle, **fields)


def assert_due(leaves: list[Leaf], deadline: datetime, case: str | None) -> None:
    """Exactly at the deadline, and not a second before."""
    assert overdue(leaves, deadline - timedelta(microseconds=1)) == []
    assert overdue(leaves, deadline) == [Overdue("b1", case, deadline)]


IN_CASE = [opened("c1", day(0)), created("b1", day(1), "c1"), received("b1", day(1), "c1")]


def test_an_open_case_keeps_its_bundles() -> None:
    assert overdue(IN_CASE, day(5000)) == []


def test_a_closed_case_is_due_after_90_days_exactly() -> None:
    assert_due([*IN_CASE, closed("c1", day(10))], day(100), "c1")


def test_a_close_heard_late_counts_from_the_close() -> None:
    assert_due([*IN_CASE, closed("c1", day(10), heard=day(50))], day(100), "c1")


def test_reopening_cancels_and_the_next_close_starts_anew() -> None:
    leaves = [*IN_CASE, closed("c1", day(10)), reopened("c1", day(20))]
    assert overdue(leaves, day(5000)) == []
    assert_due([*leaves, closed("c1", day(30))], day(120), "c1")


def test_a_bundle_that_arrives_after_the_close_shares_the_deadline() -> None:
    leaves = [opened("c1", day(0)), closed("c1", day(10)), created("b1", day(50), "c1")]
    assert_due([*leaves, received("b1", day(51), "c1")], day(100), "c1")


def test_a_bundle_no_case_claims_is_due_90_days_from_receipt() -> None:
    assert_due([created("b1", day(1)), received("b1", day(2))], day(92), None)


def test_an_upload_never_completed_is_due_90_days_from_its_creation() -> None:
    assert_due([created("b1", day(1))], day(91), None)


def test_once_claimed_the_case_alone_counts() -> None:
    leaves = [
        opened("c1", day(0)),
        created("b1", day(1)),
        received("b1", day(2)),
        claimed("b1", "c1", day(50)),
    ]
    assert overdue(leaves, day(5000)) == []
    assert_due([*leaves, closed("c1", day(200))], day(290), "c1")


def test_a_moved_bundle_keeps_the_earlier_deadline() -> None:
    leaves = [*IN_CASE, opened("c2", day(0)), closed("c1", day(10)), moved("b1", "c2", day(20))]
    assert_due(leaves, day(100), "c2")
    assert_due([*leaves, closed("c2", day(30))], day(100), "c2")
    assert_due([*leaves, closed("c2", day(5), heard=day(30))], day(95), "c2")
    assert_due([*leaves, reopened("c1", day(40))], day(100), "c2")


def test_a_bundle_moved_from_an_open_case_has_the_new_cases_clock() -> None:
    leaves = [*IN_CASE, opened("c2", day(0)), moved("b1", "c2", day(20)), closed("c1", day(30))]
    assert overdue(leaves, day(5000)) == []
    assert_due([*leaves, closed("c2", day(40))], day(130), "c2")


def test_a_bundle_moved_twice_keeps_the_earliest_deadline() -> None:
    cases = [opened("c2", day(0)), opened("c3", day(0)), closed("c1", day(10)), closed("c2", day(15))]
    leaves = [*IN_CASE, *cases, moved("b1", "c2", day(20)), moved("b1", "c3", day(21))]
    assert_due(leaves, day(100), "c3")


def test_claiming_for_the_case_it_is_in_changes_nothing() -> None:
    leaves = [*IN_CASE, closed("c1", day(10)), claimed("b1", "c1", day(20)), reopened("c1", day(30))]
    assert overdue(leaves, day(5000)) == []


def test_what_is_erased_is_not_overdue() -> None:
    leaves = [*IN_CASE, closed("c1", day(10)), erased("b1", day(99))]
    assert overdue(leaves, day(5000)) == []


def test_only_what_succeeded_counts() -> None:
    for outcome in (Outcome.REFUSED, Outcome.FAILED):
        assert overdue([*IN_CASE, closed("c1", day(10), outcome=outcome)], day(5000)) == []
        leaves = [*IN_CASE, closed("c1", day(10)), erased("b1", day(20), outcome=outcome)]
        assert_due(leaves, day(100), "c1")


def test_the_earliest_deadline_comes_first() -> None:
    leaves = [created("b2", day(5)), created("b1", day(3)), created("b3", day(3))]
    assert [late.bundle for late in overdue(leaves, day(5000))] == ["b1", "b3", "b2"]


_steps = st.lists(
    st.tuples(
        st.sampled_from(["close", "reopen", "create", "receive", "claim", "move", "erase"]),
        st.sampled_from(["c1", "c2"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(_steps, st.integers(0, 200))
def test_no_history_makes_a_bundle_overdue_before_90_days_of_anything(steps: Any, ahead: int) -> None:
    """And what is overdue stays so until it is erased, its case is reopened or it is claimed."""
    make: dict[str, Callable[[str, datetime], Leaf]] = {
        "close": lambda case, at: closed(case, at),
        "reopen": lambda case, at: reopened(case, at),
        "create": lambda case, at: created("b1", at, case if at.day % 2 else None),
        "receive": lambda case, at: received("b1", at, case if at.day % 2 else None),
        "claim": lambda case, at: claimed("b1", case, at),
        "move": lambda case, at: moved("b1", case, at),
        "erase": lambda case, at: erased("b1", at),
    }
    now, leaves = START, []
    for name, case, days in steps:
        now += timedelta(days=days)
        leaves.append(make[name](case, now))
    found = overdue(leaves, now + timedelta(days=ahead))
    if ahead + sum(days for _, _, days in steps) < 90:
        assert found == []
    for late in found:
        assert START + DAYS_90 <= late.deadline <= now + timedelta(days=ahead)
        assert late in overdue(leaves, now + timedelta(days=ahead + 1))
        assert overdue([*leaves, erased(late.bundle, now)], now + timedelta(days=ahead)) == []
