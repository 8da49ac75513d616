"""`casevault send`: a file, a folder, a saved bundle or a pipe to the service, and the receipt back.

With a token it sends over tus (`with_token`), with an upload link over the Blob endpoint (`through_link`); a pipe
either way (`piped`). The options that declare a collection are the same for `send` and for `save`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from click.decorators import FC

from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.connection import DEFAULT_SERVER, connected, keys_option, pinned_keys
from intake_api.cli.options import MOMENT, PATH, RATE, ResumableCommand, with_json
from intake_api.cli.output_file import Output
from intake_api.cli.print_tables import Column, say, show_item, size_of
from intake_api.cli.transfer import piped, through_link, with_token
from intake_api.cli.transfer.blob import Blob, Link
from intake_api.cli.transfer.offline_bundle import Saved, find_saved, proven
from intake_api.cli.transfer.rate import Pace
from intake_api.cli.transfer.receipts import hold_to, wait_for_intake, words, write_receipt
from intake_api.cli.transfer.remembered import Remembered
from intake_api.cli.transfer.source import SendJob, digest, open_source
from retention.domain.bundle import Collection, CollectionType, Triggers, check_collection

_OPTIONS = (
    click.option(
        "--case", help="Case number that the logs are for; required unless the collection is proactive."
    ),
    click.option(
        "--type",
        "type_",
        type=click.Choice([str(kind) for kind in CollectionType]),
        help="What started the collection.  [default: proactive with --trigger, else on-demand]",
    ),
    click.option(
        "--logs-start", type=MOMENT, help="Start of the logs: a time, or -4h.  [default: 4 h before the end]"
    ),
    click.option("--logs-end", type=MOMENT, help="End of the logs.  [default: when they were collected]"),
    click.option("--collected", type=MOMENT, help="When they were collected.  [default: now]"),
    click.option("--trigger", metavar="FAULTIDTYPE", help="The alert that started a proactive collection."),
    click.option(
        "--roles",
        "roles",
        multiple=True,
        metavar="ROLE",
        help="Infrastructure role the logs come from; may be repeated.",
    ),
    click.option("--stamp", help="Stamp the logs come from; for operators (a stamp sends its own)."),
    click.option(
        "--send-logs-now",
        is_flag=True,
        help="Apply the limits of 'Send logs now': 1 to 4 h, from the last week.",
    ),
)


def collection_options(command: FC) -> FC:
    """Add the options that declare a collection, above the command's own."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def declared(name: str, options: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """Build the collection of the file `name`, by the keys of Upload-Metadata; what was not given is left out."""
    kind = options["type_"] or (CollectionType.PROACTIVE if options["trigger"] else CollectionType.ON_DEMAND)
    collected = options["collected"] or now
    end = options["logs_end"] or collected
    start = options["logs_start"] or end - timedelta(hours=4)
    told = {
        "filename": name,
        "type": str(kind),
        "logs_start": rfc3339(start),
        "logs_end": rfc3339(end),
        "time_collected": rfc3339(collected),
        "trigger": options["trigger"],
        "roles": ",".join(options["roles"]),
        "case": options["case"],
        "stamp": options["stamp"],
        "send_logs_now": "1" if options["send_logs_now"] else None,
    }
    return {key: value for key, value in told.items() if value}


def check_declared(metadata: Mapping[str, str], size: int, now: datetime) -> None:
    """Raise Invalid for what no service would accept; known triggers and size limits are each service's own."""
    trigger = metadata.get("trigger")
    collection = Collection(
        type=CollectionType(metadata["type"]),
        logs_start=datetime.fromisoformat(metadata["logs_start"]),
        logs_end=datetime.fromisoformat(metadata["logs_end"]),
        time_collected=datetime.fromisoformat(metadata["time_collected"]),
        file_name=metadata["filename"],
        size=size,
        trigger=trigger,
        send_logs_now="send_logs_now" in metadata,
    )
    check_collection(collection, Triggers({trigger: ""} if trigger else {}), size, now)


STANDARD_INPUT = Path("-")
_SAME = frozenset({"case", "type", "stamp", "trigger"})
_LATER = frozenset({"case", "stamp"})
"""The options that a saved bundle may still be given when it is sent, if it was saved without them."""
_WAITING = "sent; waiting for the service to read it back ..."
_SHOWN: tuple[Column, ...] = (
    ("Bundle", "bundle"),
    ("Size", lambda item: size_of(item["size"])),
    ("SHA-256", "sha256"),
    ("Receipt", "checked"),
)


def _of_saved(saved: Saved, options: dict[str, Any]) -> dict[str, str]:
    """Return the collection as saved; only what was not known then may be added now."""
    metadata = dict(saved.collection)
    for name, value in options.items():
        if value in (None, (), False):
            continue
        if name not in _LATER or metadata.setdefault(name, value) != value:
            option = f"--{name.rstrip('_').replace('_', '-')}"
            raise click.UsageError(f"leave out {option}: the saved bundle declares its own; or save it anew")
    return metadata


_EXAMPLES = (
    "casevault send /var/log --case 123456789012345 --logs-start -4h",
    "casevault send /media/usb/node7.zip --stamp stp_...   a bundle that `casevault save` made",
    "casevault send node7.zip --trigger Microsoft.Health.FaultType.StorageError",
    "collect | casevault send - --case 123456789012345 --name logs.tar",
    "CASEVAULT_LINK='https://host/lnk-...?sv=...' casevault send node7.zip   with a link instead of a token",
)


@click.command(cls=ResumableCommand, examples=_EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path, exists=True, allow_dash=True))
@collection_options
@click.option("--name", help="A file name for standard input.  [default: stdin]")
@click.option(
    "--link",
    envvar="CASEVAULT_LINK",
    show_envvar=True,
    help="Upload link to send through, instead of a token; safer in the environment.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 16),
    help="How many to send over at once.  [default: 4 through a link; else 1, or 3 on a line with a long round trip]",
)
@click.option("--no-digest", is_flag=True, help="Do not read the file beforehand to declare its SHA-256.")
@click.option("--limit-rate", type=RATE, help="Most bytes to send a second: 500, 32k, 2M.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the intake receipt.")
@click.option("--receipt", type=PATH, help="Keep the intake receipt in this file.")
@with_json
@keys_option
@connected
def send(
    client: Client,
    source: Path,
    name: str | None,
    link: str | None,
    connections: int | None,
    no_digest: bool,
    limit_rate: int | None,
    no_wait: bool,
    receipt: Path | None,
    as_json: bool,
    keys: Path | None,
    **options: Any,
) -> None:
    """Send logs: a file, a folder, a bundle that `casevault save` made, or (-) what comes on standard input.

    A folder is sent as one zip. The service is first asked whether it would accept it; a saved bundle is first checked
    against its SHA-256. A cut upload resumes: after a broken line by itself, after a crash or a reboot when the same
    command is run again, and for a saved bundle, or through a link, also on another machine. At the end the service
    reads back what it stored; its signed receipt is checked here, offline, against the file's own SHA-256.

    Standard input is sent as it arrives, over one connection. It cannot be resumed once this command has ended, and the
    program that writes it must not fail unseen (in a shell: set -o pipefail).
    """
    if no_wait and receipt is not None:
        raise click.UsageError(
            "--receipt and --no-wait exclude each other: a receipt takes waiting; drop one"
        )
    kept = None if receipt is None else Output.at(receipt)
    if link is not None and options["stamp"]:
        raise click.UsageError("--stamp and --link exclude each other: a link names its stamp; drop --stamp")
    through = Link.parse(link) if link is not None else None
    if source == STANDARD_INPUT:
        if connections or no_digest:
            raise click.UsageError(
                "--connections and --no-digest need a file: leave them out with standard input"
            )
        metadata = _declared(name or "stdin", options, through)
        show_item(
            _from_pipe(client, metadata, through, Pace(limit_rate), keys, kept, not no_wait), _SHOWN, as_json
        )
        return
    if name is not None:
        raise click.UsageError("--name is for standard input (-) only: a file is sent under its own name")
    saved = find_saved(source)
    with nullcontext(proven(saved)) if saved else open_source(source) as what:
        metadata = _of_saved(saved, options) if saved else _declared(what.name, options, through)
        # Times are declared once: a re-run at another minute is still the same upload.
        same = {name: value for name, value in metadata.items() if name in _SAME}
        folder = Path(click.get_app_dir("casevault")) / "uploads"
        pace = Pace(limit_rate)
        where = f"{through.server}{through.container}" if through else client.server
        place = Remembered.place(folder, where, what.identity, same)
        it = SendJob(client, what, metadata, same, place, pace, connections, saved is not None, not no_digest)
        if through is not None:
            answer = _with_link(it, through, keys, kept, wait=not no_wait)
        else:
            answer = _with_token(it, keys, kept, wait=not no_wait)
    show_item(answer, _SHOWN, as_json)


def _declared(name: str, options: dict[str, Any], through: Link | None) -> dict[str, str]:
    metadata = declared(name, options, datetime.now(UTC))
    if through is not None and not (options["type_"] or options["trigger"]):
        metadata.pop("type")  # the link has it
    return metadata


def _from_pipe(
    client: Client,
    metadata: dict[str, str],
    link: Link | None,
    pace: Pace,
    keys: Path | None,
    kept: Output | None,
    wait: bool,
) -> dict[str, Any]:
    source, blob = sys.stdin.buffer, None
    if link is None:
        sent = piped.send_with_token(client, source, metadata, pace)
    else:
        blob, sent = piped.send_with_link(client, source, metadata["filename"], link, metadata, pace)
    answer = {"bundle": sent.bundle, "size": sent.size}
    if not wait:
        return answer
    if blob is not None:
        return _receipt_by_link(client, blob, answer, sent.sha256, keys, kept)
    return _receipt_by_token(client, answer, sent.sha256, keys, kept)


def _with_token(it: SendJob, keys: Path | None, kept: Output | None, *, wait: bool) -> dict[str, Any]:
    bundle, sha256 = with_token.deliver(it)
    answer = {"bundle": bundle, "size": it.what.size}
    if not wait:
        return answer
    return _receipt_by_token(it.client, answer, sha256 or digest(it.what.path), keys, kept)


def _receipt_by_token(
    client: Client, answer: dict[str, Any], own: str, keys: Path | None, kept: Output | None
) -> dict[str, Any]:
    say(_WAITING)
    found, document = wait_for_intake(client, answer["bundle"], pinned_keys(client, keys))
    hold_to(found.fields, answer["bundle"], answer["size"], own)
    if kept is not None:
        write_receipt(document, kept)
    return {**answer, "sha256": own, "checked": words(found)}


def _with_link(
    it: SendJob, link: Link, keys: Path | None, kept: Output | None, *, wait: bool
) -> dict[str, Any]:
    blob, bundle, sha256 = through_link.deliver(it, link)
    answer = {"bundle": bundle, "size": it.what.size}
    if not wait:
        return answer
    return _receipt_by_link(it.client, blob, answer, sha256 or digest(it.what.path), keys, kept)


def _receipt_by_link(
    client: Client, blob: Blob, answer: dict[str, Any], own: str, keys: Path | None, kept: Output | None
) -> dict[str, Any]:
    say(_WAITING)
    # A sender with only a link need not know the API's address; their keys are then the pinned ones, if any.
    known = keys is not None or client.server != DEFAULT_SERVER
    found = through_link.receive(blob, pinned_keys(client, keys) if known else None)
    if found is None:
        if kept is not None:
            raise CliError(f"sent, but without a receipt to keep: {through_link.NO_RECEIPT}")
        return {**answer, "sha256": own, "checked": through_link.NO_RECEIPT}
    hold_to(found.fields, answer["bundle"], answer["size"], own)
    if kept is not None:
        write_receipt(found.document, kept)
    return {**answer, "sha256": own, "checked": found.held}
