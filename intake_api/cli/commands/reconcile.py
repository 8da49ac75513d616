"""`casevault reconcile`: check the records against log, key store and object store. `casevault rebind`: start a case
whose access records were altered afresh.

`reconcile` does only what the clock does at each start, so it can be run at any time, also beside a running service.
Two options go further, in the name of the administrator who asks: --erase-unrecorded destroys what can no longer be
read or attributed; --without-witness lets reading go on while the witness, which may know a newer log, is away.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from audit.mirror.store import MirrorUnavailableError
from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError
from intake_api.cli.commands.machine import administrator, local_services, with_development
from intake_api.cli.options import Command, with_json, with_state
from intake_api.cli.print_tables import Column, Item, say, show_item
from retention.assembly import Services
from retention.custody.access.first_binding import end_unproven
from retention.jobs.reconcile import LONGEST_WAIVER, Reconciliation, erase_unrecorded, waive_witness
from retention.jobs.sequencing import reconcile_now

_NAMED = 20
HOUR = timedelta(hours=1)


def _count_and_names(name: str) -> Column:
    """Make a column that shows how many, and which."""

    def read(item: Item) -> str:
        found = item[name]
        more = ", ..." if len(found) > _NAMED else ""
        return f"{len(found)}: {', '.join(found[:_NAMED])}{more}" if found else "0"

    return _HEADERS[name], read


_HEADERS = {
    "adopted": "Entries put back into the log",
    "lost": "Acts whose records are lost",
    "repeated": "Acts repeated in the records",
    "tiles_rebuilt": "Entries whose tiles were rewritten",
    "without_witness_until": "Reading goes on without the witness until",
    "grants_ended": "Grants ended",
    "erasing": "Bundles being erased again",
    "keyless": "Bundles whose data key is missing",
    "unrecorded": "Stored bundles without a record",
    "erased": "Of these, erased now",
}


def _acts(name: str) -> Column:
    """Make a column that shows how many of each action."""

    def read(item: Item) -> str:
        return ", ".join(f"{times} {action}" for action, times in sorted(item[name].items())) or "0"

    return _HEADERS[name], read


FOUND: tuple[Column, ...] = (
    (_HEADERS["adopted"], "adopted"),
    _acts("lost"),
    _acts("repeated"),
    (_HEADERS["grants_ended"], "grants_ended"),
    _count_and_names("erasing"),
    _count_and_names("keyless"),
    _count_and_names("unrecorded"),
    (_HEADERS["erased"], "erased"),
    (_HEADERS["tiles_rebuilt"], "tiles_rebuilt"),
    (_HEADERS["without_witness_until"], "without_witness_until"),
)


@click.command(
    cls=Command,
    examples=(
        "casevault reconcile --state /var/lib/casevault",
        "casevault reconcile --state /var/lib/casevault --erase-unrecorded",
        'casevault reconcile --state /var/lib/casevault --without-witness --reason "outage of the bucket, ticket 4711"',
    ),
)
@with_state
@with_development
@click.option(
    "--erase-unrecorded",
    "erase",
    is_flag=True,
    help="Erase stored bundles that have no record: they arrived after the back-up and can only be erased.",
)
@click.option(
    "--without-witness",
    is_flag=True,
    help="Allow reading for --hours although the witness does not respond. An entry records it, with --reason.",
)
@click.option("--reason", help="Why, in 8 to 1000 characters; required with --without-witness.")
@click.option(
    "--hours",
    type=click.FloatRange(0, LONGEST_WAIVER / HOUR, min_open=True),
    default=24,
    show_default=True,
    help="How long at most; it ends when the witness responds.",
)
@with_json
def reconcile(
    state: Path,
    development: bool,
    erase: bool,
    without_witness: bool,
    reason: str | None,
    hours: float,
    as_json: bool,
) -> None:
    """Check the records against the log and the key store, as after a restore.

    Puts the log's lost tail back, ends again what it says ended, ends grants, rewrites lost tiles, and begins the
    erasure of what was erased before, as every start of the service does. Ends with an error, and changes nothing,
    when two histories of the log were signed.
    """
    if without_witness != (reason is not None):
        raise click.UsageError("--without-witness and --reason go together: give both or neither")
    until = None
    with closing(local_services(state, development)) as services:
        try:
            found = reconcile_now(services)
        except MirrorUnavailableError:
            if reason is None:
                raise
            found = reconcile_now(services, without_witness=True)
            until = (
                waive_witness(services.custody, administrator(services), reason, hours * HOUR)
                if found
                else None
            )
        if found is None:
            raise CliError("another process is reconciling these records: run this again when it has ended")
        erased = _erase(services, found) if erase else 0
    told = {"lost": dict(found.lost), "repeated": dict(found.repeated), "erased": erased}
    told["without_witness_until"] = rfc3339(until) if until else None
    show_item({**asdict(found), **told}, FOUND, as_json)
    if without_witness and until is None:
        say("the witness responds: nothing was waived")
    for line in _advice(found, erased):
        say(line)


@click.command(cls=Command, examples=("casevault rebind 2603010050001234 --state /var/lib/casevault",))
@click.argument("number", metavar="CASE")
@with_state
@with_development
@with_json
def rebind(number: str, state: Path, development: bool, as_json: bool) -> None:
    """End every assignment, grant and consent of a case, and bind its records anew.

    For a case whose access, as `casevault doctor` reports, is not what was bound: its records were altered outside the
    service, or come from a back-up, and none of its bundles open. Refused while the case's row names another customer
    or state than the log; the number is taken as it stands. Afterwards the case system assigns, the customer consents
    and engineers grant themselves access anew.
    """
    with closing(local_services(state, development)) as services:
        ended = end_unproven(services.custody, administrator(services), number)
    if ended is None:
        raise CliError(f"there is no case {number}")
    show_item({"case": number, "ended": ended}, (("Case", "case"), ("Ended", "ended")), as_json)


def _erase(services: Services, found: Reconciliation) -> int:
    return erase_unrecorded(services.custody, administrator(services), found.unrecorded)


def _advice(found: Reconciliation, erased: int) -> list[str]:
    """Say what is left for a person to do."""
    told = {
        "the sweep erases them now: `casevault sweep`, or the running service": found.erasing,
        "the missing keys were not destroyed by the service: find the key store of these records": found.keyless,
        "without a record they can only be erased: run this again with --erase-unrecorded": found.unrecorded[
            erased:
        ],
        "repeat the lost acts that are still needed: cases opened, assignments, consents": found.lost,
    }
    return [line for line, given in told.items() if given]
