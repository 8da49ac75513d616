"""What one caller can add to the log is bounded, nothing that was refused is lost from its sums, and nobody stands in
another's way (P3)."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from audit.entry import Action, Outcome
from audit.log.tables import audit_entries
from retention.custody import counted_entries
from retention.custody.access import manage_grants
from retention.custody.context import PATIENCE, entry
from retention.custody.counted_entries import MOST_EACH, MOST_LOOKED_AT, Counted, Counts
from retention.custody.reading import log_queries
from retention.domain.actor import Actor, Role
from retention.domain.faults import NotFound, Refused
from tests.retention.custody.world import HOUR, NUMBER, REASON, START, World

MINUTE = timedelta(minutes=1)


def refusals(world: World, actor: Actor) -> list[dict[str, Any]]:
    return [leaf for leaf in world.leaves() if leaf["actor"] == actor.id and leaf["outcome"] == "refused"]


def total(leaves: list[dict[str, Any]]) -> int:
    return sum(leaf.get("details", {}).get("count", 1) for leaf in leaves)


def ask(world: World, actor: Actor, number: str = NUMBER) -> Refused | NotFound:
    with pytest.raises((Refused, NotFound)) as refused:
        manage_grants.give_grant(world.custody, actor, number, REASON, HOUR)
    return refused.value


def test_one_caller_who_is_refused_again_and_again_adds_two_entries_a_minute(strict: World) -> None:
    strict.open_case()
    for _ in range(300):
        ask(strict, strict.engineer)
    assert total(refusals(strict, strict.engineer)) == len(refusals(strict, strict.engineer)) == 1
    strict.clock.move(MINUTE)
    strict.custody.write_counts()
    first, number = refusals(strict, strict.engineer)
    assert first["action"] == number["action"] == "grant.given"
    assert first["case"] == number["case"] and first["tenant"] == number["tenant"]
    assert number["details"]["count"] == 299
    assert number["details"]["first"] <= number["details"]["last"]


def test_a_caller_who_asks_for_ever_new_things_is_bounded_and_first_and_last_are_kept(strict: World) -> None:
    strict.open_case()
    for n in range(500):
        with pytest.raises(NotFound):
            manage_grants.give_grant(strict.custody, strict.operator, f"12026030{n:07}", REASON, HOUR)
    strict.clock.move(MINUTE)
    strict.custody.write_counts()
    found = refusals(strict, strict.operator)
    assert total(found) == 500
    assert len(found) == 2
    assert '"last_asked":"120260300000499"' in strict.entries()[-1].particulars
    assert '"first_asked":"120260300000001"' in strict.entries()[-1].particulars


def test_kinds_without_end_are_counted_together_for_their_caller_alone(strict: World) -> None:
    counts = Counts()
    records, actor = strict.custody.records, strict.engineer
    before = len(strict.entries())
    for n in 2 * list(range(1000)):
        refused = entry(
            actor, Action.BUNDLE_OPENED, START, outcome=Outcome.REFUSED, reason="no-grant", bundle=f"bun_{n}"
        )
        counts.refusals.note(records, refused, actor.id)
    other = entry(
        strict.colleague, Action.BUNDLE_OPENED, START, outcome=Outcome.REFUSED, reason="no-grant", bundle="x"
    )
    counts.refusals.note(records, other, strict.colleague.id)
    assert strict.last() == ("bundle.opened", "refused", "no-grant")
    assert strict.entries()[-1].actor == strict.colleague.id
    counts.flush(records, START + MINUTE)
    added = strict.leaves()[before:]
    # Each kind and the rest's first, the number of each of these, and the colleague's.
    assert len(added) == 2 * (MOST_EACH + 1) + 1
    assert 2 * (MOST_EACH + 1) == 66, "what the pages say"
    assert total(added) == 2001
    assert {leaf["reason"] for leaf in added if leaf["action"] == "caller.refused"} == {"many-refusals"}


def test_a_crowd_fills_neither_the_memory_nor_the_log_and_takes_no_place_from_who_has_one(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Counted(
        MINUTE, past_each=counted_entries._many_refusals, past_all=counted_entries._many_callers, most=8
    )
    records = strict.custody.records

    def refuse(name: str) -> int:
        actor = Actor(id=name, roles=frozenset({Role.AUDITOR}))
        said = entry(actor, Action.CASE_CLOSED, START, outcome=Outcome.REFUSED, reason="role-missing")
        return few.note(records, said, name)

    before = len(strict.entries())
    assert refuse("act_early") == 1
    crowd = [refuse(f"act_{n}") for n in range(200)]
    assert set(crowd[8:]) == {0}, "who shares a window is not asked to wait for what others do"
    assert refuse("act_early") == 2
    few.flush(records, START + MINUTE)
    assert total(strict.leaves()[before:]) == 202
    assert len(strict.leaves()[before:]) <= 8 + 3


def test_an_act_that_succeeds_is_always_an_entry_of_its_own(strict: World) -> None:
    strict.open_case()
    for _ in range(2 * PATIENCE):
        ask(strict, strict.engineer)
    strict.assign(strict.engineer)
    given = [strict.grant() for _ in range(2 * PATIENCE)]
    told = [leaf["subject"] for leaf in strict.leaves() if leaf["outcome"] == "success" and "subject" in leaf]
    assert [row.id for row in given] == told[-len(given) :]


def test_who_is_refused_too_often_is_asked_to_wait_and_nobody_else_is(strict: World) -> None:
    strict.open_case()
    errors = [ask(strict, strict.engineer) for _ in range(PATIENCE + 1)]
    assert [error.again_after for error in errors[:PATIENCE]] == [None] * PATIENCE
    assert errors[PATIENCE].again_after == MINUTE
    assert ask(strict, strict.colleague).again_after is None
    strict.clock.move(MINUTE)
    assert ask(strict, strict.engineer).again_after is None


def test_a_refusal_whose_entry_cannot_be_written_is_not_answered_and_the_next_one_is_entered(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.open_case()

    def broken(*_: object) -> None:
        raise OSError("the log cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr("retention.records.unit_of_work.append.append_rows", broken)
        with pytest.raises(OSError, match="cannot be written"):
            manage_grants.give_grant(strict.custody, strict.engineer, NUMBER, REASON, HOUR)
    ask(strict, strict.engineer)
    assert total(refusals(strict, strict.engineer)) == 1


def test_numbers_that_cannot_be_written_now_are_written_later(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.open_case()
    for _ in range(10):
        ask(strict, strict.engineer)
    strict.clock.move(MINUTE)

    def broken(*_: object) -> None:
        raise OSError("the log cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr("retention.records.unit_of_work.append.append_rows", broken)
        with pytest.raises(OSError, match="cannot be written"):
            strict.custody.write_counts()
    strict.custody.write_counts()
    assert total(refusals(strict, strict.engineer)) == 10


_step = st.one_of(
    st.tuples(
        st.just("note"), st.sampled_from("abcde"), st.sampled_from("vwxyz"), st.sampled_from(["", "down"])
    ),
    st.tuples(st.just("move"), st.integers(-90, 90)),
    st.tuples(st.just("flush"), st.booleans(), st.sampled_from(["", "down"])),
)


class Kept:
    """Records that keep entries in a list, or do not answer."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.down = ""

    def write(self, work: Any) -> None:
        if self.down:
            raise OSError(self.down)
        work(self)

    def audit(self, *entries: Any) -> None:
        self.entries.extend(entries)


@given(steps=st.lists(_step, max_size=60))
@settings(deadline=None)
def test_whatever_happens_the_sum_of_what_is_entered_is_what_was_answered(
    steps: list[tuple[Any, ...]],
) -> None:
    records, now, answered = Kept(), START, 0
    few = Counted(
        MINUTE,
        past_each=counted_entries._many_refusals,
        past_all=counted_entries._many_callers,
        most=6,
        most_each=2,
    )
    for name, *arguments in steps:
        if name == "move":
            now += timedelta(seconds=arguments[0])
            continue
        records.down = arguments[-1]
        with suppress(OSError):
            if name == "flush":
                few.flush(records, now, everything=arguments[0])  # type: ignore[arg-type]
            else:
                actor = Actor(id=arguments[0], roles=frozenset())
                refused = entry(actor, Action.CASE_CLOSED, now, outcome=Outcome.REFUSED, reason=arguments[1])
                few.note(records, refused, actor.id)  # type: ignore[arg-type]
                answered += 1
    records.down = ""
    few.flush(records, now, everything=True)  # type: ignore[arg-type]
    assert sum(int(each.details.get("count", 1)) for each in records.entries) == answered
    assert few._size == 0


def questions(world: World) -> list[dict[str, Any]]:
    return [leaf for leaf in world.leaves() if leaf["action"] == "audit.queried"]


def put(world: World, **conditions: Any) -> None:
    log_queries.find_entries(world.custody, world.auditor, log_queries.Asked(**conditions), None, 50)


def test_a_page_that_asks_the_log_the_same_every_ten_seconds_adds_two_entries_in_ten_minutes(
    strict: World,
) -> None:
    for _ in range(60):
        put(strict, action=Action.GRANT_GIVEN)
        assert len(questions(strict)) == 1, "the first is durable before its response"
        strict.clock.move(timedelta(seconds=10))
    strict.custody.write_counts()
    first, number = questions(strict)
    assert "count" not in first["details"]
    assert number["details"]["count"] == 59
    assert number["details"]["first"] <= number["details"]["last"]
    assert "entries" not in number["details"], "what one of them found is not what all of them found"
    with strict.custody.records.read() as reads:
        asked = select(audit_entries.c.particulars).where(audit_entries.c.action == Action.AUDIT_QUERIED)
        stored = reads.execute(asked).scalars().all()
    assert all("grant.given" in (kept or "") for kept in stored)


def test_another_question_is_an_entry_at_once_and_so_is_every_export(strict: World) -> None:
    put(strict)
    put(strict, outcome=Outcome.REFUSED)
    put(strict, since=START)
    assert len(questions(strict)) == 3
    for _ in range(2):
        list(log_queries.export_entries(strict.custody, strict.auditor, log_queries.Asked(), "jsonl"))
    assert [leaf["action"] for leaf in strict.leaves()].count("audit.exported") == 2


def test_somebody_with_ever_new_questions_is_bounded_and_none_is_lost_from_the_number(strict: World) -> None:
    asked = 3 * MOST_LOOKED_AT
    for n in range(asked):
        put(strict, since=START + n * MINUTE)
    strict.custody.write_counts(everything=True)
    assert len(questions(strict)) == MOST_LOOKED_AT + 2
    assert total(questions(strict)) == asked


def test_a_question_that_cannot_be_entered_shows_nothing_the_second_time_either(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(work: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(strict.custody.records, "write", fails)
        for _ in range(2):
            with pytest.raises(OSError, match="disk is full"):
                put(strict)
    put(strict)
    assert len(questions(strict)) == 1
