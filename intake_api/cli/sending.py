"""`casevault send`: a file, a folder or a saved bundle to the service, and the receipt back."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from intake_api.cli import tus
from intake_api.cli.client import Client
from intake_api.cli.commands import PATH, RATE, Command, with_json
from intake_api.cli.connection import connected, keys_option, pinned_keys
from intake_api.cli.declaring import collection_options, declared
from intake_api.cli.errors import CliError, ServiceProblem
from intake_api.cli.pace import Pace
from intake_api.cli.parcels import Parcel, digest, parcel
from intake_api.cli.printing import Column, say, show_item, size_of
from intake_api.cli.progress import transfer
from intake_api.cli.receipts import Keys, wait_for_intake, write_receipt
from intake_api.cli.remembered import Remembered
from intake_api.cli.saved import Saved, find_saved, proven
from retention.receipt import Checked

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SAME = frozenset({"case", "type", "stamp", "trigger"})
_LATER = frozenset({"case", "stamp"})
"""What may be said of a saved bundle when it is sent, if it was not known before."""
_LOOK_BACK = 200
_Begun = tuple[str, int]
"""Where an upload stands: its address, and its offset."""


def upload(
    client: Client,
    what: Parcel,
    metadata: dict[str, str],
    begun: _Begun | None,
    place: Remembered,
    pace: Pace,
) -> str:
    """Send it, or the rest of it; the bundle's id."""
    if begun is None:
        begun = tus.create(client, what.size, metadata), 0
    location, offset = begun
    place.keep(location)
    with what.path.open("rb") as source, transfer("sending", what.size) as progress:
        tus.send(client, location, source, what.size, progress, offset=offset, pace=pace)
    place.forget()
    return tus.bundle_of(location)


def begun_before(client: Client, place: Remembered) -> _Begun | None:
    """The upload that this machine began and the service still has."""
    location = place.location()
    if location is None:
        return None
    try:
        kept = tus.offset_of(client, location)
    except ServiceProblem as problem:
        if problem.status not in _GONE:
            raise
        place.forget()  # expired or erased meanwhile
        return None
    return location, kept


def begun_elsewhere(client: Client, what: Parcel, metadata: dict[str, str]) -> _Begun | None:
    """The same saved bundle, wholly or partly at the service, whichever machine sent it: known by its SHA-256."""
    since = datetime.fromisoformat(metadata["time_collected"])
    query = {name: metadata.get(name) for name in ("case", "type", "stamp")}
    found = client.items("/bundles", _LOOK_BACK, **query)
    for item in takewhile(lambda one: datetime.fromisoformat(one["time_collected"]) >= since, found):
        if item["state"] not in ("receiving", "received", "complete") or item["size"] != what.size:
            continue
        try:
            kept, told = tus.kept_of(client, location := f"/uploads/{item['id']}")
        except ServiceProblem:
            continue  # expired meanwhile, or not ours to write to
        if told.get("sha256") == what.sha256:
            return location, kept
    return None


def hold_to(receipt: Checked, bundle: str, size: int, sha256: str) -> None:
    """CliError unless the receipt is about these very bytes."""
    said = {name: receipt.fields.get(name) for name in ("bundle", "size", "sha256")}
    if said != {"bundle": bundle, "size": size, "sha256": sha256}:
        raise CliError("the receipt is about other bytes than the file here holds; send it again")


def _of_saved(saved: Saved, options: dict[str, Any]) -> dict[str, str]:
    """The collection as it was saved; what was not known then may be said now, and nothing else."""
    metadata = dict(saved.collection)
    for name, value in options.items():
        if value in (None, (), False):
            continue
        if name not in _LATER or metadata.setdefault(name, value) != value:
            option = f"--{name.rstrip('_').replace('_', '-')}"
            raise click.UsageError(f"the saved bundle says that itself: leave out {option}, or save it anew")
    return metadata


_EXAMPLES = (
    "casevault send /var/log --case 123456789012345 --logs-start -4h",
    "casevault send /media/usb/node7.zip --stamp stp_...   a bundle that `casevault save` made",
    "casevault send node7.zip --trigger Microsoft.Health.FaultType.StorageError",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@collection_options
@click.option("--no-digest", is_flag=True, help="Do not read the file beforehand to announce its SHA-256.")
@click.option("--limit-rate", type=RATE, help="Send no more bytes a second: 500, 32k, 2M.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the intake receipt.")
@click.option("--receipt", type=PATH, help="Keep the intake receipt in this file.")
@with_json
@keys_option
@connected
def send(
    client: Client,
    source: Path,
    no_digest: bool,
    limit_rate: int | None,
    no_wait: bool,
    receipt: Path | None,
    as_json: bool,
    keys: Path | None,
    **options: Any,
) -> None:
    """Send logs: a file, a folder, or a bundle that `casevault save` made.

    A folder is sent as one zip. The service is asked first whether it would take it; a saved bundle is first held to
    its SHA-256. The upload goes on where it was cut: after a broken line by itself, after a crash or a reboot when the
    same command is run again, and of a saved bundle also what another machine began. At the end the service reads back
    what it stored; its signed receipt is checked here, offline, against the file's own SHA-256.
    """
    if no_wait and receipt is not None:
        raise click.UsageError("--receipt and --no-wait exclude each other: a receipt has to be waited for")
    saved = find_saved(source)
    with nullcontext(proven(saved)) if saved else parcel(source) as what:
        metadata = _of_saved(saved, options) if saved else declared(what.name, options, datetime.now(UTC))
        # Times are announced once: a re-run at another minute is still the same upload.
        same = {name: value for name, value in metadata.items() if name in _SAME}
        folder = Path(click.get_app_dir("casevault")) / "uploads"
        place = Remembered.place(folder, client.server, what.identity, same)
        begun = begun_before(client, place)
        if begun is None and saved:
            begun = begun_elsewhere(client, what, metadata)
        sha256 = what.sha256
        if begun is None:
            tus.preflight(client, what.size, metadata)
            sha256 = sha256 or (None if no_digest else digest(what.path))
        else:
            location, kept = begun
            say(f"going on with {tus.bundle_of(location)}: the service has {_of(kept, what.size)} already")
        announced = {**metadata, **({"sha256": sha256} if sha256 else {})}
        bundle = upload(client, what, announced, begun, place, Pace(limit_rate))
        if no_wait:
            answer = {"bundle": bundle, "size": what.size}
        else:
            answer = _receive(client, what, bundle, pinned_keys(client, keys), sha256, receipt)
    shown: list[Column] = [
        ("Bundle", "bundle"),
        ("Size", lambda item: size_of(item["size"])),
        ("SHA-256", "sha256"),
    ]
    show_item(answer, [*shown, ("Receipt", "checked")], as_json)


def _of(kept: int, size: int) -> str:
    return "all of it" if kept == size else f"{size_of(kept)} of {size_of(size)}"


def _receive(
    client: Client, what: Parcel, bundle: str, keys: Keys, sha256: str | None, keep: Path | None
) -> dict[str, Any]:
    say("sent; waiting for the service to read it back ...")
    own = sha256 or digest(what.path)
    found, document = wait_for_intake(client, bundle, keys)
    hold_to(found, bundle, what.size, own)
    if keep is not None:
        write_receipt(document, keep)
    checked = (
        f"holds: signed, in the log as leaf {found.leaf_index} of {found.tree_size}, and about this very file"
    )
    return {"bundle": bundle, "size": what.size, "sha256": own, "checked": checked}
