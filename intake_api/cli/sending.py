"""`casevault send`: a file, a folder or a locally saved bundle to the service, and the receipt back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from audit.times import rfc3339
from intake_api.cli import tus
from intake_api.cli.client import Client
from intake_api.cli.commands import MOMENT, PATH, Command, with_json
from intake_api.cli.connection import connected, keys_option, pinned_keys
from intake_api.cli.errors import CliError, ServiceProblem
from intake_api.cli.packing import packed
from intake_api.cli.printing import Column, say, show_item, size_of
from intake_api.cli.progress import transfer
from intake_api.cli.receipts import Keys, wait_for_intake, write_receipt
from intake_api.cli.remembered import Remembered, file_identity
from retention.bundle import CollectionType
from retention.receipt import Checked

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SAME = frozenset({"case", "type", "stamp", "trigger"})
_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent: a file on this machine, the name it gets, and what tells it from others."""

    path: Path
    name: str
    identity: str
    sha256: str | None = None  # when it is known already
    size: int = field(init=False)

    def __post_init__(self) -> None:
        size = self.path.stat().st_size
        if not size:
            raise CliError(f"{self.name} is empty: there is nothing to send")
        object.__setattr__(self, "size", size)


@contextmanager
def parcel(source: Path) -> Iterator[Parcel]:
    """The file itself, or the folder packed into a temporary zip."""
    if source.is_file():
        yield Parcel(source, source.name, file_identity(source))
        return
    say(f"packing {source} ...")
    with packed(source) as zipped:
        for name, why in zipped.left_out:
            say(f"left out: {name}: {why}")
        if not zipped.files:
            raise CliError(f"the folder {source} holds no file that can be read")
        # The zip is made anew each time, so its content alone says whether it is the same.
        sha256 = digest(zipped.path)
        yield Parcel(zipped.path, f"{source.resolve().name or 'bundle'}.zip", sha256, sha256)


def digest(path: Path) -> str:
    """The file's SHA-256, in hex."""
    hashing = hashlib.sha256()
    with path.open("rb") as file, transfer("reading", path.stat().st_size, stays=False) as done:
        while piece := file.read(_HASHED_AT_ONCE):
            hashing.update(piece)
            done(file.tell())
    return hashing.hexdigest()


def upload(client: Client, what: Parcel, metadata: dict[str, str], folder: Path) -> str:
    """Send it, or the rest of it; the bundle's id."""
    # Times are announced once: a re-run at another minute is still the same upload.
    same = {name: value for name, value in metadata.items() if name in _SAME}
    place = Remembered.place(folder, client.server, what.identity, same)
    location = _begun_before(client, place)
    if location is None:
        location = tus.create(client, what.size, metadata)
        place.keep(location)
    with what.path.open("rb") as source, transfer("sending", what.size) as progress:
        tus.send(client, location, source, what.size, progress)
    place.forget()
    return tus.bundle_of(location)


def _begun_before(client: Client, place: Remembered) -> str | None:
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
    say(f"going on with {tus.bundle_of(location)}: the service has {size_of(kept)} already")
    return location


def hold_to(receipt: Checked, bundle: str, size: int, sha256: str) -> None:
    """CliError unless the receipt is about these very bytes."""
    said = {name: receipt.fields.get(name) for name in ("bundle", "size", "sha256")}
    if said != {"bundle": bundle, "size": size, "sha256": sha256}:
        raise CliError("the receipt is about other bytes than the file here holds; send it again")


def _metadata(what: Parcel, options: dict[str, Any], now: datetime) -> dict[str, str]:
    kind = options["type_"] or (CollectionType.PROACTIVE if options["trigger"] else CollectionType.ON_DEMAND)
    collected = options["collected"] or now
    end = options["logs_end"] or collected
    start = options["logs_start"] or end - timedelta(hours=4)
    told = {
        "filename": what.name,
        "type": str(kind),
        "logs_start": rfc3339(start),
        "logs_end": rfc3339(end),
        "time_collected": rfc3339(collected),
        "trigger": options["trigger"],
        "roles": ",".join(options["roles"]),
        "case": options["case"],
        "stamp": options["stamp"],
        "send_logs_now": "1" if options["send_logs_now"] else None,
        "sha256": what.sha256 or (None if options["no_digest"] else digest(what.path)),
    }
    return {name: value for name, value in told.items() if value}


_EXAMPLES = (
    "casevault send /var/log --case 123456789012345 --logs-start -4h",
    "casevault send saved-bundle.zip --case 123456789012345 --stamp stp_... --collected 2026-11-20T14:00Z",
    "casevault send node7.zip --trigger Microsoft.Health.FaultType.StorageError",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--case", help="Case number that the logs are for; needed unless the collection is proactive.")
@click.option(
    "--type",
    "type_",
    type=click.Choice([str(kind) for kind in CollectionType]),
    help="What started the collection.  [default: proactive with --trigger, else on-demand]",
)
@click.option(
    "--logs-start", type=MOMENT, help="Start of the logs: a time, or -4h.  [default: 4 h before the end]"
)
@click.option("--logs-end", type=MOMENT, help="End of the logs.  [default: when they were collected]")
@click.option("--collected", type=MOMENT, help="When they were collected.  [default: now]")
@click.option("--trigger", metavar="FAULTIDTYPE", help="The alert that started a proactive collection.")
@click.option(
    "--roles", "roles", multiple=True, metavar="ROLE", help="Role that the logs are of; repeat for more."
)
@click.option("--stamp", help="Stamp that the logs are of; for operators (a stamp sends its own).")
@click.option(
    "--send-logs-now", is_flag=True, help="Hold the collection to 'Send logs now': 1 to 4 h, last week."
)
@click.option("--no-digest", is_flag=True, help="Do not read the file beforehand to announce its SHA-256.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the intake receipt.")
@click.option("--receipt", type=PATH, help="Keep the intake receipt in this file.")
@with_json
@keys_option
@connected
def send(
    client: Client,
    source: Path,
    no_wait: bool,
    receipt: Path | None,
    as_json: bool,
    keys: Path | None,
    **options: Any,
) -> None:
    """Send logs: a file, a folder, or a bundle saved locally.

    A folder is sent as one zip. The upload goes on where it was cut: after a broken line by itself, after a crash or a
    reboot when the same command is run again. At the end the service reads back what it stored; its signed receipt is
    checked here, offline, against the file's own SHA-256.
    """
    if no_wait and receipt is not None:
        raise click.UsageError("--receipt and --no-wait exclude each other: a receipt has to be waited for")
    with parcel(source) as what:
        metadata = _metadata(what, options, datetime.now(UTC))
        bundle = upload(client, what, metadata, Path(click.get_app_dir("casevault")) / "uploads")
        if no_wait:
            answer = {"bundle": bundle, "size": what.size}
        else:
            answer = _receive(
                client, what, bundle, pinned_keys(client, keys), metadata.get("sha256"), receipt
            )
    shown: list[Column] = [
        ("Bundle", "bundle"),
        ("Size", lambda item: size_of(item["size"])),
        ("SHA-256", "sha256"),
    ]
    show_item(answer, [*shown, ("Receipt", "checked")], as_json)


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
