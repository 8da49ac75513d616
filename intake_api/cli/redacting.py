"""`casevault audit redact`: what names somebody beside the log goes, for administrators."""

from __future__ import annotations

import sys

import click

from intake_api.cli.client import Client, segment
from intake_api.cli.commands import Command, with_json
from intake_api.cli.connection import connected
from intake_api.cli.errors import CliError
from intake_api.cli.printing import Column, show_item, when
from retention.ids import Kind

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
@click.option("--reason", required=True, help="Why; it stands beside the entry of the redaction.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_json
@connected
def redact(client: Client, what: str, reason: str, yes: bool, as_json: bool) -> None:
    """Remove for ever what stands beside an entry (ent_...), or who an actor (act_...) was, beside all their entries.

    For administrators, never of their own entries. The leaves stay and the log still verifies; the redaction is an
    entry itself. A person has to be unassigned and without a live grant. `audit entries --json` shows the ids. Copies
    that were taken before (exports, back-ups) keep what they hold.
    """
    path, asked = _place(what)
    if not yes:
        if not sys.stdin.isatty():
            raise CliError(f"redacting {what} cannot be undone: add --yes to do it without being asked")
        if not click.confirm(f"Remove {asked} for ever? This cannot be undone", err=True):
            raise CliError("nothing was redacted")
    show_item(client.post(f"{path}/redact", {"reason": reason}), _FIELDS, as_json)


def _place(what: str) -> tuple[str, str]:
    """The path of what is to be redacted, and what that is."""
    if what.startswith(f"{Kind.ENTRY.value}_"):
        return f"/audit/entries/{segment(what)}", f"what stands beside the entry {what}"
    if what.startswith(f"{Kind.ACTOR.value}_"):
        return f"/audit/actors/{segment(what)}", f"who {what} was, beside all their entries"
    raise click.BadParameter(
        f"must be an entry's id ({Kind.ENTRY.value}_...) or an actor's ({Kind.ACTOR.value}_...), not {what!r}",
        param_hint="ENTRY|ACTOR",
    )
