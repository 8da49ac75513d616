"""Range headers, against a model that marks every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_range_header

from intake_api.http.ranges import MOST_RANGES, Unsatisfiable, content_range, wanted

ETAG = '"abc"'
SIZE = 50
FLOODS = ("too-many-ranges", "overlapping-ranges")
_number = st.integers(0, 70)
_spec = st.one_of(
    st.tuples(_number, _number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    _number.map(lambda first: f"{first}-"),
    _number.map(lambda suffix: f"-{suffix}"),
)


def bytes_of(spec: str) -> set[int]:
    """The bytes that one range names, of SIZE."""
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(0, SIZE - int(last)), SIZE))
    return set(range(int(first), min(SIZE, int(last) + 1 if last else SIZE)))


@given(st.lists(_spec, min_size=1, max_size=20))
def test_answered_are_exactly_the_bytes_asked_for_each_once(specs: list[str]) -> None:
    asked = set().union(*map(bytes_of, specs))
    spans = reason = None
    try:
        spans = wanted("bytes=" + ", ".join(specs), None, ETAG, SIZE)
    except Unsatisfiable as error:
        reason = error.reason
    if spans is None:
        assert reason == "outside" if not asked and len(specs) <= MOST_RANGES else reason in FLOODS
        return
    answered = [byte for offset, length in spans for byte in range(offset, offset + length)]
    assert set(answered) == asked
    assert len(answered) == len(set(answered))


@given(st.lists(_spec, min_size=1, max_size=20))
def test_an_answer_is_never_longer_than_the_content(specs: list[str]) -> None:
    try:
        spans = wanted("bytes=" + ",".join(specs), None, ETAG, SIZE) or []
    except Unsatisfiable:
        return
    assert sum(length for _, length in spans) <= SIZE
    assert all(length > 0 and offset >= 0 and offset + length <= SIZE for offset, length in spans)


@given(st.text(max_size=40), st.integers(1, 1000))
def test_any_header_is_answered_refused_or_ignored(header: str, size: int) -> None:
    for text in (header, "bytes=" + header):
        try:
            spans = wanted(text, None, ETAG, size)
        except Unsatisfiable:
            continue
        assert spans is None or spans


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=,", "items=0-1", "bytes=5-4", "bytes=a-b", "bytes=0-1,x", "bytes=1", "bytes=--1",
     "bytes=0-1;2-3", "bytes=٣-٤", "bytes=0-1," + "0-1," * 400],
)  # fmt: skip
def test_what_is_no_byte_range_is_ignored(header: str) -> None:
    assert wanted(header, None, ETAG, SIZE) is None


@pytest.mark.parametrize("unit", ["bytes", "BYTES", "Bytes"])
def test_the_unit_is_read_in_any_case(unit: str) -> None:
    assert wanted(f"{unit}=0-0", None, ETAG, SIZE) == [(0, 1)]


def test_ranges_keep_the_order_in_which_they_were_asked_for() -> None:
    assert wanted("bytes=40-41, 0-1 ,,20-21", None, ETAG, SIZE) == [(40, 2), (0, 2), (20, 2)]


def test_ranges_that_touch_are_answered_as_one() -> None:
    assert wanted("bytes=10-19,0-9", None, ETAG, SIZE) == [(0, 20)]


def test_a_range_past_the_end_is_left_out_beside_others() -> None:
    assert wanted("bytes=0-1,90-99", None, ETAG, SIZE) == [(0, 2)]


@pytest.mark.parametrize("header", ["bytes=50-", "bytes=99-100,70-80", "bytes=-0"])
def test_nothing_inside_is_unsatisfiable(header: str) -> None:
    with pytest.raises(Unsatisfiable) as told:
        wanted(header, None, ETAG, SIZE)
    assert told.value.reason == "outside"


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-99", "bytes=-5", "bytes=0-0,-1"])
def test_of_empty_content_what_begins_with_it_is_all_of_it(header: str) -> None:
    assert wanted(header, None, ETAG, 0) is None


@pytest.mark.parametrize("header", ["bytes=1-", "bytes=0-0,5-6"])
def test_of_empty_content_no_byte_can_be_asked_for(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, None, ETAG, 0)


def test_numbers_of_any_length_are_read() -> None:
    assert wanted(f"bytes=0-{'9' * 500}", None, ETAG, SIZE) == [(0, SIZE)]
    assert wanted(f"bytes=-{'9' * 500}", None, ETAG, SIZE) == [(0, SIZE)]


def test_a_flood_of_ranges_is_refused() -> None:
    many = ",".join(f"{2 * n}-{2 * n}" for n in range(MOST_RANGES))
    assert len(wanted(f"bytes={many}", None, ETAG, SIZE) or ()) == MOST_RANGES
    with pytest.raises(Unsatisfiable) as told:
        wanted(f"bytes={many},48-48", None, ETAG, SIZE)
    assert told.value.reason == "too-many-ranges"


def test_ranges_over_each_other_are_answered_as_one_up_to_a_point() -> None:
    assert wanted("bytes=0-20,10-30,20-40", None, ETAG, SIZE) == [(0, 41)]
    with pytest.raises(Unsatisfiable) as told:
        wanted("bytes=0-20,1-21,2-22,3-23", None, ETAG, SIZE)
    assert told.value.reason == "overlapping-ranges"


@pytest.mark.parametrize("if_range", ['"other"', 'W/"abc"', "abc", "Sat, 21 Nov 2026 00:00:00 GMT"])
def test_another_content_than_if_range_means_is_answered_whole(if_range: str) -> None:
    assert wanted("bytes=0-1", if_range, ETAG, SIZE) is None


def test_the_content_that_if_range_means_is_answered_by_range() -> None:
    assert wanted("bytes=0-1", ETAG, ETAG, SIZE) == [(0, 2)]


def test_content_range_names_the_last_byte_not_the_one_behind() -> None:
    assert content_range((10, 5), 50) == "bytes 10-14/50"


@pytest.mark.parametrize("header", ["bytes=6-9,0-4", "bytes=0-4,3-9"])
def test_werkzeugs_parser_would_give_up_on_what_is_answered_here(header: str) -> None:
    assert parse_range_header(header) is None  # why `ranges` is our own: docs/architecture.md
    assert wanted(header, None, '"tag"', 10) is not None
