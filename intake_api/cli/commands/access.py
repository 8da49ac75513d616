"""Commands about bundles and who is allowed to read them: collections, claim, grants, consents, erasure."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client, segment
from intake_api.cli.connection import connected, keys_option, pinned_keys
from intake_api.cli.options import MOMENT, PATH, Command, with_json, with_limit
from intake_api.cli.output_file import Output
from intake_api.cli.print_tables import Column, moment, say, show_item, show_items, size, when
from intake_api.cli.transfer.receipts import wait_for_erasure, write_receipt
from retention.domain.bundle import STATUSES, CollectionType
from retention.domain.grants import LONGEST, SHORTEST

_AS_IT_IS = frozenset({"damaged", "erasing", "erased"})
COLLECTION: tuple[Column, ...] = (
    ("Time collected", when("time_collected")),
    ("Status", lambda item: item["state"] if item["state"] in _AS_IT_IS else item["status"]),
    ("Logs start", when("logs_start")),
    ("Logs end", when("logs_end")),
    ("Type", "type"),
    ("Size", size("size")),
    ("Bundle", "id"),
)
BUNDLE: tuple[Column, ...] = (
    ("Bundle", "id"),
    ("Case", "case"),
    ("State", "state"),
    ("Type", "type"),
    ("Data due for erasure", when("due_at")),
)
GRANT: tuple[Column, ...] = (
    ("Grant", "id"),
    ("Engineer", "engineer"),
    ("Live", "live"),
    ("Granted", when("granted_at")),
    ("Expires", when("expires_at")),
    ("Ended", when("ended_at")),
    ("Because", "end_cause"),
    ("Reason", "reason"),
)
APPROVAL: tuple[Column, ...] = (
    ("Approval", "id"),
    ("Case", "case"),
    ("Engineer", "engineer"),
    ("Company", "partner"),
    ("State", "state"),
    ("Asked", when("asked_at")),
    ("Lapses", when("lapses_at")),
    ("For minutes", "duration_minutes"),
    ("Answered", when("answered_at")),
    ("By", "answered_by"),
    ("Note", "note"),
    ("Grant", "grant"),
    ("Live", "live"),
    ("Reason", "reason"),
)
CONSENT: tuple[Column, ...] = (
    ("Consent", "id"),
    ("Partner", "partner"),
    ("Given", when("given_at")),
    ("Expires", when("expires_at")),
    ("Revoked", when("revoked_at")),
    ("Bundles", lambda item: item.get("bundles") or "all of the case"),
)
ERASURE: tuple[Column, ...] = (
    ("Confirmation", "confirmation"),
    ("Scope", "scope"),
    ("Cause", "cause"),
    ("State", "state"),
    ("Requested", when("requested_at")),
    ("Proven", when("proven_at")),
    ("Refused again until", when("resend_until")),
)


@click.command(
    cls=Command, examples=("casevault collections", "casevault collections --case 123456789012345")
)
@click.option("--case", help="Only collections of this case.")
@click.option("--stamp", help="Only collections from this stamp.")
@click.option(
    "--type", "type_", type=click.Choice([str(kind) for kind in CollectionType]), help="Only this type."
)
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only this status.")
@click.option("--unclaimed", is_flag=True, help="Only collections that no case has claimed.")
@with_limit
@with_json
@connected
def collections(
    client: Client,
    case: str | None,
    stamp: str | None,
    type_: str | None,
    status: str | None,
    unclaimed: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List the collection history, newest first."""
    query = {
        "case": case,
        "stamp": stamp,
        "type": type_,
        "status": status,
        "unclaimed": 1 if unclaimed else None,
    }
    found = client.items("/bundles", limit or None, **query)
    show_items(found, COLLECTION, as_json, "no matching collections that you are allowed to see")


@click.command(cls=Command, examples=("casevault claim bun_... --case 123456789012345",))
@click.argument("bundle")
@click.option("--case", required=True, help="The case to claim it for.")
@with_json
@connected
def claim(client: Client, bundle: str, case: str, as_json: bool) -> None:
    """Claim a proactive bundle for a case assigned to you."""
    show_item(client.post(f"/bundles/{segment(bundle)}/claim", {"case": case}), BUNDLE, as_json)


@click.command(
    cls=Command,
    examples=(
        "casevault grant 123456789012345 --reason 'storage volume offline, looking at node 7' --hours 2",
    ),
)
@click.argument("case")
@click.option("--reason", required=True, help="Why you need the data; the customer can read it.")
@click.option(
    "--hours", type=float, default=8.0, show_default=True, help="How long the grant lasts: 0.25 to 24."
)
@with_json
@connected
def grant(client: Client, case: str, reason: str, hours: float, as_json: bool) -> None:
    """Grant yourself read-only access to a CASE.

    You must be assigned to it, and the customer can read your reason. Where the customer wants to be asked first, this
    asks: `casevault approvals show` tells of the answer, and the grant begins with it.
    """
    if not SHORTEST.total_seconds() <= hours * 3600 <= LONGEST.total_seconds():  # nan is neither
        raise click.UsageError(f"--hours takes 0.25 (15 minutes) to 24, not {hours:g}")
    body = {"reason": reason, "duration_minutes": round(hours * 60)}
    given = client.post(f"/cases/{segment(case)}/grants", body)
    if "lapses_at" not in given:
        show_item(given, GRANT, as_json)
        return
    show_item(given, APPROVAL, as_json)
    say(f"nothing is granted yet: the customer is asked, and can answer until {moment(given['lapses_at'])}")


@click.command(cls=Command, examples=("casevault grants 123456789012345",))
@click.argument("case")
@with_limit
@with_json
@connected
def grants(client: Client, case: str, limit: int, as_json: bool) -> None:
    """List the grants of a CASE, including ended ones."""
    found = client.items(f"/cases/{segment(case)}/grants", limit or None)
    show_items(found, GRANT, as_json, f"no grants for case {case} that you are allowed to see")


@click.command(cls=Command, examples=("casevault release grn_...",))
@click.argument("grant_id", metavar="GRANT")
@with_json
@connected
def release(client: Client, grant_id: str, as_json: bool) -> None:
    """Give your own GRANT back before it expires."""
    show_item(client.post(f"/grants/{segment(grant_id)}/release"), GRANT, as_json)


@click.command(cls=Command, examples=("casevault revoke grn_...", "casevault revoke con_..."))
@click.argument("what", metavar="GRANT|CONSENT")
@with_json
@connected
def revoke(client: Client, what: str, as_json: bool) -> None:
    """Revoke a grant or a consent.

    A revoked consent also ends every grant under it; reads stop within seconds. For operators.
    """
    kinds = {"grn_": ("grants", GRANT), "con_": ("consents", CONSENT)}
    if what[:4] not in kinds:
        raise click.BadParameter(
            f"must be a grant (grn_...) or a consent (con_...), not {what!r}", param_hint="GRANT|CONSENT"
        )
    kind, columns = kinds[what[:4]]
    show_item(client.post(f"/{kind}/{segment(what)}/revoke"), columns, as_json)


@click.command(cls=Command, examples=("casevault consent 123456789012345 --partner oem --days 14",))
@click.argument("case")
@click.option("--partner", required=True, help="The partner company to let in.")
@click.option("--until", type=MOMENT, help="When the consent expires.")
@click.option("--days", type=click.IntRange(1, 365), help="Or: how many days from now it expires.")
@click.option("--bundle", "bundles", multiple=True, help="Only this bundle; may be repeated.  [default: all]")
@with_json
@connected
def consent(
    client: Client,
    case: str,
    partner: str,
    until: datetime | None,
    days: int | None,
    bundles: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a partner's engineers read a CASE of yours. For operators."""
    if (until is None) == (days is None):
        raise click.UsageError("give exactly one of --until and --days")
    end = until or datetime.now(UTC) + timedelta(days=days or 0)
    body = {"partner": partner, "expires_at": rfc3339(end), "bundles": list(bundles) or None}
    show_item(client.post(f"/cases/{segment(case)}/consents", body), CONSENT, as_json)


@click.command(cls=Command, examples=("casevault consents 123456789012345",))
@click.argument("case")
@with_limit
@with_json
@connected
def consents(client: Client, case: str, limit: int, as_json: bool) -> None:
    """List the consents of a CASE, including revoked ones."""
    found = client.items(f"/cases/{segment(case)}/consents", limit or None)
    show_items(found, CONSENT, as_json, f"no consents for case {case} that you are allowed to see")


def carry_erasure(
    client: Client,
    what: str,
    case: str | None,
    bundle: str | None,
    reason: str | None,
    *,
    yes: bool,
    wait: bool,
    receipt: Path | None,
    keys: Path | None,
) -> dict[str, Any]:
    """Have a case or a bundle erased through `/{what}` once the user confirms; wait for the proof if asked to."""
    if (case is None) == (bundle is None):
        raise click.UsageError("give exactly one of --case and --bundle")
    place = None if receipt is None else Output.at(receipt)
    data = f"case {case}" if case else f"bundle {bundle}"
    if not yes:
        if not sys.stdin.isatty():
            raise CliError(f"erasing {data} cannot be undone: add --yes to confirm without a terminal")
        if not click.confirm(f"Erase all data of {data}? This cannot be undone.", err=True):
            raise CliError("nothing was erased")
    path = f"/cases/{segment(case)}" if case else f"/bundles/{segment(bundle or '')}"
    erasure = client.post(f"{path}/{what}", {"reason": reason})
    if wait or place is not None:
        say(f"confirmation number {erasure['confirmation']}; waiting for the proof ...")
        _, document = wait_for_erasure(client, erasure["confirmation"], pinned_keys(client, keys))
        if place is not None:
            write_receipt(document, place)
        erasure = client.get(f"/erasures/{segment(erasure['confirmation'])}")
        say("the receipt is genuine: signed, and in the log")
    return dict(erasure)


_ERASE_EXAMPLES = (
    "casevault erase --case 123456789012345",
    "casevault erase --bundle bun_... --yes --wait --receipt erased.json",
)


@click.command(cls=Command, examples=_ERASE_EXAMPLES)
@click.option("--case", help="Erase all the data of this case.")
@click.option("--bundle", help="Erase this bundle only.")
@click.option("--reason", help="Why; required from engineers who erase for the customer.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--wait", is_flag=True, help="Wait until the erasure is proven, and check its receipt.")
@click.option("--receipt", type=PATH, help="Keep the erasure receipt in this file (waits for it).")
@with_json
@keys_option
@connected
def erase(
    client: Client,
    case: str | None,
    bundle: str | None,
    reason: str | None,
    yes: bool,
    wait: bool,
    receipt: Path | None,
    as_json: bool,
    keys: Path | None,
) -> None:
    """Erase data now: all of a case, or one bundle.

    This cannot be undone. The confirmation number comes at once, the signed receipt when the erasure is proven.
    """
    erasure = carry_erasure(
        client, "erasures", case, bundle, reason, yes=yes, wait=wait, receipt=receipt, keys=keys
    )
    show_item(erasure, ERASURE, as_json)
