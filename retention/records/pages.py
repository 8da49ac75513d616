"""Keyset pages: newest first by a moment and an id, so that a page never shifts while rows are added.

A cursor is opaque to callers: the last row's moment and id.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, ColumnElement, Row, Select, literal, true, tuple_

from audit.times import from_microseconds, to_microseconds
from retention.errors import Invalid
from retention.records.unit_of_work import Reads

T = TypeVar("T")
MAX_LIMIT = 200
_PLACE = re.compile(r"(-?[0-9]{1,18})\|([A-Za-z0-9_]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, newest first; `next` is the cursor of the following page, None at the end."""

    items: Sequence[T]
    next: str | None


def encode_cursor(at: datetime, id_: str) -> str:
    """The cursor behind a row."""
    return base64.urlsafe_b64encode(f"{to_microseconds(at)}|{id_}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """The moment and id in a cursor; Invalid when it is not one of ours."""
    try:
        place = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode())
        if place is None:
            raise ValueError  # noqa: TRY301 - one answer for every way of not being ours
        return from_microseconds(int(place[1])), place[2]
    except (ValueError, binascii.Error, OverflowError):
        raise Invalid(
            "this cursor is not one of ours", {"cursor": "use the one that the previous page gave"}
        ) from None


def fetch_page(
    reads: Reads,
    statement: Select[Any],
    at: Column[Any],
    id_: Column[Any],
    cursor: str | None,
    limit: int,
    any_of: Sequence[ColumnElement[bool]] = (true(),),
) -> Page[Row[Any]]:
    """A page of `statement`, whose rows carry the columns `at` and `id_`; each row meets a condition in `any_of`."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid("this page size is not allowed", {"limit": f"must be 1 to {MAX_LIMIT}"})
    if cursor is not None:
        last_at, last_id = decode_cursor(cursor)
        # A comparison of rows, unlike the same said with OR, is a place in the index: page 1000 costs what page 1 does.
        statement = statement.where(tuple_(at, id_) < tuple_(literal(last_at, at.type), literal(last_id)))
    newest = statement.order_by(at.desc(), id_.desc()).limit(limit + 1)
    found = {row._mapping[id_]: row for clause in any_of for row in reads.execute(newest.where(clause))}
    rows = sorted(found.values(), key=lambda row: (row._mapping[at], row._mapping[id_]), reverse=True)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], encode_cursor(last._mapping[at], last._mapping[id_]))
