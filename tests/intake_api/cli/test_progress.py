"""Progress: a bar on a terminal, silence in a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from intake_api.cli.main import run
from intake_api.cli.progress import counting, transfer
from tests.intake_api.cli.serving import Answer, Served


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stand_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    shown = _Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return shown


def test_a_walk_says_on_a_terminal_how_many_leaves_it_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stand_at_a_terminal(monkeypatch)
    with counting("reading the log") as tell:
        tell(2_500, 10_000)
    shown = terminal.getvalue()
    assert "reading the log" in shown and "25%" in shown and "2,500" in shown


def test_a_transfer_of_known_size_says_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stand_at_a_terminal(monkeypatch)
    with transfer("sending", 4096) as done:
        done(1024)
    shown = terminal.getvalue()
    assert "sending" in shown and "25%" in shown and "1.0/4.0 KiB" in shown


def test_an_export_into_a_file_says_how_much_has_come(
    here: Path, start: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(lambda _: Answer(200, b"x" * 4096, {"Content-Type": "application/jsonl"}))
    words = ["audit", "export", "-o", "log.jsonl", "--server", server.url, "--ca", str(server.ca)]
    terminal = stand_at_a_terminal(monkeypatch)
    assert run(words) == 0
    assert "exporting" in terminal.getvalue() and "4.0" in terminal.getvalue()
    assert (here / "log.jsonl").read_bytes() == b"x" * 4096


def test_nothing_is_said_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("reading the log") as tell, transfer("sending", None) as done:
        tell(1, 2)
        done(3)
    assert capsys.readouterr() == ("", "")
