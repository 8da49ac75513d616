"""Commands about data received by mistake: a bundle in the wrong case, data that nobody should hold."""

from __future__ import annotations

from pathlib import Path

import click

from intake_api.cli.client import Client, segment
from intake_api.cli.commands.access import BUNDLE, ERASURE, carry_erasure
from intake_api.cli.connection import connected, keys_option
from intake_api.cli.options import PATH, Command, with_json
from intake_api.cli.print_tables import show_item


@click.command(
    cls=Command,
    examples=("casevault move bun_... --case 123456789012345 --reason 'the logs are of the other incident'",),
)
@click.argument("bundle")
@click.option("--case", required=True, help="The case that it belongs to.")
@click.option("--reason", required=True, help="Why; the customer can read it.")
@with_json
@connected
def move(client: Client, bundle: str, case: str, reason: str, as_json: bool) -> None:
    """Move a BUNDLE that was sent for the wrong case.

    You must be assigned to both cases. The bundle gets the earlier deadline of the two; grants and consents stay with
    the case that it leaves.
    """
    body = {"case": case, "reason": reason}
    show_item(client.post(f"/bundles/{segment(bundle)}/move", body), BUNDLE, as_json)


_REPORT_EXAMPLES = (
    "casevault report --bundle bun_... --reason 'holds a password file' --receipt erased.json",
    "casevault report --case 123456789012345 --reason 'every bundle holds personal data'",
)


@click.command(cls=Command, examples=_REPORT_EXAMPLES)
@click.option("--bundle", help="The bundle that holds it.")
@click.option("--case", help="Or the case: all its bundles.")
@click.option("--reason", required=True, help="What kind of data was found; do not repeat the data here.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--wait", is_flag=True, help="Wait until the erasure is proven, and check its receipt.")
@click.option("--receipt", type=PATH, help="Keep the erasure receipt in this file (waits for it).")
@with_json
@keys_option
@connected
def report(
    client: Client,
    bundle: str | None,
    case: str | None,
    reason: str,
    yes: bool,
    wait: bool,
    receipt: Path | None,
    as_json: bool,
    keys: Path | None,
) -> None:
    """Report sensitive data that was received inadvertently: it is erased at once.

    For engineers of the case; no grant is needed, and it cannot be undone. The confirmation number comes at once, the
    signed receipt when the erasure is proven.
    """
    erasure = carry_erasure(
        client, "report", case, bundle, reason, yes=yes, wait=wait, receipt=receipt, keys=keys
    )
    show_item(erasure, ERASURE, as_json)
