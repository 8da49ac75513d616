"""`casevault audit overdue` and `unaccounted`: findings from the log alone, by code that the service does not use.

The leaves are read where the caller can see them, published over HTTPS or in a state folder, and checked against the
signed checkpoint; nothing is printed before they lead to it. They are read one tile at a time and not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click

from audit.times import parse_rfc3339, rfc3339
from audit.tlog.kept import Keep
from audit.tlog.overdue import Holdings
from audit.tlog.spilled import Spill, SpillError
from audit.tlog.unaccounted import FINDING, Accounts, Finding, Kind
from intake_api.cli import public_log
from intake_api.cli.cli_errors import FAILED, CliError
from intake_api.cli.client import Client
from intake_api.cli.connection import connected, keys_option, pinned_keys
from intake_api.cli.local_log import open_local_log, with_database
from intake_api.cli.options import MOMENT, Command, with_json
from intake_api.cli.print_tables import Column, moment, show_items
from intake_api.cli.progress import counting

with_moment = click.option(
    "--at", type=MOMENT, help="As of this time.  [default: now, or the log's last entry if that is later]"
)


class Leaves:
    """Every leaf of the log in order, once; and the present time by them."""

    def __init__(self, found: Iterator[dict[str, Any]]) -> None:
        self._found = found
        self._last: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for leaf in self._found:
            self._last = leaf["at"]
            yield leaf

    def now(self) -> datetime:
        """Return now, or the last entry's time if that is later: the service's clock may run ahead of this one."""
        last = [] if self._last is None else [parse_rfc3339(self._last)]
        return max([datetime.now(UTC), *last])


@contextmanager
def _leaves(client: Client, state: Path | None, keys: Path | None) -> Iterator[Leaves]:
    with counting("reading the log") as tell:
        if state is not None:
            with open_local_log(state, keys) as local:
                yield Leaves(public_log.proven_leaves(local.tiles, local.key, tell))
            return
        log_key, _ = pinned_keys(client, keys)
        yield Leaves(public_log.proven_leaves(public_log.HttpTiles(client), log_key, tell))


@contextmanager
def _remembering() -> Iterator[Keep]:
    """Make room for what a walk has to remember; CliError when the disk has none."""
    with closing(Spill()) as keep:
        try:
            yield keep
        except SpillError as error:
            raise CliError(
                f"the temporary file for what the log's entries add up to cannot be used: {error}; make room where "
                "SQLITE_TMPDIR says, or name another folder there"
            ) from None


_OVERDUE: tuple[Column, ...] = (
    ("Deadline", lambda item: moment(item["deadline"])),
    ("Bundle", "bundle"),
    ("Case", "case"),
)


@click.command(
    "overdue",
    cls=Command,
    examples=("casevault audit overdue", "casevault audit overdue --at 2027-01-01T00:00Z"),
)
@with_moment
@with_database
@with_json
@keys_option
@connected
def overdue(
    client: Client, at: datetime | None, state: Path | None, as_json: bool, keys: Path | None
) -> None:
    """List what outlived its deadline, from the log alone. Prints nothing and succeeds when nothing did.

    The log is checked against its signed checkpoint first; deadlines are worked out anew from its entries, by code that
    the service does not use.
    """
    with _remembering() as keep:
        holdings = Holdings(keep)
        with _leaves(client, state, keys) as leaves:
            for leaf in leaves:
                holdings.take(leaf)
        late = holdings.overdue(at or leaves.now())
    found = [{"bundle": one.bundle, "case": one.case, "deadline": rfc3339(one.deadline)} for one in late]
    if found or as_json:
        show_items(found, _OVERDUE, as_json, "")
    if found:
        click.get_current_context().exit(FAILED)


_UNACCOUNTED: tuple[Column, ...] = (
    ("At", lambda item: moment(item["at"])),
    ("What", "what"),
    ("Why", "why"),
    ("Actor", "actor"),
    ("Case", "case"),
    ("Bundle", "bundle"),
    ("Grant", "grant"),
    ("Entry", "entry"),
)


@click.command(
    "unaccounted",
    cls=Command,
    examples=("casevault audit unaccounted --keys keys.json", "casevault audit unaccounted --json"),
)
@with_moment
@with_database
@with_json
@keys_option
@connected
def unaccounted(
    client: Client, at: datetime | None, state: Path | None, as_json: bool, keys: Path | None
) -> None:
    """List every read that nothing in the log allowed, and every grant that nobody used, from the log alone.

    A read is accounted for by a live grant of the same person, an assignment, an open case that holds the bundle, and
    for a partner the customer's consent, each at that moment. "unallowed" is a read that lacks one of them, and only
    that ends with an error. "cannot-be-told" is a partner's read from before entries named the company, "outlasted" a
    read that was completed more than a minute after its grant had ended, "unused-grant" an ended grant under which
    nothing was read.
    """
    unallowed = False
    with _remembering() as keep:
        accounts, found = Accounts(keep), keep(FINDING)
        with _leaves(client, state, keys) as leaves:
            for leaf in leaves:
                one = accounts.take(leaf)
                if one is not None:
                    found[one.entry] = one
                    unallowed = unallowed or one.kind is Kind.UNALLOWED
        told = chain((one for _, one in found.items()), accounts.unused(at or leaves.now()))
        first = next(told, None)
        if first is not None or as_json:
            shown = map(_as_json, () if first is None else chain((first,), told))
            show_items(shown, _UNACCOUNTED, as_json, "")
    if unallowed:
        click.get_current_context().exit(FAILED)


def _as_json(found: Finding) -> dict[str, Any]:
    return {
        "what": found.kind.value,
        "why": list(found.why),
        "at": rfc3339(found.at),
        "actor": found.actor,
        "case": found.case,
        "bundle": found.bundle,
        "grant": found.grant,
        "entry": found.entry,
    }
