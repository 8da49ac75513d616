"""Each list of bundles, of every role, and each question to the log is searched by an index that fixes what is asked
for and has the list's order: no big table is read from end to end, and only the bundles of one's cases are sorted.

SQLite never knows how much a table holds (ANALYZE never runs), so its plan on a small database is the plan at any size.
PostgreSQL's plans at size: `tests/bench/plans.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import Engine, event

from audit.entry import Action, Outcome
from audit.log import query
from retention.custody.uploads import declaration
from retention.domain.bundle import STATUSES
from retention.records.queries import encode_cursor
from tests.retention.custody.world import NUMBER, START, World, strict_world

STAMP_OF_NOBODY = "stp_none"
FILTERS: Mapping[str, dict[str, Any]] = {
    "nothing": {},
    "in progress": {"states": STATUSES["in-progress"]},
    "complete": {"states": STATUSES["complete"]},
    "erased": {"states": STATUSES["erased"]},
    "unclaimed": {"unclaimed": True},
    "proactive": {"type_": "proactive"},
    "a stamp": {"stamp_id": "stp_1"},
    "a case": {"case_number": NUMBER},
    "a case that is not there": {"case_number": "9" * 15},
}
PEOPLE = ("auditor", "operator", "stamp", "engineer", "partner", "case_system")


@contextmanager
def plans(engine: Engine, table: str) -> Iterator[list[tuple[str, list[str]]]]:
    """Collect the plans of the statements that read `table`: each with its steps."""
    seen: list[tuple[str, list[str]]] = []

    def look(_connection: Any, cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        if f"FROM {table}" in statement:
            asked = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", values)
            seen.append((statement, [step[3] for step in asked.fetchall()]))

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", look)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with strict_world() as made:
        made.open_case()
        made.assign(made.engineer)
        made.assign(made.partner)
        made.consent()
        made.upload(b"of the case")
        made.upload(b"of none", None)
        yield made


def wrong(seen: list[tuple[str, list[str]]], table: str, *, sorted_: bool = False) -> list[str]:
    """What is wrong with the plans: a walk over everything, or a sort."""
    walks = (f"SCAN {table}", "AUTOMATIC", *(() if sorted_ else ("USE TEMP B-TREE FOR ORDER",)))
    return [
        f"{step}: {statement}"
        for statement, steps in seen
        for step in steps
        if step.startswith(walks)
        and not step.endswith("ix_bundles_unclaimed")  # holds what is unclaimed alone
    ]


@pytest.mark.parametrize("cursor", [None, encode_cursor(START + timedelta(days=1), "bun_0")])
@pytest.mark.parametrize("asked", FILTERS)
@pytest.mark.parametrize("person", PEOPLE)
def test_a_list_of_bundles_begins_with_what_its_caller_sees(
    world: World, person: str, asked: str, cursor: str | None
) -> None:
    filters = dict(FILTERS[asked])
    if "stamp_id" in filters:
        filters["stamp_id"] = world.stamp.stamp
    with plans(world.custody.records.engine, "bundles") as seen:
        declaration.list_bundles(world.custody, getattr(world, person), cursor, 50, **filters)
    everything = asked == "nothing" and person in ("auditor", "case_system")
    if everything:
        assert [steps[0] for _, steps in seen if "ix_bundles_collected" in steps[0]]
        return
    assert wrong(seen, "bundles", sorted_=person in ("engineer", "partner") and asked != "a case") == []
    if asked == "a case that is not there":
        assert seen == [], "nothing is searched for it"


def test_a_newcomer_without_any_case_searches_no_bundle(world: World) -> None:
    newcomer = world.actor("nobody-assigned-them", *world.engineer.roles)
    with plans(world.custody.records.engine, "bundles") as seen:
        assert declaration.list_bundles(world.custody, newcomer, None, 50).items == []
    assert seen == []


def test_a_case_or_stamp_of_another_is_searched_for_no_more_than_one_that_is_not_there(world: World) -> None:
    for filters in ({"case_number": NUMBER}, {"stamp_id": world.stamp.stamp}):
        with plans(world.custody.records.engine, "bundles") as seen:
            found = declaration.list_bundles(world.custody, world.other_operator, None, 50, **filters)
        assert found.items == [] and seen == []


QUESTIONS: Mapping[str, Any] = {
    "case": "cas_1",
    "actors": ("act_1",),
    "action": Action.GRANT_GIVEN,
    "bundle": "bun_1",
    "outcome": Outcome.REFUSED,
    "tenant": "ten_1",
}


@pytest.mark.parametrize("window", [{}, {"since": START, "until": START + timedelta(days=1)}])
@pytest.mark.parametrize("after", [None, "1772358000000000.5"])
@pytest.mark.parametrize("names", [n for many in (1, 2, 3) for n in combinations(QUESTIONS, many)])
def test_a_question_to_the_log_is_found_in_order_by_an_index(
    world: World, names: tuple[str, ...], after: str | None, window: dict[str, Any]
) -> None:
    where = query.Filter(**{name: QUESTIONS[name] for name in names}, **window)
    with plans(world.custody.records.engine, "audit_entries") as seen, world.custody.records.read() as reads:
        query.find(reads, where, after, 50)
    assert len(seen) == 1
    assert wrong(seen, "audit_entries") == []
    (step,) = seen[0][1]
    by = step[step.index("(") :]
    assert all(f"{column}=?" in by for column in _fixed(names)), step


def _fixed(names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that the plan must fix: the narrowest pair there is an index for."""
    asked = set(names)
    for columns in (
        ("bundle",),
        ("case",),
        ("tenant", "outcome"),
        ("actors", "outcome"),
        ("action", "outcome"),
    ):
        if asked >= set(columns):
            return tuple({"case": "case_id", "actors": "actor"}.get(each, each) for each in columns)
    for columns in (("tenant", "actors"), ("actors", "action"), ("tenant", "action")):
        if asked >= set(columns):
            return tuple({"actors": "actor"}.get(each, each) for each in columns)
    return tuple({"actors": "actor"}.get(each, each) for each in names)


def test_entries_of_several_actors_are_one_list_in_order(world: World) -> None:
    both = (world.engineer.id, world.stamp.id)
    with world.custody.records.read() as reads:
        one = query.find(reads, query.Filter(actors=both), None, 3)
        rest = query.find(reads, query.Filter(actors=both), one.next, 200)
        every = query.find(reads, query.Filter(), None, 200)
    shown = [entry.fields["id"] for entry in (*one.rows, *rest.rows)]
    assert shown == [entry.fields["id"] for entry in every.rows if entry.fields["actor"] in both]
    assert len(one.rows) == 3 and len(shown) > 3
