"""`casevault view` and `casevault grep`: lines of files inside bundles, without fetching them.

- The service decodes, bounds and searches; every view, and every bundle searched, is one read in the log.
- `grep` has grep's exit codes: 0 found, 1 nothing found, 2 something went wrong (also: a file could not be read).
- Text comes from a stranger's file: what moves a cursor or hides something is escaped; tabs stay.
- Stopped with Ctrl-C, the connection is closed: the service stops the search and enters its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import click
import requests

from audit.times import rfc3339
from intake_api.cli.cli_errors import MISUSED, CliError, plain
from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import MOMENT, Command, with_json
from intake_api.cli.print_tables import say, show_json

MOST_LINES, MOST_FOUND, MOST_CONTEXT = 1000, 10_000, 100
"""What the service takes in one call."""
NOTHING_FOUND = 1
_encoding = click.option(
    "--encoding", help="What the file is encoded in, like utf-16-le or windows-1252.  [default: by its bytes]"
)
_utc_offset = click.option(
    "--utc-offset",
    type=click.IntRange(-1440, 1440),
    default=0,
    show_default=True,
    help="Minutes that times without a zone are ahead of UTC.",
)


class GrepError(CliError):
    """A failed search, with grep's exit code."""

    exit_code = MISUSED


def shown(text: str) -> str:
    """Make a line of a file safe for a terminal; its tabs stay."""
    return "\t".join(map(plain, text.split("\t")))


_VIEWS = (
    "casevault view bun_... Storage/health.log --tail 50",
    "casevault view bun_... 'CBS.zip!/CBS.log' --time 2026-11-29T02:10Z",
    "casevault view bun_... cluster.log --around 81233",
)


@click.command(cls=Command, examples=_VIEWS)
@click.argument("bundle")
@click.argument("path")
@click.option("--line", type=click.IntRange(1), help="Begin at this line, counted from 1.")
@click.option("--tail", type=click.IntRange(1, MOST_LINES), help="The last so many lines.")
@click.option("--around", type=click.IntRange(1), help="This line, with --context lines on both sides.")
@click.option("--time", "moment", type=MOMENT, help="The first line from this time or later, with --context.")
@click.option(
    "--context",
    type=click.IntRange(0, MOST_CONTEXT),
    default=10,
    show_default=True,
    help="Lines of context: before a time, and on both sides of a line.",
)
@click.option(
    "--count",
    type=click.IntRange(1, MOST_LINES),
    default=MOST_LINES,
    show_default=True,
    help="Most lines to show; stderr says where to go on.",
)
@_encoding
@_utc_offset
@with_json
@connected
def view(
    client: Client,
    bundle: str,
    path: str,
    line: int | None,
    tail: int | None,
    around: int | None,
    moment: datetime | None,
    context: int,
    count: int,
    encoding: str | None,
    utc_offset: int,
    as_json: bool,
) -> None:
    """Show lines of one file inside a BUNDLE: from a line, a time, or the end.

    PATH is as `casevault files` lists it; `a.zip!/b.log` is b.log in the archive a.zip. On a terminal the lines come in
    your pager. Needs a live grant.
    """
    if sum(given is not None for given in (line, tail, around, moment)) > 1:
        raise click.UsageError("--line, --tail, --around and --time exclude each other: give one of them")
    asked: dict[str, object] = {"line": line, "count": count, "encoding": encoding, "utc_offset": utc_offset}
    if tail is not None:
        asked |= {"tail": "true", "count": tail}
    if around is not None:
        asked |= {"line": around, "before": context, "count": context + 1}
    if moment is not None:
        asked |= {"time": rfc3339(moment), "before": context}
    wanted = {name: value for name, value in asked.items() if value is not None}
    found = client.get(f"/bundles/{segment(bundle)}/lines/{segment(path)}", wanted)
    if as_json:
        show_json(found)
        return
    _print_lines(found)
    if found["binary"]:
        say("it does not look like text; `casevault fetch` gives its bytes")
    if found["next"] is not None:
        say(f"it goes on: --line {found['next']}")


def _print_lines(found: Mapping[str, Any]) -> None:
    lines = found["lines"]
    width = len(str(lines[-1]["number"])) if lines else 1
    text = [
        f"{'' if one['continues'] else one['number']:>{width}}  {shown(one['text'])}{' …' if one['cut'] else ''}"
        for one in lines
    ]
    if sys.stdout.isatty():
        click.echo_via_pager("\n".join(text))
    else:
        sys.stdout.writelines(f"{one}\n" for one in text)


_GREPS = (
    "casevault grep -i 'error|fail' bun_...",
    "casevault grep -n -C 2 0x80070005 bun_... 'CBS.zip!/CBS.log'",
    "casevault grep -F node-7 --case 123456789012345 --include '*.log' --since 2026-11-29T02:10Z",
)


@click.command(cls=Command, examples=_GREPS)
@click.argument("pattern")
@click.argument("bundle", required=False)
@click.argument("path", required=False)
@click.option("--case", "number", help="Search all complete bundles of this case.")
@click.option("-i", "--ignore-case", is_flag=True, help="Fold case.")
@click.option("-w", "--word-regexp", "words", is_flag=True, help="Whole words only.")
@click.option("-F", "--fixed-strings", "literal", is_flag=True, help="PATTERN is text, not an expression.")
@click.option("-n", "--line-number", "numbered", is_flag=True, help="Print line numbers.")
@click.option("-A", "--after-context", "after", type=click.IntRange(0, MOST_CONTEXT), help="Lines after.")
@click.option("-B", "--before-context", "before", type=click.IntRange(0, MOST_CONTEXT), help="Lines before.")
@click.option("-C", "--context", type=click.IntRange(0, MOST_CONTEXT), default=0, help="Lines on both sides.")
@click.option("-m", "--max-count", "most", type=click.IntRange(1), help="Stop after so many lines in all.")
@click.option("--include", help="Only files whose path or name fits, like *.log.")
@click.option("--since", type=MOMENT, help="Only lines from this time on.")
@click.option("--until", type=MOMENT, help="Only lines from before this time.")
@_encoding
@_utc_offset
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, as found.")
@connected
def grep(
    client: Client,
    pattern: str,
    bundle: str | None,
    path: str | None,
    number: str | None,
    numbered: bool,
    most: int | None,
    as_json: bool,
    **asked: Any,
) -> int:
    """Search PATTERN in a BUNDLE, in one file inside it (PATH), or in all bundles of a case.

    PATTERN is a regular expression as RE2 takes it. Nested archives are searched too; `a.zip!/b.log` is b.log in a.zip.
    Exit codes as grep's: 0 found, 1 nothing found, 2 something went wrong. Needs a live grant.
    """
    if (bundle is None) == (number is None):
        raise click.UsageError("give a BUNDLE, or --case with the case's number")
    if path is not None and asked["include"] is not None:
        raise click.UsageError("--include chooses among a bundle's files: leave it out with a PATH")
    body = _body(pattern, path, asked)
    printer = _Printer(numbered=numbered, as_json=as_json, several=path is None, bundles=number is not None)
    try:
        for one in [bundle] if bundle is not None else _bundles(client, str(number)):
            for told in _search(client, str(one), body, most, printer):
                printer.show(str(one), told)
            if most is not None and printer.found >= most:
                break
    except CliError as error:
        raise GrepError(str(error)) from None
    if printer.unread:
        return MISUSED
    return 0 if printer.found else NOTHING_FOUND


def _body(pattern: str, path: str | None, asked: Mapping[str, Any]) -> dict[str, object]:
    body = {
        "pattern": pattern,
        "file": path,
        "files": asked["include"],
        "before": asked["context"] if asked["before"] is None else asked["before"],
        "after": asked["context"] if asked["after"] is None else asked["after"],
        "since": asked["since"] and rfc3339(asked["since"]),
        "until": asked["until"] and rfc3339(asked["until"]),
        **{name: asked[name] for name in ("ignore_case", "words", "literal", "encoding", "utc_offset")},
    }
    return {name: value for name, value in body.items() if value is not None}


def _bundles(client: Client, number: str) -> Iterator[str]:
    for bundle in client.items("/bundles", case=number):
        if bundle["state"] == "complete":
            yield bundle["id"]


def _search(
    client: Client, bundle: str, body: Mapping[str, object], most: int | None, printer: _Printer
) -> Iterator[dict[str, Any]]:
    """Yield what the service tells of one bundle, going on where a search ended before its end."""
    begin: object = None
    while True:
        left = MOST_FOUND if most is None else min(MOST_FOUND, most - printer.found)
        asked = {**body, "most": left, **({"begin": begin} if begin else {})}
        end: dict[str, Any] | None = None
        for told in told_lines(client, f"/bundles/{segment(bundle)}/search", asked):
            end = told.get("end")
            if end is None:
                yield told
        if end is None:
            raise CliError(f"the search of {bundle} was cut: is your grant still live? Try again")
        begin = end["go_on"]
        if begin is None or (most is not None and printer.found >= most):
            return


def told_lines(client: Client, address: str, asked: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """Yield what the service tells, as it comes. What is cut has no `end`."""
    with closing(client.call("POST", address, json=asked, stream=True)) as answer:
        try:
            for line in answer.iter_lines(1 << 16):
                yield json.loads(line)
        except (requests.exceptions.RequestException, ValueError):
            return  # the caller misses the end


class _Printer:
    """Prints what is found as grep does, and counts it."""

    def __init__(self, *, numbered: bool, as_json: bool, several: bool, bundles: bool) -> None:
        self._numbered, self._as_json, self._several, self._bundles = numbered, as_json, several, bundles
        self._last: tuple[str, str | None, int] | None = None
        self._context = False
        self.found = self.unread = 0

    def show(self, bundle: str, told: dict[str, Any]) -> None:
        self.found += "match" in told
        self._context |= "context" in told
        if self._as_json:
            print(json.dumps({"bundle": bundle, **told}), flush=True)
        if (file := told.get("file")) is not None:
            if file["unread"] is not None:
                self.unread += 1
                say(f"{bundle}: {file['file']}: {file['unread']}")
        elif not self._as_json:
            self._print(bundle, "-" if "context" in told else ":", told.get("match") or told["context"])

    def _print(self, bundle: str, mark: str, line: dict[str, Any]) -> None:
        here = (bundle, line["file"], line["number"])
        if self._context and self._last is not None and self._last not in (here, (*here[:2], here[2] - 1)):
            print("--")
        self._last = here
        named = [bundle] if self._bundles else []
        named += [shown(line["file"])] if self._several and line["file"] is not None else []
        named += [str(line["number"])] if self._numbered else []
        print("".join(f"{part}{mark}" for part in named) + shown(line["text"]), flush=True)
