from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.entry import Action, Entry, Outcome, parse_leaf
from audit.log.append import append
from audit.log.query import CursorError, Filter, Reader, find, find_readers, iterate
from audit.tlog.unaccounted import READS

MakeLog = Callable[[], Any]
MakeEntry = Callable[..., Entry]


def ids(rows: Any) -> list[str]:
    return [parse_leaf(row.leaf)["id"] for row in rows]


def pages(log: Any, where: Filter, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        with log.engine.connect() as connection:
            page = find(connection, where, cursor, limit)
        assert len(page.rows) <= limit
        found += ids(page.rows)
        if page.next is None:
            return found
        cursor = page.next


_drawn = st.fixed_dictionaries(
    {
        "case": st.sampled_from(["c1", "c2", None]),
        "actor": st.sampled_from(["a1", "a2"]),
        "action": st.sampled_from([Action.BUNDLE_OPENED, Action.CASE_CLOSED]),
        "bundle": st.sampled_from(["b1", None]),
        "outcome": st.sampled_from(list(Outcome)),
        "tenant": st.sampled_from(["t1", "t2"]),
        "second": st.integers(0, 5),  # many entries share a moment, and they come out of order
    }
)
_wanted = st.fixed_dictionaries(
    {},
    optional={
        "case": st.sampled_from(["c1", "c2", "c3"]),
        "actors": st.sampled_from([("a1",), ("a2",), ("a1", "a2"), ()]),
        "action": st.sampled_from([Action.BUNDLE_OPENED, Action.CASE_CLOSED]),
        "bundle": st.just("b1"),
        "outcome": st.sampled_from(list(Outcome)),
        "tenant": st.sampled_from(["t1", "t2"]),
        "since": st.integers(0, 6),
        "until": st.integers(0, 6),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(_drawn, max_size=30), wanted=_wanted, limit=st.integers(1, 7))
def test_pages_and_stream_are_what_a_plain_filter_finds(
    make_log: MakeLog, make_entry: MakeEntry, drawn: Any, wanted: Any, limit: int
) -> None:
    log = make_log()
    start = make_entry(0).at
    entries = []
    for number, values in enumerate(drawn):
        second = values.pop("second")
        entries.append(make_entry(number, at=start + timedelta(seconds=second), **values))
    with log.engine.begin() as connection:
        append(connection, entries)
    wanted = {
        name: start + timedelta(seconds=value) if name in ("since", "until") else value
        for name, value in wanted.items()
    }
    where = Filter(**wanted)

    def fits(entry: Entry) -> bool:
        equal = all(
            getattr(entry, name) == value
            for name, value in wanted.items()
            if name not in ("since", "until", "actors")
        )
        return (
            equal
            and entry.actor in wanted.get("actors", ("a1", "a2"))
            and wanted.get("since", start) <= entry.at < wanted.get("until", start.replace(year=2100))
        )

    expected = [
        entry.id
        for _, entry in sorted(enumerate(entries), key=lambda pair: (pair[1].at, pair[0]))
        if fits(entry)
    ]
    assert pages(log, where, limit) == expected[::-1]
    with log.engine.connect() as connection:
        assert ids(iterate(lambda: nullcontext(connection), where)) == expected


_READ = st.fixed_dictionaries(
    {
        "subject": st.sampled_from(["g1", "g2", "g3"]),
        "bundle": st.sampled_from(["b1", "b2"]),
        "action": st.sampled_from([Action.BUNDLE_OPENED, Action.BUNDLE_LISTED, Action.BUNDLE_READ_ENDED]),
        "outcome": st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.REFUSED]),
        "case": st.sampled_from(["c1", "c2"]),
        "second": st.integers(0, 5),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(_READ, max_size=30), limit=st.integers(1, 4))
def test_pages_of_readers_are_what_counting_by_hand_finds(
    make_log: MakeLog, make_entry: MakeEntry, drawn: Any, limit: int
) -> None:
    log, start = make_log(), make_entry(0).at
    seconds = [values.pop("second") for values in drawn]
    entries = [
        make_entry(number, at=start + timedelta(seconds=second), actor=f"of-{values['subject']}", **values)
        for number, (second, values) in enumerate(zip(seconds, drawn, strict=True))
    ]
    with log.engine.begin() as connection:
        append(connection, entries)
    by_hand: dict[tuple[str, str | None], list[Entry]] = {}
    for entry in entries:
        if entry.case == "c1" and entry.outcome == Outcome.SUCCESS and entry.action in READS:
            by_hand.setdefault((entry.actor, entry.subject), []).append(entry)
    found: list[Reader] = []
    after: tuple[datetime, str] | None = None
    with log.engine.connect() as connection:
        while page := find_readers(connection, Filter(case="c1"), after, limit):
            found += page
            after = (page[-1].last_at, page[-1].grant)
    assert {(one.actor, one.grant): (one.reads, one.bundles, one.first_at, one.last_at) for one in found} == {
        under: (
            len(reads),
            len({each.bundle for each in reads}),
            min(each.at for each in reads),
            max(each.at for each in reads),
        )
        for under, reads in by_hand.items()
    }
    assert [one.last_at for one in found] == sorted((one.last_at for one in found), reverse=True)
    assert len(found) == len(by_hand)


def test_entries_written_between_pages_are_neither_repeated_nor_skipped(log: Any) -> None:
    log.write(6)
    with log.engine.connect() as connection:
        first = find(connection, Filter(), None, 3)
    log.write(4)
    with log.engine.connect() as connection:
        second = find(connection, Filter(), first.next, 3)
    assert ids(first.rows) + ids(second.rows) == [f"entry-{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert second.next is None


@pytest.mark.parametrize("name", ["case", "bundle", "tenant"])
def test_an_empty_condition_is_still_a_condition(log: Any, name: str) -> None:
    values: dict[str, Any] = {name: ""}
    log.write(3)
    with log.engine.connect() as connection:
        assert find(connection, Filter(**values), None, 3).rows == ()


def test_a_page_that_ends_with_the_last_entry_has_no_next(log: Any) -> None:
    log.write(3)
    with log.engine.connect() as connection:
        assert find(connection, Filter(), None, 3).next is None
        assert find(connection, Filter(), None, 2).next is not None


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.", "1.2.3", "1;DROP", "9" * 30 + ".1", "\u0661.1"])
def test_a_cursor_from_elsewhere_is_refused(log: Any, cursor: str) -> None:
    with log.engine.connect() as connection, pytest.raises(CursorError):
        find(connection, Filter(), cursor, 3)


def test_a_stream_is_longer_than_one_read_and_ends_where_it_began(log: Any) -> None:
    log.write(2500)
    with log.engine.connect() as connection:
        stream = iterate(lambda: nullcontext(connection), Filter())
        found = [next(stream)]
        connection.exec_driver_sql(
            "INSERT INTO audit_entries (entry_id, at_us, actor, actor_kind, action, outcome, leaf) "
            "SELECT 'late', max(at_us) + 1, 'a', 'k', 'case.opened', 'success', leaf FROM audit_entries"
        )
        found += stream
    assert ids(found) == [f"entry-{number}" for number in range(2500)]


def test_an_empty_log_streams_nothing(log: Any) -> None:
    with log.engine.connect() as connection:
        assert list(iterate(lambda: nullcontext(connection), Filter())) == []
        assert find(connection, Filter(), None, 3).rows == ()
