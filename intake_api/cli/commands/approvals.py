"""Commands about approval of access: requests listed, shown, answered, withdrawn; the customer's policy."""

from __future__ import annotations

import click

from intake_api.cli.client import Client, segment
from intake_api.cli.commands.access import APPROVAL
from intake_api.cli.connection import connected
from intake_api.cli.options import Group, with_json, with_limit
from intake_api.cli.print_tables import Column, show_item, show_items, when
from retention.domain.approval import MAX_NOTE_CHARACTERS, Rule, State
from retention.domain.grants import LONGEST, SHORTEST

_HIDDEN = ("Company", "Lapses", "By", "Note", "Grant")
_LISTED = tuple(column for column in APPROVAL if column[0] not in _HIDDEN)
POLICY: tuple[Column, ...] = (
    ("Rule", "rule"),
    ("Chosen by", "of"),
    (
        "Long is more than (minutes)",
        lambda item: item["long_minutes"] if item["rule"] == Rule.OWN_CASES else None,
    ),
    ("Since", when("set_at")),
    ("Asked for you", "asks"),
)
_note = click.option("--note", help=f"What to say about it, at most {MAX_NOTE_CHARACTERS} characters.")


@click.group(cls=Group)
def approvals() -> None:
    """Approval of access: list, show, give, decline, withdraw, policy."""


@approvals.command("list", examples=("casevault approvals list --state asked",))
@click.option("--case", help="Only requests for this case.")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only in this state.")
@with_limit
@with_json
@connected
def list_(client: Client, case: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List requests for approval, newest first: your own, or those to your customer."""
    found = client.items("/approvals", limit or None, case=case, state=state)
    show_items(found, _LISTED, as_json, "no requests that you are allowed to see")


@approvals.command("show", examples=("casevault approvals show apr_...",))
@click.argument("approval")
@with_json
@connected
def show(client: Client, approval: str, as_json: bool) -> None:
    """Show one request, and what became of it."""
    show_item(client.get(f"/approvals/{segment(approval)}"), APPROVAL, as_json)


@approvals.command("give", examples=("casevault approvals give apr_... --note 'until tonight only'",))
@click.argument("approval")
@_note
@with_json
@connected
def give(client: Client, approval: str, note: str | None, as_json: bool) -> None:
    """Give an approval: the engineer's grant begins now. For operators."""
    _answer(client, approval, "approve", note, as_json)


@approvals.command("decline", examples=("casevault approvals decline apr_... --note 'call us first'",))
@click.argument("approval")
@_note
@with_json
@connected
def decline(client: Client, approval: str, note: str | None, as_json: bool) -> None:
    """Decline a request: nothing is granted. For operators."""
    _answer(client, approval, "decline", note, as_json)


@approvals.command("withdraw", examples=("casevault approvals withdraw apr_...",))
@click.argument("approval")
@_note
@with_json
@connected
def withdraw(client: Client, approval: str, note: str | None, as_json: bool) -> None:
    """Withdraw your own request; or, as an operator, an approval: its grant ends, and reads stop within seconds."""
    _answer(client, approval, "withdraw", note, as_json)


@approvals.command(
    "policy",
    examples=(
        "casevault approvals policy",
        "casevault approvals policy --rule own-cases --long-hours 4",
        "casevault approvals policy --case 123456789012345 --rule ask",
    ),
)
@click.option("--case", help="Of this case alone.  [default: of all cases without a choice of their own]")
@click.option(
    "--rule",
    type=click.Choice([str(rule) for rule in Rule]),
    help="Choose: see (never asked), own-cases (unless it is the owner's, and not long), ask (always), or, with "
    "--case, inherited.",
)
@click.option("--long-hours", type=float, help="With own-cases: a longer grant is asked for.  [default: 8]")
@with_json
@connected
def policy(
    client: Client, case: str | None, rule: str | None, long_hours: float | None, as_json: bool
) -> None:
    """Show when the customer is asked before somebody reads, or with --rule choose. Choosing is for operators."""
    path = "/approval-policy" if case is None else f"/cases/{segment(case)}/approval-policy"
    if rule is None:
        if long_hours is not None:
            raise click.UsageError("--long-hours chooses: give --rule own-cases with it")
        show_item(client.get(path), POLICY, as_json)
        return
    hours = LONGEST.total_seconds() / 3600 if long_hours is None else long_hours
    if not SHORTEST.total_seconds() <= hours * 3600 <= LONGEST.total_seconds():  # nan is neither
        raise click.UsageError(f"--long-hours takes 0.25 (15 minutes) to 24, not {hours:g}")
    body = {"rule": rule, **({} if long_hours is None else {"long_minutes": round(long_hours * 60)})}
    show_item(client.call("PUT", path, json=body).json(), POLICY, as_json)


def _answer(client: Client, approval: str, how: str, note: str | None, as_json: bool) -> None:
    answered = client.post(f"/approvals/{segment(approval)}/{how}", {"note": note})
    show_item(answered, APPROVAL, as_json)
