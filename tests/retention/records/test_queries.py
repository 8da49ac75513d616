from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from retention.domain.faults import Invalid
from retention.records.queries import MAX_LIMIT, decode_cursor, encode_cursor, fetch_page
from retention.records.tables import tenants
from retention.records.unit_of_work import SqliteRecords
from tests.retention.custody.world import empty_records

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteRecords]:
    made = empty_records(tmp_path_factory.mktemp("pages") / "records.db")
    yield made
    made.close()


def put(records: SqliteRecords, rows: list[tuple[int, int]]) -> None:
    values = [
        {
            "id": f"{n:03}",
            "name": "",
            "directory": f"{n}",
            "registered_at": START + timedelta(microseconds=at),
        }
        for at, n in rows
    ]
    records.write(lambda tx: tx.change(insert(tenants), values) if values else 0)


def page(records: SqliteRecords, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
    with records.read() as reads:
        found = fetch_page(reads, select(tenants), tenants.c.registered_at, tenants.c.id, cursor, limit)
    return [row.id for row in found.items], found.next


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 3), max_size=25),
    st.integers(1, 7),
    st.lists(st.integers(4, 9), max_size=5),
)
def test_pages_show_every_row_once_newest_first_while_newer_ones_come_in(
    records: SqliteRecords, moments: list[int], limit: int, newer: list[int]
) -> None:
    """Many rows share a moment: the id decides."""
    records.write(lambda tx: tx.change(delete(tenants)))
    rows = [(at, number) for number, at in enumerate(moments)]
    put(records, rows)
    expected = [f"{number:03}" for _, number in sorted(rows, reverse=True)]
    shown, cursor = page(records, None, limit)
    coming = [(at, 500 + number) for number, at in enumerate(newer)]
    while cursor is not None:
        assert len(shown) % limit == 0
        put(records, coming[:1])
        coming = coming[1:]
        more, cursor = page(records, cursor, limit)
        assert more, "a cursor promises another row"
        shown += more
    assert shown == expected


@given(st.datetimes(timezones=st.just(UTC)), st.text("abcdefghijklmnopqrstuvwxyz234567_", min_size=1))
def test_a_cursor_reads_back_and_is_safe_in_an_address(at: datetime, id_: str) -> None:
    cursor = encode_cursor(at, id_)
    assert decode_cursor(cursor) == (at, id_)
    assert cursor.replace("-", "").replace("_", "").isalnum() and cursor.isascii()


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_other_text_is_a_cursor_or_invalid_and_never_an_accident(cursor: str) -> None:
    with suppress(Invalid):
        at, id_ = decode_cursor(cursor)
        assert decode_cursor(encode_cursor(at, id_)) == (at, id_)


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
def test_a_page_has_a_size(records: SqliteRecords, limit: int) -> None:
    with pytest.raises(Invalid):
        page(records, None, limit)
