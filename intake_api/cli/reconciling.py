"""`casevault reconcile`: the records held against log, key store and object store, by command.

It does what the clock does at each start and nothing else, so it may be run at any time, beside a running service too.
Only --erase-unrecorded goes further: it destroys what can neither be read nor attributed any more, as the administrator
who asks for it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from intake_api.cli.commands import Command, with_json, with_state
from intake_api.cli.errors import CliError
from intake_api.cli.local import administrator, local_services, with_development
from intake_api.cli.printing import Column, Item, say, show_item
from retention.assembly import Services
from retention.reconcile import Reconciliation, erase_unrecorded
from retention.sequencing import reconcile_now

_NAMED = 20


def _some(name: str) -> Column:
    """How many, and which."""

    def read(item: Item) -> str:
        found = item[name]
        more = ", ..." if len(found) > _NAMED else ""
        return f"{len(found)}: {', '.join(found[:_NAMED])}{more}" if found else "0"

    return _HEADERS[name], read


_HEADERS = {
    "adopted": "Entries put back into the log",
    "lost": "Acts whose records are lost",
    "grants_ended": "Grants ended",
    "erasing": "Bundles that are erased again",
    "keyless": "Bundles whose data key is missing",
    "unrecorded": "Stored bundles without a record",
    "erased": "Of these erased now",
}


def _lost(item: Item) -> str:
    return ", ".join(f"{times} {action}" for action, times in sorted(item["lost"].items())) or "0"


FOUND: tuple[Column, ...] = (
    (_HEADERS["adopted"], "adopted"),
    (_HEADERS["lost"], _lost),
    (_HEADERS["grants_ended"], "grants_ended"),
    _some("erasing"),
    _some("keyless"),
    _some("unrecorded"),
    (_HEADERS["erased"], "erased"),
)


@click.command(
    cls=Command,
    examples=(
        "casevault reconcile --state /var/lib/casevault",
        "casevault reconcile --state /var/lib/casevault --erase-unrecorded",
    ),
)
@with_state
@with_development
@click.option(
    "--erase-unrecorded",
    "erase",
    is_flag=True,
    help="Erase stored bundles that have no record: they came after the back-up, and nothing else can be done.",
)
@with_json
def reconcile(state: Path, development: bool, erase: bool, as_json: bool) -> None:
    """Hold the records against the log and the key store, as after a restore.

    Puts the log's lost tail back, ends grants, and begins the erasure of what was erased before, as every start of the
    service does. Ends with an error, and changes nothing, when two histories of the log were signed.
    """
    with closing(local_services(state, development)) as services:
        found = reconcile_now(services)
        if found is None:
            raise CliError("another process reconciles these records now: run it again when that has ended")
        erased = _erase(services, found) if erase else 0
    show_item({**asdict(found), "lost": dict(found.lost), "erased": erased}, FOUND, as_json)
    for line in _advice(found, erased):
        say(line)


def _erase(services: Services, found: Reconciliation) -> int:
    return erase_unrecorded(services.custody, administrator(services), found.unrecorded)


def _advice(found: Reconciliation, erased: int) -> list[str]:
    """What is left for a person to do."""
    told = {
        "the sweep erases them now: `casevault sweep`, or the running service": found.erasing,
        "nobody destroyed the keys that are missing: look for the key store of these records": found.keyless,
        "without a record they can only be erased: run it again with --erase-unrecorded": found.unrecorded[
            erased:
        ],
        "repeat what must be repeated of the lost acts: closes, consents, assignments": found.lost,
    }
    return [line for line, given in told.items() if given]
