"""Commands for auditors: the entries, their export, checks that trust nobody; for administrators, redaction."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from audit.entry import Action, Outcome
from audit.log.export import EXPORTS
from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client, segment
from intake_api.cli.commands.audit_findings import overdue, unaccounted
from intake_api.cli.commands.audit_verify import verify
from intake_api.cli.commands.fetch import copy_body
from intake_api.cli.connection import connected, parse_keys
from intake_api.cli.options import MOMENT, Command, Group, with_json, with_limit, with_limit_of
from intake_api.cli.output_file import STDOUT, Output, with_output
from intake_api.cli.print_tables import Column, Item, moment, say, show_item, show_items, show_json, when
from intake_api.cli.progress import transfer
from retention.domain.ids import Kind

_FIELDS: tuple[Column, ...] = (
    ("Redacted", "redacted"),
    ("Decided", when("at")),
    ("Entries", "entries"),
)
_EXAMPLES = (
    'casevault audit redact ent_... --reason "The reason names a patient"',
    'casevault audit redact act_... --reason "Left the company and asks to be forgotten"',
)


@click.command("redact", cls=Command, examples=_EXAMPLES)
@click.argument("what", metavar="ENTRY|ACTOR")
@click.option("--reason", required=True, help="Why; kept with the entry of the redaction.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@with_json
@connected
def redact(client: Client, what: str, reason: str, yes: bool, as_json: bool) -> None:
    """Remove for ever the personal details of an entry (ent_...), or who an actor (act_...) was, from all entries.

    For administrators, never for their own entries. The leaves stay and the log still verifies; the redaction is an
    entry itself. A person must be unassigned and without a live grant. `audit entries --json` shows the ids. Copies
    taken before (exports, back-ups) keep what they hold.
    """
    path, asked = _place(what)
    if not yes:
        if not sys.stdin.isatty():
            raise CliError(f"redacting {what} cannot be undone: add --yes to confirm without a terminal")
        if not click.confirm(f"Remove {asked} for ever? This cannot be undone.", err=True):
            raise CliError("nothing was redacted")
    show_item(client.post(f"{path}/redact", {"reason": reason}), _FIELDS, as_json)


def _place(what: str) -> tuple[str, str]:
    """Return the path of what to redact, and words for it."""
    if what.startswith(f"{Kind.ENTRY.value}_"):
        return f"/audit/entries/{segment(what)}", f"the personal details of entry {what}"
    if what.startswith(f"{Kind.ACTOR.value}_"):
        return f"/audit/actors/{segment(what)}", f"who {what} was, from all their entries"
    raise click.BadParameter(
        f"must be an entry's id ({Kind.ENTRY.value}_...) or an actor's ({Kind.ACTOR.value}_...), not {what!r}",
        param_hint="ENTRY|ACTOR",
    )


def _particulars(item: Item) -> Item:
    return item.get("particulars") or {}


def _names_of_ids(item: Item) -> Item:
    """Return the service's names for an entry's ids; nothing from an older service."""
    return item.get("named") or {}


def _who(item: Item) -> str:
    details = _particulars(item)
    return str(
        details.get("name") or details.get("subject") or _names_of_ids(item).get("actor") or item["actor"]
    )


ENTRY: tuple[Column, ...] = (
    ("Leaf", "leaf_index"),
    ("At", lambda item: moment(item["at"])),
    ("Action", "action"),
    (
        "Outcome",
        lambda item: f"{item['outcome']}: {item['reason']}" if item.get("reason") else item["outcome"],
    ),
    ("Actor", lambda item: f"{item['actor_kind']} {_who(item)}"),
    ("Case", lambda item: _particulars(item).get("case_number") or _names_of_ids(item).get("case")),
    ("File", lambda item: _particulars(item).get("file_name") or _names_of_ids(item).get("file_name")),
    ("File inside", lambda item: _particulars(item).get("file")),
    ("Why", lambda item: _particulars(item).get("reason") or _names_of_ids(item).get("grant_reason")),
)
IDS: tuple[Column, ...] = (
    ("Entry", "id"),
    ("Actor's id", "actor"),
    ("Case's id", "case"),
    ("Bundle", "bundle"),
    ("Grant or other subject", "subject"),
)
READER: tuple[Column, ...] = (
    ("Who", lambda item: item["actor"] or f"{item['actor_id']} (forgotten)"),
    ("Reads", "reads"),
    ("Bundles", "bundles"),
    ("First", when("first_at")),
    ("Last", when("last_at")),
    ("Why", "reason"),
)
UNUSED: tuple[Column, ...] = (
    ("Given", when("granted_at")),
    ("Who", lambda item: item["actor"] or f"{item['actor_id']} (forgotten)"),
    ("Case", "case"),
    ("Ended", when("ended_at")),
    ("Ended by", "end_cause"),
    ("Why", "reason"),
)
_IDS_OF_A_GRANT: tuple[Column, ...] = (("Grant", "grant"), ("Actor's id", "actor_id"))
with_ids = click.option("--ids", is_flag=True, help="Show the opaque ids as well.")


def _an_id(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no id: it would find nothing, as if nothing had been done."""
    if value is not None and not value.startswith(f"{Kind.BUNDLE.value}_"):
        raise click.BadParameter(f"must be a bundle's id ({Kind.BUNDLE.value}_...), not {value!r}")
    return value


_by_actor = click.option(
    "--actor",
    metavar="SUBJECT|ID",
    help="Only by this person or machine: the issuer's name for them, or act_...",
)
_since = click.option("--since", type=MOMENT, help="From this time on: a time, or -7d.")
_until = click.option("--until", type=MOMENT, help="Before this time.")


def _filters(command: Any) -> Any:
    """Add the options that filter entries."""
    options = (
        click.option("--case", help="Only about this case (its number)."),
        click.option("--bundle", help="Only about this bundle (bun_...).", callback=_an_id),
        _by_actor,
        click.option(
            "--action",
            type=click.Choice([str(a) for a in Action]),
            metavar="ACTION",
            help="Only this action.",
        ),
        click.option("--outcome", type=click.Choice([str(o) for o in Outcome]), help="Only this outcome."),
        _since,
        _until,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _query(chosen: dict[str, Any]) -> dict[str, object]:
    given = {name: value for name, value in chosen.items() if value is not None}
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in given.items()}


@click.group(cls=Group)
def audit() -> None:
    """The audit log: entries, readers, unused-grants, export, verify, overdue, unaccounted, redact, keys."""


_ENTRIES_EXAMPLES = (
    "casevault audit entries --case 123456789012345",
    "casevault audit entries --outcome refused --since -24h",
    "casevault audit entries --actor alice --action bundle.opened --ids",
)


@audit.command("entries", examples=_ENTRIES_EXAMPLES)
@_filters
@with_ids
@with_limit
@with_json
@connected
def entries(client: Client, limit: int, ids: bool, as_json: bool, **chosen: Any) -> None:
    """List entries, newest first. Operators see those of their own cases; the query is an entry itself.

    The table shows the case, the bundle's file, the file inside and the reason; an erased bundle and a forgotten person
    have no name.
    """
    found = client.items("/audit/entries", limit or None, **_query(chosen))
    columns = (*ENTRY, *IDS) if ids else ENTRY
    show_items(found, columns, as_json, "no matching entries that you are allowed to see")


@audit.command("readers", examples=("casevault audit readers 123456789012345 --since -7d",))
@click.argument("case", metavar="CASE")
@_by_actor
@_since
@_until
@with_ids
@with_limit_of("the latest reader first")
@with_json
@connected
def readers(client: Client, limit: int, ids: bool, as_json: bool, **chosen: Any) -> None:
    """List who read a case: by person and grant, how often, how many bundles, when first and last, and why.

    For single reads: `casevault audit entries --case CASE --action bundle.opened`, and bundle.listed for lists of
    files. The query is an entry itself.
    """
    found = client.items("/audit/readers", limit or None, **_query(chosen))
    columns = (*READER, *_IDS_OF_A_GRANT) if ids else READER
    show_items(found, columns, as_json, f"nobody read case {chosen['case']} in that time")


_UNUSED_EXAMPLES = (
    "casevault audit unused-grants --since -30d",
    "casevault audit unused-grants --case 123456789012345 --json",
)


@audit.command("unused-grants", examples=_UNUSED_EXAMPLES)
@click.option("--case", help="Only for this case (its number).")
@_by_actor
@_since
@_until
@with_ids
@with_limit_of("newest first")
@with_json
@connected
def unused_grants(client: Client, limit: int, ids: bool, as_json: bool, **chosen: Any) -> None:
    """List ended grants under which nothing was read. --since and --until refer to when they were given.

    The service's own word; `casevault audit unaccounted` works it out from the signed log. The query is an entry
    itself.
    """
    found = client.items("/audit/unused-grants", limit or None, **_query(chosen))
    columns = (*UNUSED, *_IDS_OF_A_GRANT) if ids else UNUSED
    show_items(found, columns, as_json, "no matching grants that you are allowed to see")


@audit.command("export", examples=("casevault audit export --format ocsf --since -30d -o october.jsonl",))
@click.option("--format", "form", type=click.Choice(list(EXPORTS)), default="jsonl", show_default=True)
@with_output("File to write.  [default: stdout]")
@_filters
@with_json
@connected
def export(client: Client, form: str, output: Path | None, force: bool, as_json: bool, **chosen: Any) -> None:
    """Export entries, oldest first: JSON Lines (can be checked against the tree), CSV, or OCSF for a SIEM.

    With --json and a file, a summary of what was written is printed as JSON.
    """
    place = Output.at(output, force=force)
    answer = client.call("GET", "/audit/export", params={"format": form, **_query(chosen)}, stream=True)
    shown = nullcontext() if place.named == STDOUT else transfer("exporting", None, stays=False)
    with place.writing() as target, shown as done:
        size = copy_body(answer, target, done)  # the bytes as received: CSV has its own line ends
    if as_json and place.named != STDOUT:  # there the export itself is the output
        show_json({"file": str(place.named), "format": form, "bytes": size})


@audit.command("keys", examples=("casevault audit keys -o keys.json",))
@with_output("File to write.  [default: stdout]")
@with_json
@connected
def keys_command(client: Client, output: Path | None, force: bool, as_json: bool) -> None:
    """Fetch the service's public keys, the log's and the receipts', to keep and to pass as --keys.

    Do not replace keys that you keep: fetch the new ones under another name, and compare the two.
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
        say(f"{output}: compare it with the keys that the service's owner publishes elsewhere")


audit.add_command(verify)
audit.add_command(overdue)
audit.add_command(unaccounted)
audit.add_command(redact)
