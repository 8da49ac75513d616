"""The deadline rule: exact at its boundary, and the same as `audit.tlog.overdue`, which shares no code with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.entry import Action, Entry, parse_leaf
from audit.times import rfc3339
from audit.tlog.overdue import overdue
from retention.domain.case import CaseEvent, CaseEventKind, state_after
from retention.domain.deadline import (
    RETENTION,
    BundleHistory,
    Erase,
    Keep,
    Reason,
    cap_after_move,
    case_deadline,
    decide,
    due,
    must_tell,
    upload_expiry,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
OPENED, CLOSED, REOPENED = CaseEventKind.OPENED, CaseEventKind.CLOSED, CaseEventKind.REOPENED
moments = st.integers(0, 20 * 366 * 86_400 * 10**6).map(
    lambda us: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
)


def event(kind: CaseEventKind, at: datetime) -> CaseEvent:
    return CaseEvent(kind, at, at)


def closed_at(at: datetime) -> list[CaseEvent]:
    return [event(OPENED, at), event(CLOSED, at)]


@given(moments)
@example(datetime(2027, 12, 1, tzinfo=UTC))  # over the end of February 2028, a leap year
@example(datetime(2026, 12, 1, tzinfo=UTC))
@example(datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC))
def test_a_microsecond_before_90_days_keeps_and_90_days_erases(at: datetime) -> None:
    for history, reason in (
        (BundleHistory(at - DAY, closed_at(at)), Reason.CASE_CLOSED),
        (BundleHistory(at, None), Reason.UNCLAIMED),
        (BundleHistory(at - DAY, [event(OPENED, at)], cap=at + RETENTION), Reason.MOVED),
    ):
        end = at + timedelta(seconds=90 * 86_400)
        assert decide(history, end - TICK) == Keep(reason, end)
        assert decide(history, end) == Erase(reason, end)
        assert decide(history, end + 500 * DAY) == Erase(reason, end)


@given(moments, st.integers(-14, 14))
def test_the_deadline_is_the_same_moment_on_every_clock_in_the_world(at: datetime, hours: int) -> None:
    local = at.astimezone(timezone(timedelta(hours=hours)))
    assert due(BundleHistory(local, None)) == due(BundleHistory(at, None))
    assert case_deadline(closed_at(local)) == case_deadline(closed_at(at))


def test_an_open_case_keeps_its_bundles_for_ever_and_so_does_a_reopened_one() -> None:
    for case in ([event(OPENED, START)], [*closed_at(START), event(REOPENED, START + DAY)]):
        assert decide(BundleHistory(START, case), START + 5000 * DAY) == Keep(Reason.CASE_OPEN, None)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (80, (START + 80 * DAY, Reason.MOVED)),
        (90, (START + 90 * DAY, Reason.CASE_CLOSED)),
        (100, (START + 90 * DAY, Reason.CASE_CLOSED)),
    ],
)
def test_a_moved_bundle_takes_the_earlier_deadline_of_the_two(cap: int, expected: object) -> None:
    assert due(BundleHistory(START, closed_at(START), START + cap * DAY)) == expected


def test_what_leaves_a_case_takes_its_deadline_along_and_what_had_none_takes_nothing() -> None:
    assert cap_after_move(BundleHistory(START, closed_at(START))) == START + RETENTION
    assert cap_after_move(BundleHistory(START, [event(OPENED, START)])) is None
    assert cap_after_move(BundleHistory(START, None)) is None
    assert cap_after_move(BundleHistory(START, closed_at(START), START + DAY)) == START + DAY


# Any history of two cases and one bundle, told to both implementations at once.


@dataclass
class Told:
    """One history, as case events and bundle history for the one, as leaves for the other."""

    now: datetime = START
    cases: dict[str, list[CaseEvent]] = field(default_factory=dict)
    case: str | None = None
    since: datetime | None = None
    cap: datetime | None = None
    received: bool = False
    created: datetime | None = None
    expires: datetime | None = None
    limits: tuple[timedelta, timedelta] | None = None  # an upload's lifetime, and the longest
    offset: int = 0
    leaves: list[dict[str, Any]] = field(default_factory=list)

    def log(self, action: Action, details: dict[str, str | int | list[str]], **ids: str | None) -> None:
        made = Entry(id="e", at=self.now, action=action, actor="a", actor_kind="k", details=details, **ids)  # type: ignore[arg-type]
        self.leaves.append(parse_leaf(made.leaf()))

    def history(self) -> BundleHistory:
        assert self.since is not None
        return BundleHistory(self.since, self.cases[self.case] if self.case else None, self.cap)

    def step(self, name: str, case: str, late: int) -> None:
        {
            "close": self.change,
            "reopen": self.change,
            "create": self.create,
            "receive": self.receive,
            "move": self.move,
            "send": self.send,
            "rules": self.rules,
        }[name](name, case, late)

    def change(self, name: str, case: str, late: int) -> None:
        events = self.cases.setdefault(case, [event(OPENED, START)])
        kind, word = (CLOSED, "closed_at") if name == "close" else (REOPENED, "reopened_at")
        if (state_after(events) == "open") != (kind is CLOSED):
            return
        at = max(events[-1].effective_at, self.now - late * DAY)
        events.append(CaseEvent(kind, at, self.now))
        action = Action.CASE_CLOSED if kind is CLOSED else Action.CASE_REOPENED
        self.log(action, {word: rfc3339(at)}, case=case)

    def create(self, _name: str, case: str, late: int) -> None:
        if self.since is None:
            self.since, self.case = self.now, case if late % 2 else None
            self.cases.setdefault(case, [event(OPENED, START)])
            self.created, self.expires = self.now, self.kept_until(self.now)
            self.log(Action.UPLOAD_CREATED, {"type": "proactive"}, bundle="b", case=self.case)

    def kept_until(self, created: datetime) -> datetime | None:
        return None if self.limits is None else upload_expiry(created, self.now, *self.limits)

    def send(self, _name: str, _case: str, late: int) -> None:
        """Bytes, or none; `late` says how many, and whether it was all."""
        if self.created is not None and not self.received:
            start, self.offset = self.offset, self.offset + late % 3
            whole = late % 5 == 0 and self.offset > 0
            if whole:
                self.expires = None
            elif self.offset > start or not self.offset:
                self.expires = self.kept_until(self.created)
            details: dict[str, str | int | list[str]] = {"from": start, "to": self.offset}
            size = {"of": self.offset} if whole else {"of": self.offset + 9} if late % 2 else {}
            self.log(Action.UPLOAD_CONTINUED, {**details, **size}, bundle="b", case=self.case)

    def rules(self, _name: str, _case: str, late: int) -> None:
        self.limits = ((1 + late % 9) * DAY, (1 + late % 40) * DAY)
        told: dict[str, str | int | list[str]] = {
            "upload_seconds": int(self.limits[0].total_seconds()),
            "upload_longest_seconds": int(self.limits[1].total_seconds()),
            "retention_seconds": 86_400 * 90 if late % 2 else 86_400 * 1000,
        }
        self.log(Action.RULES_SET, told)

    def gone_by(self) -> datetime | None:
        at, _reason = due(self.history())
        return min([one for one in (at, self.expires) if one is not None], default=None)

    def receive(self, _name: str, _case: str, _late: int) -> None:
        if self.since is not None and not self.received:
            self.since, self.received, self.expires = self.now, True, None
            self.log(Action.BUNDLE_RECEIVED, {"received_at": rfc3339(self.now)}, bundle="b", case=self.case)

    def move(self, _name: str, case: str, _late: int) -> None:
        """A claim, or a move from another case."""
        if self.since is not None and case != self.case:
            action = Action.BUNDLE_MOVED if self.case else Action.BUNDLE_CLAIMED
            self.cap = cap_after_move(self.history())
            left, self.case = self.case, case
            self.cases.setdefault(case, [event(OPENED, START)])
            self.log(action, {}, bundle="b", case=case, subject=left)


steps = st.tuples(
    st.sampled_from(["close", "reopen", "create", "receive", "move", "send", "send", "rules"]),
    st.sampled_from(["c1", "c2", "c3"]),
    st.integers(0, 100),
    st.sampled_from([timedelta(0), TICK, DAY, 40 * DAY, 90 * DAY - TICK]),
)


@given(st.lists(steps, max_size=20))
def test_both_implementations_agree_on_every_history(history: list[tuple[str, str, int, timedelta]]) -> None:
    told = Told()
    told.create("create", "c1", len(history))
    for name, case, late, wait in history:
        told.now += wait
        told.step(name, case, late)
        at = told.gone_by()
        for moment in {told.now, *([at - TICK, at, at + TICK] if at else [])}:
            late_ones = [(found.bundle, found.deadline) for found in overdue(told.leaves, moment)]
            expired = told.expires is not None and told.expires <= moment
            erase = expired or isinstance(decide(told.history(), moment), Erase)
            assert late_ones == ([("b", at)] if erase else [])


@given(
    moments,
    st.lists(st.timedeltas(timedelta(0), 2 * DAY), max_size=60),
    st.integers(1, 9),
    st.integers(1, 40),
)
def test_bytes_that_keep_coming_are_told_of_before_they_are_old_and_not_more_often(
    created: datetime, waits: list[timedelta], days: int, longest_days: int
) -> None:
    lifetime, longest = days * DAY, longest_days * DAY
    now = told = created
    kept, entries = upload_expiry(created, told, lifetime, longest), 0
    for wait in waits:
        now += wait
        fresh = upload_expiry(created, now, lifetime, longest)
        if must_tell(kept, fresh, lifetime):
            kept, entries = fresh, entries + 1
        assert kept <= fresh <= created + longest
        assert fresh - kept < lifetime / 24
    assert entries <= 24 * longest / lifetime
