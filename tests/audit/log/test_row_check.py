"""Rows compared at once by their leaf's shape: nothing is found or missed that the slow look does not find or miss."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audit.entry import canonical
from audit.leaf_reader import LeafReader
from audit.log.append import WRITTEN, row_of
from audit.log.row_check import CHECKED, RowCheck
from tests.audit.conftest import make_entry

NAMES = [column.name for column in CHECKED]
Row = tuple[Any, ...]


class _Strict(LeafReader):
    """A reader that never learns: every row gets the slow look."""

    def __init__(self) -> None:
        super().__init__()
        self._room = 0


def strict() -> RowCheck:
    check = RowCheck()
    check._reader = _Strict()
    return check


def row(number: int, **changes: Any) -> Row:
    written = dict(zip(WRITTEN, row_of(make_entry(number, **changes)), strict=True))
    return tuple({"leaf_index": number, "redacted_at": None, **written}[name] for name in NAMES)


ROWS = [
    row(1),
    row(2, particulars={}),
    row(3, case=None, details={}),
    row(4, details={"size": 0, "partials": ["a", "b"]}, subject="s"),
    row(5, particulars={"name": "Zo\u00eb \U0001f600"}),
    row(6, actor="with \u00e9"),
    row(7, reason='a "quoted"', particulars={"note": "two\nlines"}),
]
LEAVES = [
    canonical({"v": 1}),
    b"",
    ROWS[0][NAMES.index("leaf")].replace(b"Z", b"+00:00"),
    ROWS[0][NAMES.index("leaf")].replace(b".000000Z", b"Z"),
    ROWS[0][NAMES.index("leaf")].replace(b"Z", b""),
    ROWS[0][NAMES.index("leaf")].decode(),
]
OTHER = st.one_of(
    st.none(),
    st.sampled_from(
        [
            "",
            "other",
            "{}",
            "null",
            "[1]",
            '{"name": "x"}',
            '{"b":"1","a":"2"}',
            b"",
            b"\x01" * 16,
            0,
            -1,
            7.5,
        ]
    ),
    st.sampled_from(LEAVES),
    st.builds(lambda one, name: one[NAMES.index(name)], st.sampled_from(ROWS), st.sampled_from(NAMES)),
)


def test_a_moment_outside_the_calendar_is_a_problem_of_its_row_and_stops_no_walk() -> None:
    check = RowCheck()
    for at in ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"):
        one = list(ROWS[0])
        one[NAMES.index("leaf")] = canonical({**json.loads(ROWS[0][NAMES.index("leaf")]), "at": at})
        assert list(check.problems([tuple(one)])) == list(strict().problems([tuple(one)])) != []


def test_rows_as_they_were_written_have_no_problem() -> None:
    check = RowCheck()
    for _ in range(3):  # first strictly, then by their shapes
        assert list(check.problems(ROWS)) == []


@given(
    st.lists(st.tuples(st.sampled_from(ROWS), st.lists(st.tuples(st.sampled_from(NAMES), OTHER), max_size=3)))
)
def test_a_row_with_anything_changed_gets_the_sentence_of_the_slow_look(
    changed: list[tuple[Row, list[tuple[str, Any]]]],
) -> None:
    rows = [
        tuple({**dict(zip(NAMES, one, strict=True)), **dict(how)}[name] for name in NAMES)
        for one, how in changed
    ]
    check = RowCheck()
    assert list(check.problems(ROWS)) == []
    assert list(check.problems(rows)) == list(strict().problems(rows))
    for number, one in enumerate(rows):  # and alone, among plain leaves only
        assert list(check.problems([one])) == list(strict().problems([one])), number
