"""`casevault receipts`: fetch a receipt, and check one offline, with only the pinned keys."""

from __future__ import annotations

from pathlib import Path

import click

from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.connection import connected, keys_option, pinned_keys, read_keys
from intake_api.cli.options import FILE, Group, with_json
from intake_api.cli.output_file import STDOUT, Output, with_output
from intake_api.cli.print_tables import Column, moment, say, show_item, show_json, size
from intake_api.cli.transfer.receipts import checked, read_receipt, receipt_path, write_receipt
from intake_api.cli.transfer.source import digest
from retention.domain.receipt import INTAKE, Checked

RECEIPT: tuple[Column, ...] = (
    ("Receipt of", lambda item: "intake" if item["format"] == INTAKE else "erasure"),
    ("Bundle", "bundle"),
    ("Confirmation", "confirmation"),
    ("Case", "case"),
    ("Cause", "cause"),
    ("Method", "method"),
    ("Size", size("size")),
    ("SHA-256", "sha256"),
    ("Received", lambda item: moment(item.get("received_at"))),
    ("Read back", lambda item: moment(item.get("verified_at"))),
    ("Requested", lambda item: moment(item.get("requested_at"))),
    ("Proven", lambda item: moment(item.get("proven_at"))),
    ("Bundles", lambda item: [one["bundle"] for one in item.get("bundles", [])]),
    ("Stands in", "stands_in"),
)


@click.group(cls=Group)
def receipts() -> None:
    """Receipts, of intake and of erasure: show, verify."""


_SHOW_EXAMPLES = (
    "casevault receipts show bun_... -o intake.json",
    "casevault receipts show 4821-7739-0156-3304",
)


@receipts.command("show", examples=_SHOW_EXAMPLES)
@click.argument("subject", metavar="BUNDLE|CONFIRMATION")
@with_output("Keep the receipt in this file; - is stdout.")
@with_json
@keys_option
@connected
def show(
    client: Client, subject: str, output: Path | None, force: bool, as_json: bool, keys: Path | None
) -> None:
    """Fetch the receipt of a bundle's intake, or of an erasure by its confirmation number, and check it."""
    place = Output.at(output, force=force)
    document = client.get(receipt_path(subject))
    found = checked(document, pinned_keys(client, keys))
    if document.get("state") == "damaged":
        say(
            f"{subject} has been damaged since: the receipt names what was received, which can no longer be read"
        )
    if output is not None:
        write_receipt(document, place)
        if place.named == STDOUT:
            return  # the receipt is the output
    if as_json:
        show_json(document)
    else:
        _show(found, as_json=False)


@receipts.command(
    "verify", examples=("casevault receipts verify intake.json --keys keys.json --against node7.zip",)
)
@click.argument("receipt", type=FILE)
@click.option(
    "--keys",
    type=FILE,
    required=True,
    envvar="CASEVAULT_KEYS",
    show_envvar=True,
    help="The pinned public keys.",
)
@click.option(
    "--against", type=FILE, help="Also compare an intake receipt with this file's size and SHA-256."
)
@with_json
def verify(receipt: Path, keys: Path, against: Path | None, as_json: bool) -> None:
    """Check a receipt offline: signature, entry, and that the entry is in the signed log."""
    found = checked(read_receipt(receipt), read_keys(keys))
    if against is not None:
        said = (found.fields.get("size"), found.fields.get("sha256"))
        if said != (against.stat().st_size, digest(against)):
            raise CliError(f"the receipt is genuine, but not for {against}: its size or SHA-256 differs")
    say("the receipt is genuine" + (f", and it is for {against}" if against else ""))
    _show(found, as_json)


def _show(found: Checked, as_json: bool) -> None:
    place = f"leaf {found.leaf_index} of the signed log of {found.tree_size}"
    show_item({**found.fields, "stands_in": place}, RECEIPT, as_json)
