"""Commands about cases, tenants and stamps: who is allowed to send, and for what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from audit.times import rfc3339
from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import MOMENT, Group, with_json, with_limit
from intake_api.cli.print_tables import Column, Item, moment, say, show_item, show_items, show_json, when

CASE: tuple[Column, ...] = (
    ("Case", "number"),
    ("State", "state"),
    ("Opened", when("opened_at")),
    ("Data due for erasure", when("deadline")),
)
STAMP: tuple[Column, ...] = (
    ("Stamp", "id"),
    ("Name", "name"),
    ("Identity", "subject"),
    ("Proactive", "proactive"),
    ("Registered", when("registered_at")),
    ("Deregistered", when("deregistered_at")),
)
TENANT: tuple[Column, ...] = (
    ("Tenant", "id"),
    ("Name", "name"),
    ("Directory", "directory"),
    ("Registered", when("registered_at")),
)


def _at(moment_given: datetime | None) -> str | None:
    return rfc3339(moment_given) if moment_given else None


@click.group(cls=Group)
def cases() -> None:
    """Cases: list, show, open, assign, unassign, close, reopen."""


@cases.command("list", examples=("casevault cases list",))
@with_limit
@with_json
@connected
def list_cases(client: Client, limit: int, as_json: bool) -> None:
    """List the cases that you are allowed to see, newest first."""
    show_items(
        client.items("/cases", limit or None), CASE[:3], as_json, "no cases that you are allowed to see"
    )


@cases.command("show", examples=("casevault cases show 123456789012345",))
@click.argument("number")
@with_json
@connected
def show_case(client: Client, number: str, as_json: bool) -> None:
    """Show a case: its history, its engineers, and when its data is due for erasure."""
    show_item(client.get(f"/cases/{segment(number)}"), (*CASE, *_CASE_MORE), as_json)


def _history(case: Item) -> str:
    return ", ".join(f"{event['kind']} {moment(event['effective_at'])}" for event in case.get("history", ()))


def _engineers(case: Item) -> str:
    held: list[Item] = case.get("assignments", [])
    return ", ".join(
        f"{one['subject']} (until {moment(one['unassigned_at'])})"
        if one.get("unassigned_at")
        else str(one["subject"])
        for one in held
    )


_CASE_MORE: tuple[Column, ...] = (("History", _history), ("Engineers", _engineers))


@cases.command("open", examples=("casevault cases open 123456789012345 --directory contoso",))
@click.argument("number")
@click.option("--directory", required=True, help="The customer's directory.")
@click.option("--at", type=MOMENT, help="When it was opened.  [default: now]")
@with_json
@connected
def open_case(client: Client, number: str, directory: str, at: datetime | None, as_json: bool) -> None:
    """Open a case for a customer. For the case system."""
    body = {"number": number, "directory": directory, "opened_at": _at(at)}
    show_item(client.post("/cases", body), CASE, as_json)


@cases.command("assign", examples=("casevault cases assign 123456789012345 alice",))
@click.argument("number")
@click.argument("engineer")
@click.option("--issuer", help="Who vouches for the engineer.  [default: the service's own issuer]")
@with_json
@connected
def assign(client: Client, number: str, engineer: str, issuer: str | None, as_json: bool) -> None:
    """Assign an engineer to a case. For the case system."""
    client.post(f"/cases/{segment(number)}/assignments", {"subject": engineer, "issuer": issuer})
    if as_json:
        show_json({"case": number, "engineer": engineer, "assigned": True})
    say(f"{engineer} is assigned to case {number}")


@cases.command("unassign", examples=("casevault cases unassign 123456789012345 alice",))
@click.argument("number")
@click.argument("engineer")
@click.option("--issuer", help="Who vouches for the engineer.  [default: the service's own issuer]")
@with_json
@connected
def unassign(client: Client, number: str, engineer: str, issuer: str | None, as_json: bool) -> None:
    """Unassign an engineer from a case; their grants for it end at once. For the case system."""
    query = {"subject": engineer, **({"issuer": issuer} if issuer else {})}
    client.call("DELETE", f"/cases/{segment(number)}/assignments", params=query)
    if as_json:
        show_json({"case": number, "engineer": engineer, "assigned": False})
    say(f"{engineer} is not assigned to case {number}; their grants for it have ended")


def _step(client: Client, number: str, verb: str, field: str, at: datetime | None, as_json: bool) -> None:
    show_item(client.post(f"/cases/{segment(number)}/{verb}", {field: _at(at)}), CASE, as_json)


@cases.command("close", examples=("casevault cases close 123456789012345 --at -2h",))
@click.argument("number")
@click.option("--at", type=MOMENT, help="When it was closed, if that was earlier.  [default: now]")
@with_json
@connected
def close(client: Client, number: str, at: datetime | None, as_json: bool) -> None:
    """Close a case: grants end now, its data is erased 90 days after it closed. For the case system."""
    _step(client, number, "close", "closed_at", at, as_json)


@cases.command("reopen", examples=("casevault cases reopen 123456789012345",))
@click.argument("number")
@click.option("--at", type=MOMENT, help="When it was reopened.  [default: now]")
@with_json
@connected
def reopen(client: Client, number: str, at: datetime | None, as_json: bool) -> None:
    """Reopen a case; its deadline is cancelled. For the case system."""
    _step(client, number, "reopen", "reopened_at", at, as_json)


@click.group(cls=Group)
def stamps() -> None:
    """Stamps: register, list, deregister, consent."""


@stamps.command(
    "register", examples=("casevault stamps register 'Rack 1, Oslo' --subject rack-1 --proactive",)
)
@click.argument("name")
@click.option("--subject", required=True, help="The stamp's own identity at the issuer.")
@click.option("--proactive", is_flag=True, help="Consent to proactive collection from this stamp.")
@with_json
@connected
def register_stamp(client: Client, name: str, subject: str, proactive: bool, as_json: bool) -> None:
    """Register a stamp of your own, so that it is allowed to upload. For operators."""
    body = {"name": name, "subject": subject, "proactive": proactive}
    show_item(client.post("/stamps", body), STAMP, as_json)


@stamps.command("list", examples=("casevault stamps list",))
@with_limit
@with_json
@connected
def list_stamps(client: Client, limit: int, as_json: bool) -> None:
    """List the stamps that you are allowed to see, including deregistered ones."""
    show_items(
        client.items("/stamps", limit or None), STAMP, as_json, "no stamps that you are allowed to see"
    )


@stamps.command("deregister", examples=("casevault stamps deregister stp_...",))
@click.argument("stamp")
@with_json
@connected
def deregister_stamp(client: Client, stamp: str, as_json: bool) -> None:
    """End a stamp's registration. What it sent stays until its own deadline. For operators."""
    show_item(client.call("DELETE", f"/stamps/{segment(stamp)}").json(), STAMP, as_json)


_CONSENT_EXAMPLES = ("casevault stamps consent stp_... on", "casevault stamps consent stp_...")


@stamps.command("consent", examples=_CONSENT_EXAMPLES)
@click.argument("stamp")
@click.argument("choice", type=click.Choice(["on", "off"]), required=False)
@with_json
@connected
def stamp_consent(client: Client, stamp: str, choice: str | None, as_json: bool) -> None:
    """Give (on) or revoke (off) consent to proactive collection; without a choice, show its history.

    Revoking stops new proactive uploads at once and leaves what was collected untouched.
    """
    path = f"/stamps/{segment(stamp)}/proactive-consent"
    if choice is not None:
        show_item(client.call("PUT", path, json={"enabled": choice == "on"}).json(), STAMP, as_json)
        return
    history: list[dict[str, Any]] = client.get(path)["items"]
    columns: list[Column] = [("Set", when("set_at")), ("Proactive", "enabled"), ("By", "actor")]
    show_items(history, columns, as_json, f"consent to proactive collection was never set for {stamp}")


@click.group(cls=Group)
def tenants() -> None:
    """Tenants (the customers): register, list."""


@tenants.command("register", examples=("casevault tenants register Contoso --directory contoso",))
@click.argument("name")
@click.option("--directory", required=True, help="The customer's directory at the issuer.")
@with_json
@connected
def register_tenant(client: Client, name: str, directory: str, as_json: bool) -> None:
    """Register a customer. For the service's administrator."""
    show_item(client.post("/tenants", {"name": name, "directory": directory}), TENANT, as_json)


@tenants.command("list", examples=("casevault tenants list",))
@with_limit
@with_json
@connected
def list_tenants(client: Client, limit: int, as_json: bool) -> None:
    """List the customers that you are allowed to see."""
    show_items(
        client.items("/tenants", limit or None), TENANT, as_json, "no tenants that you are allowed to see"
    )
