"""Commands about reviews of grants that are over: listed, shown with what was done, signed off, questioned."""

from __future__ import annotations

import click

from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import Group, with_json, with_limit_of
from intake_api.cli.print_tables import Column, show_item, show_items, size, when
from retention.domain.approval import MAX_NOTE_CHARACTERS
from retention.domain.review import OPEN, Verdict

LISTED: tuple[Column, ...] = (
    ("Grant", "grant"),
    ("Engineer", "engineer"),
    ("Case", "case"),
    ("Granted", when("granted_at")),
    ("Over", when("over_at")),
    ("Because", "end_cause"),
    ("Review", "state"),
    ("Reason", "reason"),
)
REVIEW: tuple[Column, ...] = (
    *LISTED[:3],
    ("Reason", "reason"),
    ("Asked", when("asked_at")),
    ("Approved", when("approved_at")),
    ("Approved by", "approved_by"),
    ("Approval note", "approval_note"),
    *LISTED[3:6],
    ("Reads", "reads"),
    ("Ended early", "cut"),
    ("Bundles", "bundles"),
    ("Files", "files"),
    ("Handed over", size("bytes")),
    ("First read", when("first_at")),
    ("Last read", when("last_at")),
    ("Review", "state"),
    ("Reviewed", when("reviewed_at")),
    ("By", "reviewer"),
    ("Note", "note"),
)
_NOTE = f"at most {MAX_NOTE_CHARACTERS} characters"


@click.group(cls=Group)
def reviews() -> None:
    """Reviews of grants that are over: list, show, sign-off, question. For auditors."""


@reviews.command("list", examples=("casevault reviews list", "casevault reviews list --state questioned"))
@click.option("--case", help="Only grants for this case.")
@click.option(
    "--state",
    type=click.Choice([OPEN, *(str(verdict) for verdict in Verdict)]),
    default=OPEN,
    show_default=True,
    help="Only in this state.",
)
@with_limit_of("oldest first")
@with_json
@connected
def list_(client: Client, case: str | None, state: str, limit: int, as_json: bool) -> None:
    """List grants that are over by the state of their review, the oldest first."""
    found = client.items("/reviews", limit or None, case=case, state=state)
    show_items(found, LISTED, as_json, f"no {state} reviews")


@reviews.command("show", examples=("casevault reviews show grn_...",))
@click.argument("grant")
@with_json
@connected
def show(client: Client, grant: str, as_json: bool) -> None:
    """Show a GRANT from request to release: its approval, what was read under it, and what was said of it."""
    show_item(client.get(f"/grants/{segment(grant)}/review"), REVIEW, as_json)


@reviews.command("sign-off", examples=("casevault reviews sign-off grn_...",))
@click.argument("grant")
@click.option("--note", help=f"What to say about it, {_NOTE}.")
@with_json
@connected
def sign_off(client: Client, grant: str, note: str | None, as_json: bool) -> None:
    """Sign a GRANT off. That is final, and never for one's own."""
    _say(client, grant, Verdict.SIGNED_OFF, note, as_json)


@reviews.command(
    "question", examples=("casevault reviews question grn_... --note 'why all of it, at night?'",)
)
@click.argument("grant")
@click.option("--note", required=True, help=f"What is in question, {_NOTE}.")
@with_json
@connected
def question(client: Client, grant: str, note: str, as_json: bool) -> None:
    """Question a GRANT: it stays on the list until it is signed off."""
    _say(client, grant, Verdict.QUESTIONED, note, as_json)


def _say(client: Client, grant: str, verdict: Verdict, note: str | None, as_json: bool) -> None:
    body = {"verdict": verdict.value, "note": note}
    show_item(client.post(f"/grants/{segment(grant)}/review", body), REVIEW, as_json)
