"""What is printed: tables for people, JSON for scripts, nothing that a stranger's text could do to a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.cli.cli_errors import one_line, plain
from intake_api.cli.print_tables import moment, show_item, show_items, show_json, size_of


@given(st.text())
def test_plain_text_moves_no_cursor_and_hides_nothing(text: str) -> None:
    def odd(character: str) -> bool:
        return unicodedata.category(character)[0] == "C" or unicodedata.category(character) in ("Zl", "Zp")

    shown = plain(text)
    assert not any(map(odd, shown))
    assert plain(shown) == shown
    if not any(map(odd, text)):
        assert shown == text


@given(st.text())
def test_json_reads_back_and_shows_nothing_that_deceives(text: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show_json({"name": text})
    assert json.loads(out.getvalue()) == {"name": text}
    assert not any(unicodedata.bidirectional(c) in ("RLO", "LRO", "RLI", "LRI") for c in out.getvalue())
    assert len(out.getvalue().splitlines()) == 1
    assert not any(unicodedata.category(c) == "Cc" for c in out.getvalue().rstrip("\n"))


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(st.integers(0, 2**60))
def test_sizes_grow_with_their_bytes(count: int) -> None:
    number, unit = size_of(count).split()
    factor = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert abs(float(number) * factor - count) <= 0.051 * factor


def test_a_list_in_a_pipe_keeps_its_cells_whole(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"id": "x" * 300, "n": None}, {"id": "[bold]y\x1b[31m", "n": True}]
    show_items(items, [("Id", "id"), ("N", "n")], False, "none")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Id", "N"]
    assert "x" * 300 in lines[1]
    assert lines[2].split() == ["[bold]y\\x1b[31m", "yes"]


def test_an_empty_list_is_said_to_a_person_and_is_empty_for_a_script(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_items([], [("Id", "id")], False, "there is none")
    assert capsys.readouterr() == ("", "there is none\n")
    show_items([], [("Id", "id")], True, "there is none")
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3, 450])
def test_a_list_for_a_script_is_the_document_of_the_whole_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, terminal: bool
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    items = [{"n": number, "of": ["x\u202e", "two\nlines"], "in": {"a": None}} for number in range(count)]
    show_items(iter(items), [("N", "n")], True, "none")
    streamed = capsys.readouterr().out
    show_json(items)
    assert streamed == capsys.readouterr().out


def test_a_page_is_printed_before_the_next_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []

    def items() -> Iterator[dict[str, int]]:
        yield from ({"n": number} for number in range(200))
        printed.append(capsys.readouterr().out)
        yield from ({"n": number} for number in range(200, 210))

    for as_json in (False, True):
        show_items(items(), [("Number", "n")], as_json, "none")
        capsys.readouterr()
    table, document = printed
    assert table.split() == ["Number", *map(str, range(200))]
    assert document.startswith('[{"n": 0}, ') and document.endswith('{"n": 199}')


def test_the_columns_of_a_long_table_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    items = [{"id": "x" * (20 if number < 200 else 3), "n": number} for number in range(450)]
    show_items(items, [("Id", "id"), ("N", "n")], False, "none")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Id", "N"] and len(lines) == 451
    assert [line.index(str(number), 20) for number, line in enumerate(lines[1:])] == [22] * 450


def test_one_thing_shows_the_fields_that_have_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    show_item({"a": 1, "b": None, "c": ["x", "y"]}, [("First", "a"), ("Second", "b"), ("Third", "c")], False)
    assert capsys.readouterr().out == "First   1\nThird   x, y\n"


def test_moments_are_shown_in_utc_to_the_second() -> None:
    assert moment("2026-11-20T15:00:00.123456+01:00") == "2026-11-20 14:00:00Z"
    assert moment(None) == ""
