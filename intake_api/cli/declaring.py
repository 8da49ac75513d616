"""The collection as a person declares it on the command line: the same for `send` and for `save`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import click
from click.decorators import FC

from audit.times import rfc3339
from intake_api.cli.commands import MOMENT
from retention.bundle import Collection, CollectionType, Triggers, check_collection

_OPTIONS = (
    click.option(
        "--case", help="Case number that the logs are for; needed unless the collection is proactive."
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
        "--roles", "roles", multiple=True, metavar="ROLE", help="Role that the logs are of; repeat for more."
    ),
    click.option("--stamp", help="Stamp that the logs are of; for operators (a stamp sends its own)."),
    click.option(
        "--send-logs-now", is_flag=True, help="Hold the collection to 'Send logs now': 1 to 4 h, last week."
    ),
)


def collection_options(command: FC) -> FC:
    """The options that declare a collection, above the command's own."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def declared(name: str, options: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """The collection of the file `name`, by the keys of Upload-Metadata; what was not said is left out."""
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
    """Invalid for what no service would accept; which triggers one knows, and how much it takes, it says itself."""
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
