"""`events` prints one event a line, goes on where a response ended, and tells a damaged log from an empty one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from intake_api.cli.commands import events
from intake_api.cli.commands.read_text import GrepError
from tests.intake_api.cli.commands.test_read_text import BUNDLE, ndjson, run
from tests.intake_api.cli.serving import Answer, Asked

LOG = {"log": {"chunks": 1, "dirty": False, "full": False}}
PATH = "a.zip!/System.evtx"


def event(record: int, **more: Any) -> dict[str, Any]:
    made = {
        **{"place": record, "record": record, "time": "2026-11-29T02:00:41.000000Z", "level": "error"},
        **{"provider": "Disk", "id": 7, "computer": "node-7", "channel": "System"},
        **{"data": [["path", r"\Device\0"], ["text", "two\nlines \x1b[31m"]]},
    }
    return {"event": {**made, **more}}


def ended(go_on: int | None = None) -> dict[str, Any]:
    return {"end": {"why": "enough" if go_on else "complete", "found": 1, "go_on": go_on}}


@pytest.fixture
def scripted(start: Any, here: Any) -> Any:
    return start


def test_an_event_is_one_line_that_is_safe_on_a_terminal(scripted: Any) -> None:
    ran = run(events.events, scripted(lambda _: ndjson(LOG, event(1), ended())), BUNDLE, PATH)
    assert (ran.return_value, ran.stderr) == (0, "")
    assert ran.stdout == (
        "2026-11-29T02:00:41.000000Z  error        Disk 7  record 1  node-7  "
        r"path=\Device\0 text=two lines \x1b[31m" + "\n"
    )


def test_a_response_that_ended_before_the_log_is_gone_on_with(scripted: Any) -> None:
    bodies, paths = list[dict[str, Any]](), list[str]()

    def script(asked: Asked) -> Answer:
        paths.append(asked.path)
        bodies.append(json.loads(asked.read(int(asked.headers["Content-Length"]))))
        return ndjson(LOG, event(1), ended(9)) if len(bodies) == 1 else ndjson(LOG, event(2), ended())

    arguments = ("--level", "error", "--provider", "*Disk", "--id", "7", "--id", "9", "--grep", "x", "-i")
    ran = run(events.events, scripted(script), BUNDLE, PATH, *arguments, "--since", "2026-11-29T02:00Z")
    assert (ran.return_value, ran.stdout.count("\n")) == (0, 2)
    assert paths == [f"/bundles/{BUNDLE}/events/a.zip%21%2FSystem.evtx"] * 2
    assert bodies[0] == {
        **{"pattern": "x", "ignore_case": True, "level": "error", "provider": "*Disk", "ids": [7, 9]},
        **{"since": "2026-11-29T02:00:00.000000Z", "begin": 0, "most": 10_000},
    }
    assert bodies[1] == {**bodies[0], "begin": 9}


def test_as_many_as_were_asked_for_and_where_to_go_on(scripted: Any) -> None:
    bodies = list[dict[str, Any]]()

    def script(asked: Asked) -> Answer:
        bodies.append(json.loads(asked.read(int(asked.headers["Content-Length"]))))
        return ndjson(LOG, event(5), ended(6))

    ran = run(events.events, scripted(script), BUNDLE, PATH, "-m", "1", "--begin", "5")
    assert (ran.return_value, ran.stderr) == (0, "it goes on: --begin 6\n")
    assert [(body["begin"], body["most"]) for body in bodies] == [(5, 1)]


def test_nothing_found_is_one_and_a_damaged_chunk_is_two_and_named(scripted: Any) -> None:
    dirty = {"log": {"chunks": 1, "dirty": True, "full": False}}
    ran = run(events.events, scripted(lambda _: ndjson(dirty, ended())), BUNDLE, PATH)
    assert (ran.return_value, ran.stdout) == (1, "") and "was open when it was collected" in ran.stderr
    damage = {"damaged": {"chunk": 3, "offset": 200704, "why": "its checksum does not hold"}}
    ran = run(events.events, scripted(lambda _: ndjson(LOG, event(1), damage, ended())), BUNDLE, PATH)
    assert (ran.return_value, ran.stdout.count("\n")) == (2, 1)
    assert ran.stderr == "chunk 3, at 200704: its checksum does not hold\n"


def test_xml_keeps_its_lines_and_json_is_one_object_a_line(scripted: Any) -> None:
    one = event(1, xml="<Event>\n  <Data>\x9b</Data>\n</Event>\n")
    served = scripted(lambda _: ndjson(LOG, one, ended()))
    ran = run(events.events, served, BUNDLE, PATH, "--xml")
    assert ran.stdout == "<Event>\n  <Data>\\x9b</Data>\n</Event>\n"
    ran = run(events.events, served, BUNDLE, PATH, "--xml", "--json")
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [LOG, one]


def test_events_that_were_cut_are_an_error_and_not_their_end(scripted: Any) -> None:
    ran = run(events.events, scripted(lambda _: ndjson(LOG, event(1))), BUNDLE, PATH)
    assert isinstance(ran.exception, GrepError) and ran.exception.exit_code == 2
    assert "were cut" in str(ran.exception)


def test_how_to_match_needs_something_to_match(scripted: Any) -> None:
    ran = run(events.events, scripted(lambda _: ndjson(LOG, ended())), BUNDLE, PATH, "-i")
    assert ran.exception is not None and ran.exception.exit_code == 2  # type: ignore[attr-defined]
