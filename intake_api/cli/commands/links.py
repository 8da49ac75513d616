"""Commands about upload links, for senders without a token: issue, list, renew, revoke, check."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import click

from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError, ServiceProblem
from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import MOMENT, Group, with_json, with_limit
from intake_api.cli.print_tables import Column, say, show_item, show_items, show_json, when
from intake_api.cli.transfer.blob import UNSEEN, VERSION, Link, read_problem
from retention.domain.upload_link import DEFAULT_PERMISSIONS, LONGEST

LINK: tuple[Column, ...] = (
    ("Link", "id"),
    ("Stamp", "stamp"),
    ("Case", "case"),
    ("Permissions", "permissions"),
    ("Starts", when("starts_at")),
    ("Expires", when("expires_at")),
    ("Revoked", when("revoked_at")),
)


_HAND_OVER = "the address is stored nowhere: hand it over as you would a password"


@click.group(cls=Group)
def links() -> None:
    """Upload links, for senders without a token: issue, list, renew, revoke, check."""


def _place(case: str | None, stamp: str | None) -> str:
    if case is not None:
        return f"/cases/{segment(case)}/upload-links"
    if stamp is not None:
        return f"/stamps/{segment(stamp)}/upload-links"
    raise click.UsageError("give exactly one of --case and --stamp")


@links.command(
    "issue",
    examples=(
        "casevault links issue --case 123456789012345 --days 7",
        "casevault links issue --stamp stp_... --days 730 --trigger Microsoft.Health.FaultType.StorageError",
    ),
)
@click.option("--case", help="Case to send for.")
@click.option("--stamp", help="Stamp that sends; without --case, the link is for its proactive collections.")
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST.days),
    default=30,
    show_default=True,
    help="How long it is valid.",
)
@click.option("--starts", type=MOMENT, help="When it becomes valid.  [default: now]")
@click.option(
    "--permissions",
    default=DEFAULT_PERMISSIONS,
    show_default=True,
    help="Any of r (see own uploads and receipts), c (create), w (write), d (abandon incomplete uploads), l (list).",
)
@click.option("--ip", help="Only from this address, or from a range FIRST-LAST.")
@click.option("--trigger", metavar="FAULTIDTYPE", help="The alert; required with --stamp alone.")
@click.option(
    "--roles",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="Infrastructure role the logs come from; may be repeated.",
)
@with_json
@connected
def issue(
    client: Client,
    case: str | None,
    stamp: str | None,
    days: int,
    starts: datetime | None,
    permissions: str,
    ip: str | None,
    trigger: str | None,
    roles: tuple[str, ...],
    as_json: bool,
) -> None:
    """Issue a link. Its address is shown only now, and lets in whoever has it.

    For a customer's operator; for an engineer, for a case they are assigned to; for a stamp, for itself.
    """
    told: dict[str, Any] = {
        "expires_at": rfc3339(datetime.now(UTC) + timedelta(days=days)),
        "starts_at": rfc3339(starts) if starts else None,
        "permissions": permissions,
        "ip": ip,
        "trigger": trigger,
        "roles": ",".join(roles) or None,
        "stamp": stamp if case else None,
        "type": "proactive" if case and trigger else None,
    }
    made = client.post(_place(case, stamp), told)
    show_item(made, (*LINK[:-1], ("Address", "url")), as_json)
    say(_HAND_OVER)


@links.command("list", examples=("casevault links list --case 123456789012345",))
@click.option("--case", help="The case to list links of.")
@click.option("--stamp", help="The stamp to list links of.")
@with_limit
@with_json
@connected
def list_links(client: Client, case: str | None, stamp: str | None, limit: int, as_json: bool) -> None:
    """List the links of a case or of a stamp, newest first, including revoked and expired ones."""
    show_items(client.items(_place(case, stamp), limit or None), LINK, as_json, "there are no links")


@links.command("renew", examples=("casevault links renew lnk_... --days 7",))
@click.argument("link")
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST.days),
    default=30,
    show_default=True,
    help="How long it is valid from now on.",
)
@with_json
@connected
def renew(client: Client, link: str, days: int, as_json: bool) -> None:
    """Renew a link, also one that has expired. Its new address is shown only now.

    The container stays the same, so what was sent is there, and a cut upload resumes with the new address:
    `casevault send`, `azcopy jobs resume JOB --destination-sas=...`, an SDK by the block list. The old address expires
    at its own time. A revoked link cannot be renewed.
    """
    told = {"expires_at": rfc3339(datetime.now(UTC) + timedelta(days=days))}
    made = client.post(f"/upload-links/{segment(link)}/renew", told)
    show_item(made, (*LINK[:-1], ("Address", "url")), as_json)
    say(_HAND_OVER)


@links.command("revoke", examples=("casevault links revoke lnk_...",))
@click.argument("link")
@with_json
@connected
def revoke(client: Client, link: str, as_json: bool) -> None:
    """Revoke a link at once; an upload running through it is stopped."""
    show_item(client.post(f"/upload-links/{segment(link)}/revoke", {}), LINK, as_json)


def _tried(client: Client, address: str) -> Mapping[str, Any]:
    """Ask the Blob endpoint about the link's container, with nothing but the link; this changes nothing."""
    link = Link.parse(address)
    ends = parse_qs(link.query).get("se", [""])[0]
    found = {"accepted": True, "link": link.name, "expires_at": ends, "reason": None, "detail": None}
    try:
        there = client.elsewhere(link.server, read_problem)
        there.call("GET", f"{link.container}?restype=container&{link.query}", headers=VERSION)
    except ServiceProblem as problem:
        if problem.code != UNSEEN:  # a link with write permission alone is not shown its container
            return {**found, "accepted": False, "reason": problem.code, "detail": str(problem)}
    return found


@links.command("check", examples=("CASEVAULT_LINK='https://host/lnk-...?sv=...' casevault links check",))
@click.option("--link", required=True, envvar="CASEVAULT_LINK", show_envvar=True, help="The pasted address.")
@with_json
@connected
def check(client: Client, link: str, as_json: bool) -> None:
    """Check whether a stamp could send through a pasted address. Ends with an error that says why if it could not.

    With a token the service is asked about the address; without one the address itself is tried.
    """
    found = client.post("/upload-links/check", {"url": link}) if client.has_token else _tried(client, link)
    if as_json:
        show_json(found)
    if not found["accepted"]:
        raise CliError(f"this link would not work: {found['detail']} ({found['reason']})")
    if not as_json:
        show_item(found, (("Link", "link"), ("Expires", when("expires_at"))), as_json)
