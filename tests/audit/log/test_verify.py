"""The walker against every kind of tampering: it must name the first bad leaf, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from audit.entry import canonical, particulars_hash
from audit.log.append import append, redact
from audit.log.verify import Verdict
from audit.tlog.rebuild import Problem

MakeLog = Callable[[], Any]


def first(verdict: Verdict) -> Problem:
    assert not verdict.good
    return verdict.problems[0]


@pytest.mark.parametrize("index", [0, 4, 150, 255, 256, 299, 420, 599])
def test_a_rewritten_leaf_is_named(grown: Any, index: int) -> None:
    grown.rewrite_actor(index)
    verdict = grown.verify()
    problem = first(verdict)
    assert problem.leaf_index == index
    assert f"leaf {index} is not the one that was signed" in problem.what
    assert any("does not follow from the leaves" in problem.what for problem in verdict.problems)


def test_a_rewritten_leaf_is_narrowed_down_by_checkpoints_where_there_are_no_tiles(grown: Any) -> None:
    grown.rewrite_actor(220)
    (problem,) = grown.verify(tiles=None).problems
    assert "one of 200 to 255 is not what was signed" in problem.what
    grown.rewrite_actor(0)
    assert first(grown.verify(tiles=None)).leaf_index == 0


def test_two_rewritten_leaves_are_both_named(grown: Any) -> None:
    grown.rewrite_actor(100)
    grown.rewrite_actor(400)
    named = [problem.leaf_index for problem in grown.verify().problems if problem.leaf_index is not None]
    assert named == [100, 400]


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf + b" ",
        lambda leaf: leaf[:-1],
        lambda leaf: b"",
        lambda leaf: leaf.replace(b'"v":1', b'"v":9'),
        lambda leaf: leaf.replace(b"T09:3", b"T99:3"),
    ],
)
def test_a_leaf_not_in_canonical_form_is_named(grown: Any, change: Callable[[bytes], bytes]) -> None:
    grown.set_leaf(7, change(canonical(grown.leaf_fields(7))))
    problem = first(grown.verify())
    assert problem.leaf_index == 7 and "malformed" in problem.what and "leaf 7: " in problem.what


@pytest.mark.parametrize("other", ["CAST(leaf AS TEXT)", "7", "7.5"])
def test_a_leaf_that_is_not_kept_as_bytes_is_named(grown: Any, other: str) -> None:
    grown.change(f"UPDATE audit_entries SET leaf = {other} WHERE leaf_index = 7")  # noqa: S608
    problem = first(grown.verify())
    assert problem.leaf_index == 7 and "malformed" in problem.what and "leaf 7: " in problem.what


@pytest.mark.parametrize(
    "column",
    [
        "entry_id",
        "actor",
        "actor_kind",
        "action",
        "outcome",
        "reason",
        "tenant",
        "case_id",
        "bundle",
        "subject",
    ],
)
def test_a_column_that_disagrees_with_its_leaf_is_named(grown: Any, column: str) -> None:
    grown.change(f"UPDATE audit_entries SET {column} = 'other' WHERE leaf_index = 9")  # noqa: S608
    assert grown.verify().problems == (
        Problem(9, f"leaf 9: the row's columns differ from the leaf: {column}"),
    )


def test_a_moment_that_disagrees_with_its_leaf_is_named(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET at_us = at_us + 1, case_id = NULL WHERE leaf_index = 9")
    what = "leaf 9: the row's columns differ from the leaf: case_id, at_us"
    assert grown.verify().problems == (Problem(9, what),)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ('particulars = \'{"name":"Eve"}\'', "not those that its leaf binds"),
        ("salt = x'00'", "not those that its leaf binds"),
        ("salt = NULL", "malformed"),
        ("particulars = 'x'", "malformed"),
        ("particulars = NULL", "malformed"),
        ("particulars = NULL, salt = NULL", "gone without a redaction"),
        ("redacted_at = 5", "still has particulars"),
    ],
)
def test_changed_particulars_are_named(grown: Any, change: str, what: str) -> None:
    grown.change(f"UPDATE audit_entries SET {change} WHERE leaf_index = 11")  # noqa: S608
    (problem,) = grown.verify().problems
    assert problem.leaf_index == 11 and what in problem.what and problem.what.startswith("leaf 11: ")
    assert "Eve" not in problem.what and "Lovelace" not in problem.what


def test_particulars_put_beside_a_leaf_without_any_are_named(log: Any, make_entry: Any) -> None:
    with log.engine.begin() as connection:
        append(connection, [make_entry(0, particulars={})])
    log.sequence()
    assert log.verify().good
    log.change("UPDATE audit_entries SET particulars = '{}', salt = x'00'")
    problem = first(log.verify())
    assert problem == Problem(0, "leaf 0: the row has particulars, and its leaf binds none")


def test_redacted_entries_still_verify(grown: Any) -> None:
    with grown.engine.begin() as connection:
        for number in (0, 255, 599):
            redact(connection, f"entry-{number}", datetime(2027, 1, 1, tzinfo=UTC))
    assert grown.verify().good


@pytest.mark.parametrize("index", [0, 3, 255, 256, 598])
def test_a_deleted_row_is_named(grown: Any, index: int) -> None:
    grown.change("DELETE FROM audit_entries WHERE leaf_index = ?", index)
    problem = first(grown.verify())
    assert problem == Problem(index, f"leaf {index} is missing: 600 leaves were sequenced")


def test_a_row_taken_out_of_the_sequence_is_named(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET leaf_index = NULL WHERE leaf_index = 42")
    assert first(grown.verify()).leaf_index == 42


def test_a_row_deleted_and_the_gap_closed_is_named(grown: Any) -> None:
    grown.change("DELETE FROM audit_entries WHERE leaf_index = 42")
    for index in range(43, 600):
        grown.change("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = ?", index - 1, index)
    problem = first(grown.verify())
    assert problem.leaf_index == 42 and "not the one that was signed" in problem.what


def test_swapped_rows_are_named(grown: Any) -> None:
    for old, new in ((30, 1000), (31, 30), (1000, 31)):
        grown.change("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = ?", new, old)
    problem = first(grown.verify())
    assert problem.leaf_index == 30 and "not the one that was signed" in problem.what


def test_entries_not_sequenced_yet_are_not_missing(grown: Any) -> None:
    grown.write(3)
    assert grown.verify().leaves == 600
    assert grown.verify().good


def test_a_log_that_grows_meanwhile_verifies(grown: Any) -> None:
    class GrowingTileStore:
        def put(self, path: str, data: bytes) -> None:
            raise AssertionError("the walker writes nothing")

        def get(self, path: str) -> bytes:
            if path == "checkpoint":
                grown.grow([grown.written + 50])
            data: bytes = grown.tiles.get(path)
            return data

    assert grown.verify(tiles=GrowingTileStore()).problems == ()


def test_a_log_in_ruins_gives_a_bounded_list(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET actor = 'x'")
    problems = grown.verify().problems
    assert [problem.leaf_index for problem in problems] == list(range(100))


def test_changing_particulars_and_their_hash_changes_the_leaf(grown: Any) -> None:
    fields = grown.leaf_fields(50)
    forged = {"name": "Eve"}
    salt = bytes(16)
    grown.set_leaf(50, canonical({**fields, "particulars": particulars_hash(salt, forged)}))
    grown.change(
        "UPDATE audit_entries SET particulars = ?, salt = ? WHERE leaf_index = 50",
        canonical(forged).decode(),
        salt,
    )
    problem = first(grown.verify())
    assert problem.leaf_index == 50 and "not the one that was signed" in problem.what


def test_a_walk_tells_how_far_it_is(grown: Any) -> None:
    told: list[tuple[int, int]] = []
    grown.verify(tell=lambda read, leaves: told.append((read, leaves)))
    assert told[-1] == (600, 600)
    assert [read for read, _ in told] == sorted({read for read, _ in told})


def test_a_leaf_too_long_for_a_tile_is_named(grown: Any) -> None:
    grown.set_leaf(7, canonical({**grown.leaf_fields(7), "reason": "x" * 70_000}))
    assert any("leaf 7 is not the one that was signed" in problem.what for problem in grown.verify().problems)
