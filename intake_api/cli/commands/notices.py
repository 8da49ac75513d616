"""Commands about notices: receivers added, listed, tested and removed, and what became of each message."""

from __future__ import annotations

import click

from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import Group, with_json, with_limit
from intake_api.cli.print_tables import Column, say, show_item, show_items, when
from retention.domain.notice import Way

RECEIVER: tuple[Column, ...] = (
    ("Receiver", "id"),
    ("By", "way"),
    ("Address", "address"),
    ("State", "state"),
    ("Last failure", "failure"),
    ("Last delivery", when("delivered_at")),
    ("Waiting", "waiting"),
    ("Given up", "given_up"),
)
NOTICE: tuple[Column, ...] = (
    ("Notice", "id"),
    ("Kind", "kind"),
    ("Case", "case"),
    ("When", when("at")),
    ("State", "state"),
    ("Tries", "tries"),
    ("Last failure", "failure"),
    ("Ended", when("ended_at")),
)


@click.group(cls=Group)
def notices() -> None:
    """Notices by mail and webhook: add, receivers, list, test, remove."""


@notices.command(
    "add",
    examples=(
        "casevault notices add --mail security@example.com",
        "casevault notices add --webhook https://hooks.example.com/casevault",
    ),
)
@click.option("--mail", metavar="ADDRESS", help="Send them by mail to this address.")
@click.option("--webhook", metavar="URL", help="Post them to this https address, signed.")
@click.option("--mine", is_flag=True, help="For engineers: tell you the answers to your own requests.")
@with_json
@connected
def add(client: Client, mail: str | None, webhook: str | None, mine: bool, as_json: bool) -> None:
    """Add a receiver of your customer's notices. For operators; with --mine, of your own, for engineers.

    The secret that signs a webhook's messages is shown only now. The other receivers are told that one was added.
    """
    if (mail is None) == (webhook is None):
        raise click.UsageError("give exactly one of --mail and --webhook")
    way, address = (Way.MAIL, mail) if webhook is None else (Way.WEBHOOK, webhook)
    added = client.post("/notice-receivers", {"way": way.value, "address": address, "mine": mine})
    secret: tuple[Column, ...] = () if added["secret"] is None else (("Secret", "secret"),)
    show_item(added, (*RECEIVER[:4], *secret), as_json)
    if added["secret"] is not None:
        say("the secret is not shown again: give it to the program that checks the signatures")


@notices.command("receivers", examples=("casevault notices receivers",))
@with_limit
@with_json
@connected
def receivers(client: Client, limit: int, as_json: bool) -> None:
    """List the receivers, newest first, and how sending to each goes."""
    show_items(client.items("/notice-receivers", limit or None), RECEIVER, as_json, "there are no receivers")


@notices.command("list", examples=("casevault notices list rcv_...",))
@click.argument("receiver")
@with_limit
@with_json
@connected
def list_(client: Client, receiver: str, limit: int, as_json: bool) -> None:
    """List the notices for one RECEIVER, newest first, and what became of each."""
    found = client.items(f"/notice-receivers/{segment(receiver)}/notices", limit or None)
    show_items(found, NOTICE, as_json, "there are no notices for it")


@notices.command("test", examples=("casevault notices test rcv_...",))
@click.argument("receiver")
@with_json
@connected
def test(client: Client, receiver: str, as_json: bool) -> None:
    """Have a test sent to a RECEIVER; `casevault notices list` shows what became of it."""
    show_item(client.post(f"/notice-receivers/{segment(receiver)}/test", {}), RECEIVER, as_json)


@notices.command("remove", examples=("casevault notices remove rcv_...",))
@click.argument("receiver")
@with_json
@connected
def remove(client: Client, receiver: str, as_json: bool) -> None:
    """Remove a RECEIVER: nothing more is sent to it, and its address is forgotten. The other receivers are told."""
    show_item(client.call("DELETE", f"/notice-receivers/{segment(receiver)}").json(), RECEIVER[:4], as_json)
