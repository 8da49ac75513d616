"""Commands for auditors: the entries, their export, and checks that take nobody's word."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from audit.entry import Action, Outcome
from audit.export import EXPORTS
from audit.times import rfc3339
from intake_api.cli.client import Client
from intake_api.cli.commands import MOMENT, Group, with_json, with_limit
from intake_api.cli.connection import connected, parse_keys
from intake_api.cli.fetching import copy_body
from intake_api.cli.output import STDOUT, Output, with_output
from intake_api.cli.printing import Column, Item, moment, say, show_items, show_json
from intake_api.cli.redacting import redact
from intake_api.cli.replaying import overdue, unaccounted
from intake_api.cli.verifying import verify
from retention.ids import Kind

ENTRY: tuple[Column, ...] = (
    ("Leaf", "leaf_index"),
    ("At", lambda item: moment(item["at"])),
    ("Action", "action"),
    (
        "Outcome",
        lambda item: f"{item['outcome']}: {item['reason']}" if item.get("reason") else item["outcome"],
    ),
    ("Actor", lambda item: f"{item['actor_kind']} {_who(item)}"),
    ("Case", lambda item: (item.get("particulars") or {}).get("case_number") or item.get("case") or ""),
    ("Bundle", "bundle"),
)


def _who(item: Item) -> str:
    told = item.get("particulars") or {}
    return str(told.get("name") or told.get("subject") or item["actor"])


def _an_id(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Another word than an id would find nothing, as if nothing had been done."""
    kind = {"bundle": Kind.BUNDLE, "actor": Kind.ACTOR}[str(parameter.name)]
    if value is not None and not value.startswith(f"{kind.value}_"):
        raise click.BadParameter(f"must be an id that begins with {kind.value}_, not {value!r}")
    return value


def _filters(command: Any) -> Any:
    """The options that entries can be chosen by."""
    options = (
        click.option("--case", help="Only about this case (its number)."),
        click.option("--bundle", help="Only about this bundle (bun_...).", callback=_an_id),
        click.option("--actor", help="Only by this actor (act_...; --json shows it).", callback=_an_id),
        click.option(
            "--action", type=click.Choice([str(a) for a in Action]), metavar="ACTION", help="Only this."
        ),
        click.option("--outcome", type=click.Choice([str(o) for o in Outcome]), help="Only those."),
        click.option("--since", type=MOMENT, help="From this time on: a time, or -7d."),
        click.option("--until", type=MOMENT, help="Before this time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _query(chosen: dict[str, Any]) -> dict[str, object]:
    given = {name: value for name, value in chosen.items() if value is not None}
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in given.items()}


@click.group(cls=Group)
def audit() -> None:
    """The audit log: entries, export, verify, overdue, unaccounted, redact, keys."""


_ENTRIES_EXAMPLES = (
    "casevault audit entries --case 123456789012345",
    "casevault audit entries --outcome refused --since -24h",
)


@audit.command("entries", examples=_ENTRIES_EXAMPLES)
@_filters
@with_limit
@with_json
@connected
def entries(client: Client, limit: int, as_json: bool, **chosen: Any) -> None:
    """List entries, newest first. Operators see those of their own cases; asking is an entry itself."""
    found = client.items("/audit/entries", limit or None, **_query(chosen))
    show_items(found, ENTRY, as_json, "there are no such entries that you may see")


@audit.command("export", examples=("casevault audit export --format ocsf --since -30d -o october.jsonl",))
@click.option("--format", "form", type=click.Choice(list(EXPORTS)), default="jsonl", show_default=True)
@with_output("File to write.  [default: stdout]")
@_filters
@with_json
@connected
def export(client: Client, form: str, output: Path | None, force: bool, as_json: bool, **chosen: Any) -> None:
    """Export entries, oldest first: JSON Lines (can be checked against the tree), CSV, or OCSF for a SIEM.

    With --json and a file, what was written is told as JSON.
    """
    place = Output.at(output, force=force)
    answer = client.call("GET", "/audit/export", params={"format": form, **_query(chosen)}, stream=True)
    with place.writing() as target:
        size = copy_body(answer, target)  # bytes as they came: CSV has its own line ends
    if as_json and place.named != STDOUT:  # there the export itself is the answer
        show_json({"file": str(place.named), "format": form, "bytes": size})


@audit.command("keys", examples=("casevault audit keys -o keys.json",))
@with_output("File to write.  [default: stdout]")
@with_json
@connected
def keys_command(client: Client, output: Path | None, force: bool, as_json: bool) -> None:
    """Take the service's public keys, to keep and to pass as --keys: the log's and the receipts'.

    Keys that you keep are better not replaced: take the new ones under another name, and compare the two.
    """
    place = Output.at(output, force=force)
    document = client.get("/audit/keys")
    parse_keys(document, "/audit/keys")
    if place.named == STDOUT or as_json:  # they are JSON either way
        show_json(document)
    if place.named == STDOUT:
        return
    pinned = {name: document[name] for name in ("log", "receipts")}
    with place.writing() as target:
        target.write(f"{json.dumps(pinned)}\n".encode())
    if not place.streams:
        say(f"{output}: compare it with what the service's owner publishes elsewhere")


audit.add_command(verify)
audit.add_command(overdue)
audit.add_command(unaccounted)
audit.add_command(redact)
