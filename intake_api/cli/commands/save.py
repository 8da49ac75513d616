"""`casevault save`: the bundle and its collection as files, for stamps without a connection."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from intake_api.cli.commands.send import check_declared, collection_options, declared
from intake_api.cli.options import Command, with_json
from intake_api.cli.output_file import with_output
from intake_api.cli.print_tables import Column, show_item, size
from intake_api.cli.progress import transfer
from intake_api.cli.transfer.offline_bundle import save as save_parcel
from intake_api.cli.transfer.source import open_source

_SHOWN: tuple[Column, ...] = (
    ("Bundle", "bundle"),
    ("Described in", "manifest"),
    ("Size", size("size")),
    ("SHA-256", "sha256"),
)
_EXAMPLES = (
    "casevault save /var/log/azurestack --case 123456789012345 -o /media/usb/node7.zip",
    "casevault save node7.zip --trigger Microsoft.Health.FaultType.StorageError -o /media/usb/node7.zip",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@with_output("The bundle's file.  [default: its own name, here]")
@collection_options
@with_json
def save(source: Path, output: Path | None, force: bool, as_json: bool, **options: Any) -> None:
    """Save logs as a bundle that can be sent later, from another machine.

    For stamps without a connection: it needs no service. Beside the bundle, byte for byte as it will be sent, it writes
    a second file that describes the collection; keep the two together. Then: casevault send FILE
    """
    with open_source(source) as what:
        now = datetime.now(UTC)
        collection = declared(what.name, options, now)
        check_declared(collection, what.size, now)
        with transfer("saving", what.size) as progress:
            saved = save_parcel(what, output or Path(what.name), collection, progress, force=force)
    answer = {
        "bundle": str(saved.bundle),
        "manifest": str(saved.manifest),
        "size": saved.size,
        "sha256": saved.sha256,
        "collection": saved.collection,
    }
    show_item(answer, _SHOWN, as_json)
