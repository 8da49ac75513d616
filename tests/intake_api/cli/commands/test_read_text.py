"""`view` and `grep` print as less and grep do, go on where a search ended, and notice when one is cut."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from intake_api.cli.commands import read_text
from tests.intake_api.cli.serving import Answer, Asked, Served

BUNDLE = "bun_x"


def line(number: int, text: str, file: str | None = "a.log", **more: Any) -> dict[str, Any]:
    return {"file": file, "number": number, "text": text, "continues": False, "cut": False, **more}


def ndjson(*told: Any) -> Answer:
    body = b"".join(json.dumps(one).encode() + b"\n" for one in told)
    return Answer(200, body, {"Content-Type": "application/jsonl"})


def ended(go_on: Any = None) -> dict[str, Any]:
    return {"end": {"why": "stopped" if go_on else "complete", "found": 1, "go_on": go_on}}


def run(command: Any, served: Served, *arguments: str) -> Result:
    given = ["--server", served.url, "--ca", str(served.ca), "--token", "t"]
    return CliRunner().invoke(command, [*arguments, *given], standalone_mode=False)


@pytest.fixture
def scripted(start: Any, here: Any) -> Any:
    return start


def test_a_search_goes_on_where_it_was_stopped(scripted: Any) -> None:
    bodies: list[dict[str, Any]] = []
    place = {"file": "a.log", "offset": 10, "line": 2, "continues": False, "seen": None}

    def script(asked: Asked) -> Answer:
        bodies.append(json.loads(asked.read(int(asked.headers["Content-Length"]))))
        if len(bodies) == 1:
            return ndjson({"match": line(1, "one")}, ended(place))
        return ndjson(
            {"match": line(5, "two\ttab \x1b[31m")}, {"file": {"file": "a.log", "unread": None}}, ended()
        )

    ran = run(read_text.grep, scripted(script), "-n", "o", BUNDLE)
    assert (ran.return_value, ran.stdout) == (0, "a.log:1:one\na.log:5:two\ttab \\x1b[31m\n")
    assert [body.get("begin") for body in bodies] == [None, place]


def test_context_is_parted_and_marked_as_greps(scripted: Any) -> None:
    told = [
        {"context": line(1, "before")},
        {"match": line(2, "hit")},
        {"match": line(9, "hit")},
        ended(),
    ]
    ran = run(read_text.grep, scripted(lambda _: ndjson(*told)), "-n", "-B", "1", "hit", BUNDLE, "a.log")
    assert ran.stdout == "1-before\n2:hit\n--\n9:hit\n"


def test_nothing_found_is_one_and_a_file_that_could_not_be_read_is_two(scripted: Any) -> None:
    assert run(read_text.grep, scripted(lambda _: ndjson(ended())), "x", BUNDLE).return_value == 1
    unread = {"file": {"file": "in.7z", "unread": "it is encrypted"}}
    ran = run(
        read_text.grep, scripted(lambda _: ndjson({"match": line(1, "x")}, unread, ended())), "x", BUNDLE
    )
    assert (ran.return_value, ran.stdout) == (2, "a.log:x\n")
    assert "in.7z: it is encrypted" in ran.stderr


def test_a_search_that_was_cut_is_an_error_and_not_its_end(scripted: Any) -> None:
    ran = run(read_text.grep, scripted(lambda _: ndjson({"match": line(1, "x")})), "x", BUNDLE)
    assert isinstance(ran.exception, read_text.GrepError)
    assert ran.exception.exit_code == 2
    assert "was cut" in str(ran.exception)


def test_json_is_one_object_a_line_with_its_bundle(scripted: Any) -> None:
    ran = run(
        read_text.grep, scripted(lambda _: ndjson({"match": line(1, "x")}, ended())), "x", BUNDLE, "--json"
    )
    assert [json.loads(one) for one in ran.stdout.splitlines()] == [{"bundle": BUNDLE, "match": line(1, "x")}]


@pytest.mark.parametrize(
    "arguments", [["x"], ["x", BUNDLE, "--case", "1"], ["x", BUNDLE, "a.log", "--include", "*.log"]]
)
def test_what_to_search_is_given_once(scripted: Any, arguments: list[str]) -> None:
    ran = run(read_text.grep, scripted(lambda _: ndjson(ended())), *arguments)
    assert ran.exception is not None and ran.exception.exit_code == 2  # type: ignore[attr-defined]


def test_a_view_shows_numbers_and_marks_cut_lines(scripted: Any) -> None:
    lines = [line(9, "a", cut=True), line(9, "b", continues=True), line(10, "c")]
    seen: list[str] = []

    def script(asked: Asked) -> Answer:
        seen.append(asked.path)
        body = {"lines": lines, "next": 11, "binary": False}
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    ran = run(read_text.view, scripted(script), BUNDLE, "d/a b.log", "--around", "10", "--context", "1")
    assert ran.stdout == " 9  a …\n    b\n10  c\n"
    assert "--line 11" in ran.stderr
    assert seen[0].startswith("/bundles/bun_x/lines/d%2Fa%20b.log?")
    assert {"line=10", "before=1", "count=2"} <= set(seen[0].split("?")[1].split("&"))


def command_line(served: Served, *words: str) -> list[str]:
    given = ["--server", served.url, "--ca", str(served.ca), "--token", "t"]
    return [sys.executable, "-m", "intake_api.cli", *words, *given]


def test_ctrl_c_in_a_search_shows_what_was_found_and_ends_at_once(scripted: Any) -> None:
    """The response never ends, as of a search that goes on; the service's side is in test_text.py."""
    begun = json.dumps({"match": line(1, "found")}).encode() + b"\n" + b" " * (1 << 16)
    endless = {"Content-Type": "application/jsonl", "Content-Length": "99999999"}
    served = scripted(lambda _: Answer(200, begun, endless))
    with subprocess.Popen(
        command_line(served, "grep", "found", BUNDLE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"a.log:found\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert b"Traceback" not in running.stderr.read()


def test_on_a_terminal_lines_come_in_the_pager_and_are_safe_there(scripted: Any) -> None:
    body = {"lines": [line(1, "one"), line(2, "two \x1b[31m")], "next": None, "binary": False}
    served = scripted(lambda _: Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"}))
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        command_line(served, "view", BUNDLE, "a.log"),
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "PAGER": "sed s/^/paged:/", "TERM": "xterm"},
    ) as running:
        assert running.wait(60) == 0
    os.close(terminal)
    shown = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    assert shown == ["paged:1  one", "paged:2  two \\x1b[31m"]
