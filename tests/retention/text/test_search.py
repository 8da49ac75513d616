"""A search finds what a plain look at every line finds, wherever blocks and chunks end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.text import lines as lines_module
from retention.text.encodings import Encoding
from retention.text.lines import split_lines
from retention.text.pattern import LONGEST, PatternError, compile_pattern
from retention.text.search import Hit, Position, Query, SearchEnd, Why, search
from tests.retention.text.test_lines import ENCODINGS, cut

UTF8 = Encoding("utf-8")
TEXT = st.text(alphabet=st.sampled_from("aAbB .é\r\n\n\n"), max_size=80)
PATTERNS = [
    "a",
    "ab",
    "a.b",
    "a+b",
    "^a",
    "b$",
    "^$",
    "a*",
    "[^a]b",
    r"a\s*b",
    "(?i)ab",
    r"\Aa",
    r"b\z",
    "é",
    "a|b.",
]


def sought(
    raw: bytes, encoding: Encoding, query: Query, sizes: list[int], **more: Any
) -> tuple[list[Hit], SearchEnd]:
    *hits, end = search(cut(raw, sizes), encoding, query, **more)
    assert isinstance(end, SearchEnd)
    return [hit for hit in hits if isinstance(hit, Hit)], end


def plain(raw: bytes, encoding: Encoding, pattern: str, flags: int) -> list[int]:
    wanted = re.compile(pattern.replace(r"\z", r"\Z").replace("$", r"\Z"), flags)
    texts = [(line.number, encoding.decode(line.raw)) for line in split_lines([raw], encoding)]
    return [number for number, text in texts if wanted.search(text)]


@given(
    text=TEXT,
    encoding=ENCODINGS,
    pattern=st.sampled_from(PATTERNS),
    fold=st.booleans(),
    sizes=st.lists(st.integers(0, 9), max_size=10),
    block=st.integers(1, 40),
)
@settings(max_examples=500)
def test_the_lines_found_are_those_of_a_plain_look_at_each(
    text: str, encoding: Encoding, pattern: str, fold: bool, sizes: list[int], block: int
) -> None:
    raw = text.encode(encoding.name, "ignore")
    query = Query(compile_pattern(pattern, ignore_case=fold))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", block)
        hits, end = sought(raw, encoding, query, sizes)
    assert [hit.line.number for hit in hits] == plain(raw, encoding, pattern, re.IGNORECASE if fold else 0)
    assert end == SearchEnd(Why.COMPLETE, len(hits), None)


@given(raw=st.binary(max_size=60), encoding=ENCODINGS)
def test_bytes_that_are_not_valid_neither_add_nor_lose_lines(raw: bytes, encoding: Encoding) -> None:
    hits, _ = sought(raw, encoding, Query(compile_pattern("")), [])
    assert [hit.line for hit in hits] == list(split_lines([raw], encoding))


@given(text=TEXT, before=st.integers(0, 3), after=st.integers(0, 3), block=st.integers(1, 40))
def test_context_is_each_line_around_once_and_in_order(
    text: str, before: int, after: int, block: int
) -> None:
    raw = text.encode()
    numbers = plain(raw, UTF8, "a", 0)
    last = len(list(split_lines([raw], UTF8)))
    near = {n for number in numbers for n in range(number - before, number + after + 1) if 1 <= n <= last}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", block)
        hits, _ = sought(raw, UTF8, Query(compile_pattern("a"), before, after), [5, 5, 5])
    assert [hit.line.number for hit in hits] == sorted(near)
    assert [hit.line.number for hit in hits if hit.found] == numbers


@given(text=TEXT, most=st.integers(1, 4), after=st.integers(0, 2), block=st.integers(1, 40))
def test_going_on_from_the_end_finds_the_rest_and_nothing_twice(
    text: str, most: int, after: int, block: int
) -> None:
    raw, query = text.encode(), Query(compile_pattern("a"), after=after, most=most)
    found: list[int] = []
    position: Position | None = Position()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", block)
        while position is not None:
            hits, end = sought(raw[position.offset :], UTF8, query, [3, 9], begin=position)
            found += [hit.line.number for hit in hits if hit.found]
            assert end.found <= most
            assert (end.why is Why.COMPLETE) == (end.go_on is None)
            position = end.go_on
    assert found == plain(raw, UTF8, "a", 0)


def test_a_stopped_search_says_where_to_go_on() -> None:
    raw, asked = b"a line\n" * 200_000, iter([False, True])
    hits, end = sought(raw, UTF8, Query(compile_pattern("a"), most=10**6), [], stop=lambda: next(asked))
    assert end.why is Why.STOPPED
    assert end.go_on is not None
    rest, last = sought(
        raw[end.go_on.offset :], UTF8, Query(compile_pattern("a"), most=10**6), [], begin=end.go_on
    )
    assert len(hits) + len(rest) == 200_000
    assert last.why is Why.COMPLETE


def test_a_time_window_holds_lines_without_a_time_to_the_line_before() -> None:
    begin = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
    raw = b"".join(
        f"{begin + timedelta(minutes=n):%Y-%m-%d %H:%M:%S} x{n}\n  at x\n".encode() for n in range(20)
    )
    query = Query(
        compile_pattern("x"), since=begin + timedelta(minutes=5), until=begin + timedelta(minutes=7)
    )
    hits, _ = sought(raw, UTF8, query, [10, 10])
    assert [hit.line.number for hit in hits] == [11, 12, 13, 14]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("fehler", "ein Fehler", True),
        ("fehl", "ein Fehler", False),
        ("ber", "über", False),
        ("a.b", "axb", False),
    ],
)
def test_literals_whole_words_and_case_go_by_unicode(pattern: str, text: str, found: bool) -> None:
    compiled = compile_pattern(pattern, literal=True, ignore_case=True, words=True)
    assert (compiled.find(text.encode()) is not None) is found


def test_matches_are_shown_in_characters() -> None:
    assert compile_pattern("b+").spans("éb ébb") == [(1, 2), (4, 6)]
    assert compile_pattern("b", words=True).spans("b bb b") == [(0, 1), (5, 6)]
    assert compile_pattern("x*").spans("ééx") == [(2, 3)]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(a", "missing"),
        ("a)|(b", "unexpected|missing"),
        (r"(a)\1", "RE2 takes"),
        ("a\nb", "a line break"),
        ("x" * (LONGEST + 1), "1001 characters, the limit is 1000"),
        ("((a{100}){100}){100}", "RE2 takes"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_a_bad_pattern_is_refused_with_what_is_wrong(pattern: str, says: str) -> None:
    for words in (False, True):
        with pytest.raises(PatternError, match=says):
            compile_pattern(pattern, words=words)
