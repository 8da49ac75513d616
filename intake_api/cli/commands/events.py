"""`casevault events`: a Windows event log inside a bundle as its events.

- The service parses, bounds and filters; each response is one read in the log, and a bounded one is gone on with.
- The exit codes are grep's: 0 found, 1 nothing found, 2 something went wrong (also: a part of the log is damaged).
- Text comes from a stranger's file: what moves a cursor or hides something is escaped.
- Stopped with Ctrl-C, the connection is closed: the service stops reading and enters its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from audit.times import rfc3339
from intake_api.cli.cli_errors import MISUSED, CliError
from intake_api.cli.client import Client, segment
from intake_api.cli.commands.read_text import MOST_FOUND, NOTHING_FOUND, GrepError, shown, told_lines
from intake_api.cli.connection import connected
from intake_api.cli.options import MOMENT, Command
from intake_api.cli.print_tables import say

LEVELS = ("critical", "error", "warning", "information", "debug")
_EVENTS = (
    "casevault events bun_... 'Logs.zip!/System.evtx' --level error",
    "casevault events bun_... System.evtx --provider '*FailoverClustering' --id 1135 --id 1069",
    "casevault events bun_... System.evtx --since 2026-11-29T02:10Z --until 2026-11-29T02:15Z --grep CSV3",
)


@click.command(cls=Command, examples=_EVENTS)
@click.argument("bundle")
@click.argument("path")
@click.option("--since", type=MOMENT, help="Only events from this time on.")
@click.option("--until", type=MOMENT, help="Only events from before this time.")
@click.option("--level", type=click.Choice(LEVELS), help="Only events of this level or worse.")
@click.option("--provider", help="Only events of this provider: its name, or a pattern like '*Cluster*'.")
@click.option(
    "--id", "ids", type=click.IntRange(0), multiple=True, help="Only events with this id; repeatable."
)
@click.option("--grep", "pattern", metavar="PATTERN", help="Only events with PATTERN in a name or value.")
@click.option("-i", "--ignore-case", is_flag=True, help="Fold case.")
@click.option("-w", "--word-regexp", "words", is_flag=True, help="Whole words only.")
@click.option("-F", "--fixed-strings", "literal", is_flag=True, help="PATTERN is text, not an expression.")
@click.option("-m", "--max-count", "most", type=click.IntRange(1), help="Stop after so many events.")
@click.option(
    "--begin", type=click.IntRange(0), default=0, help="Go on from here, as stderr of an earlier call said."
)
@click.option("--xml", is_flag=True, help="Print each event's XML; with --json it is in the object.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, as found.")
@connected
def events(
    client: Client,
    bundle: str,
    path: str,
    most: int | None,
    begin: int,
    as_json: bool,
    **asked: Any,
) -> int:
    """Show the events of a Windows event log (.evtx) inside a BUNDLE, in the order of the file.

    PATH is as `casevault files` lists it; `a.zip!/b.evtx` is b.evtx in the archive a.zip. A PATTERN is a regular
    expression as RE2 takes it. Exit codes as grep's: 0 found, 1 nothing found, 2 something went wrong, which includes a
    damaged part of the log. Needs a live grant.
    """
    if asked["pattern"] is None and (asked["ignore_case"] or asked["words"] or asked["literal"]):
        raise click.UsageError("-i, -w and -F say how --grep matches: give --grep PATTERN with them")
    found = damaged = 0
    try:
        for told in _read(client, bundle, path, _body(asked), begin, most):
            found += "event" in told
            damaged += "damaged" in told
            _show(told, as_json=as_json, xml=asked["xml"])
    except CliError as error:
        raise GrepError(str(error)) from None
    if damaged:
        return MISUSED
    return 0 if found else NOTHING_FOUND


def _body(asked: Mapping[str, Any]) -> dict[str, object]:
    body = {
        **{name: asked[name] for name in ("pattern", "level", "provider")},
        **{name: asked[name] or None for name in ("ignore_case", "words", "literal", "xml")},
        "ids": [*asked["ids"]] or None,
        "since": asked["since"] and rfc3339(asked["since"]),
        "until": asked["until"] and rfc3339(asked["until"]),
    }
    return {name: value for name, value in body.items() if value is not None}


def _read(
    client: Client, bundle: str, path: str, body: Mapping[str, object], begin: int, most: int | None
) -> Iterator[dict[str, Any]]:
    """Yield what the service tells of the log, going on where a response ended before the log's end."""
    found, is_first = 0, True
    while True:
        left = MOST_FOUND if most is None else min(MOST_FOUND, most - found)
        asked = {**body, "begin": begin, "most": left}
        address = f"/bundles/{segment(bundle)}/events/{segment(path)}"
        end: dict[str, Any] | None = None
        for told in told_lines(client, address, asked):
            end = told.get("end")
            found += "event" in told
            if end is None and ("log" not in told or is_first):
                yield told
        if end is None:
            raise CliError(f"the events of {path} were cut: is your grant still live? Try again")
        if end["go_on"] is None:
            return
        begin, is_first = end["go_on"], False
        if most is not None and found >= most:
            say(f"it goes on: --begin {begin}")
            return


def _show(told: Mapping[str, Any], *, as_json: bool, xml: bool) -> None:
    if as_json:
        print(json.dumps(told), flush=True)
    if (damage := told.get("damaged")) is not None:
        where = "the log" if damage["chunk"] is None else f"chunk {damage['chunk']}, at {damage['offset']}"
        say(f"{where}: {damage['why']}")
    if "log" in told and told["log"]["dirty"]:
        say("the log was open when it was collected; its last events may be missing")
    if as_json or "event" not in told:
        return
    event = told["event"]
    if xml:
        print("\n".join(map(shown, event["xml"].splitlines())), flush=True)
        return
    print(shown(_line(event)), flush=True)


def _line(event: Mapping[str, Any]) -> str:
    """Write an event as one line: time, level, provider and id, record, computer, and its data."""
    time = event["time"] or "no time"
    data = " ".join(f"{name}={' '.join(value.split())}" for name, value in event["data"])
    head = f"{time:<27}  {event['level']:<11}  {event['provider']} {event['id']}"
    return f"{head}  record {event['record']}  {event['computer']}  {data}".rstrip()
