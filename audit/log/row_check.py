"""Rows of the log checked against their leaves, each on its own: the walker's points 2, 3 and 4. Pure.

A row whose leaf has a known shape is compared at once, column by column; whatever is not exactly as it should be is
looked at again, slowly, and that look alone says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement

from audit.entry import CanonicalError, particulars_hash
from audit.leaf_reader import LeafReader, Shape, are_plain
from audit.log.tables import LEAF_COLUMNS, audit_entries
from audit.times import microseconds_of, parse_rfc3339, to_microseconds

_entry = audit_entries.c
CHECKED: tuple[ColumnElement[Any], ...] = (
    *(_entry.leaf_index, _entry.leaf, _entry.at_us, _entry.particulars, _entry.salt, _entry.redacted_at),
    *(_entry[name] for name in LEAF_COLUMNS),
)
"""The columns of a row to check, in this order."""
CheckedRow = tuple[Any, ...]
_FIRST_FIELD = len(CHECKED) - len(LEAF_COLUMNS)


class _Places(NamedTuple):
    """Where a shape's groups are; for what it lacks, one more that is None follows them."""

    of_row: Callable[[tuple[str | None, ...]], tuple[str | None, ...]]
    at: int
    particulars: int | None


class RowCheck:
    """A check of many rows."""

    def __init__(self) -> None:
        self._reader = LeafReader()
        self._places: dict[Shape, _Places] = {}

    def problems(self, rows: Sequence[CheckedRow]) -> Iterator[tuple[int, str]]:
        """Find what is wrong with rows of the columns CHECKED: the number among them, and what it is."""
        plain = are_plain([row[1] for row in rows])
        for number, row in enumerate(rows):
            if not (plain and self._holds(row)):
                for what in self._row_problems(row):
                    yield number, what

    def _holds(self, row: CheckedRow) -> bool:
        """Tell whether a row with a plain leaf certainly has no problem."""
        _, leaf, at_us, particulars, salt, redacted_at, _, _, _, action, *_ = row
        found = self._reader.match(leaf.decode("ascii"), action)
        if found is None:
            return False
        shape, groups = found
        places = self._places.get(shape) or self._learn_places(shape)
        try:
            if (
                places.of_row((*groups, None)) != row[_FIRST_FIELD:]
                or microseconds_of(groups[places.at]) != at_us
            ):
                return False
        except (TypeError, ValueError):  # no time, or none with its zone
            return False
        bound = None if places.particulars is None else groups[places.particulars]
        if particulars is None and salt is None:
            return bound is None or redacted_at is not None
        return (
            redacted_at is None
            and type(salt) is bytes
            and type(particulars) is str
            and self._reader.are_canonical(particulars)
            and sha256(salt + particulars.encode()).hexdigest() == bound
        )

    def _learn_places(self, shape: Shape) -> _Places:
        at = {name: number for number, name in enumerate(shape.names)}
        lacking = len(shape.names)
        of_row = itemgetter(*(at.get(name, lacking) for name in LEAF_COLUMNS.values()))
        places = _Places(of_row, at["at"], at.get("particulars"))
        return self._places.setdefault(shape, places)

    def _row_problems(self, values: CheckedRow) -> Iterator[str]:
        row = {column.name: value for column, value in zip(CHECKED, values, strict=True)}
        if not isinstance(row["leaf"], bytes):  # SQLite keeps anything in any column
            yield "malformed: not bytes"
            return
        try:
            fields = self._reader.learn(row["leaf"])
            at_us = to_microseconds(parse_rfc3339(fields["at"]))
        except CanonicalError as error:  # 2
            yield f"malformed: {error}"
            return
        except ValueError:
            yield "malformed: `at` is not a time with its zone"
            return
        different = [column for column, name in LEAF_COLUMNS.items() if row[column] != fields.get(name)]
        if row["at_us"] != at_us:
            different.append("at_us")
        if different:  # 3
            yield f"the row's columns differ from the leaf: {', '.join(different)}"
        what = _particulars_problem(row, fields.get("particulars"))
        if what is not None:  # 4
            yield what


def _particulars_problem(row: Mapping[str, Any], bound: str | None) -> str | None:
    redacted = row["redacted_at"] is not None
    if row["particulars"] is None and row["salt"] is None:
        return "its particulars are gone without a redaction" if bound is not None and not redacted else None
    if redacted:
        return "the entry is marked as redacted but still has particulars or salt"
    if bound is None:
        return "the row has particulars, and its leaf binds none"
    try:
        found = particulars_hash(row["salt"], json.loads(row["particulars"]))
    except (TypeError, ValueError, RecursionError):
        return "its particulars or their salt are malformed"
    return None if found == bound else "the row's particulars are not those that its leaf binds"
