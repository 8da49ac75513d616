"""Commands on the service's own machine: init, serve, sweep, keys."""

from __future__ import annotations

import getpass
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from audit.times import rfc3339
from intake_api import config as server_settings
from intake_api.cli.cli_errors import CliError
from intake_api.cli.options import Command, Group, with_json, with_state
from intake_api.cli.print_tables import Column, say, show_item, show_json
from retention import config as custody_settings
from retention.assembly import Services, assemble, bring_up_to_date, initialise, is_initialised, public_keys
from retention.config import Settings, from_environment
from retention.custody.key_rotation import rotate as rotate_key
from retention.domain.actor import Actor, Role
from retention.jobs.sequencing import sequence_once
from retention.jobs.sweep import sweep as sweep_once

with_development = click.option(
    "--development",
    is_flag=True,
    envvar="CASEVAULT_DEVELOPMENT",
    show_envvar=True,
    help="A rehearsal: development issuer, and a clock that can be moved. Loopback only.",
)


def environment(state: Path, development: bool, **more: str) -> dict[str, str]:
    """Return the process's environment, overridden by the given options."""
    return {
        **os.environ,
        "CASEVAULT_STATE": str(state),
        "CASEVAULT_DEVELOPMENT": "1" if development else "0",
        **more,
    }


def local_services(state: Path, development: bool) -> Services:
    """Assemble custody over a state folder that a service made."""
    settings = from_environment(environment(state, development))
    if not is_initialised(settings):
        raise CliError(
            f"{state} is not the state folder of a service: name it with --state, or run `casevault init`"
        )
    _refuse_moved_clock(settings)
    return assemble(settings)


def _refuse_moved_clock(settings: Settings) -> None:
    # Otherwise the log would see two clocks, and its checkpoints would run backwards.
    if settings.clock_file.exists() and not settings.development:
        raise CliError(f"the clock of {settings.state} was moved in a rehearsal: add --development")


_ROW = re.compile(r"^\| (CASEVAULT_\w+) \| (.+) \| (.+) \|$", re.MULTILINE)


class ServeCommand(Command):
    """A command whose help ends with every setting, as the settings modules state them."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        stated = f"{server_settings.__doc__}\n{custody_settings.__doc__}"
        rows = [(name, f"{what}  [default: {default}]") for name, what, default in _ROW.findall(stated)]
        with formatter.section("Settings from the environment"):
            formatter.write_dl(rows)


@click.command(cls=Command, examples=("casevault init --state /var/lib/casevault",))
@with_state
@with_development
@with_json
def init(state: Path, development: bool, as_json: bool) -> None:
    """Make what a new service needs, once: keys, containers, database.

    `casevault serve` does this itself where it is allowed to. In Azure run this as an administrator before the first
    start, with the service's own settings, so that the service's identity needs no such rights. Where there are records
    nothing is made: a missing key was lost then, and a new one would open nothing. The database is brought to this
    program's version, and its roles get their rights: where the service is not allowed to do so, run this again with
    each new version.
    """
    settings = from_environment(environment(state, development))
    made = initialise(settings)
    bring_up_to_date(settings)
    keys = public_keys(settings)
    if as_json:
        show_json({"made": made, "log": keys.log.key, "receipts": keys.receipts.key})
        return
    print("made: the service can be started" if made else "nothing to make: this service exists already")
    print("the database has this program's version")
    print(f"CASEVAULT_LOG_VERIFIER={keys.log.key}")
    print(f"CASEVAULT_RECEIPT_VERIFIER={keys.receipts.key}")


@click.command(
    cls=ServeCommand,
    examples=(
        "casevault serve --development",
        "CASEVAULT_ISSUER=https://login.example.com casevault serve --listen 0.0.0.0:8443",
    ),
)
@with_state
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen.  [default: CASEVAULT_LISTEN or 127.0.0.1:8443]"
)
@with_development
def serve(state: Path, listen: str | None, development: bool) -> None:
    """Start the service: HTTPS, and the clock process.

    Ctrl-C stops it; uploads keep what arrived. The rest is set by the variables below, and those of docs/azure.md.
    """
    from intake_api.serve.parent import serve as serve_until_stopped  # only here: it takes long to import

    more = {"CASEVAULT_LISTEN": listen} if listen else {}
    settings = server_settings.from_environment(environment(state, development, **more))
    say(f"casevault serves {settings.origin}, state in {settings.custody.state}")
    if development:
        say(
            "DEVELOPMENT: anybody on this machine can get any token; never use it with other people's real logs"
        )
    code = serve_until_stopped(settings)
    if code:
        raise CliError(f"the service ended with code {code}; the lines above say why")


SWEEP: tuple[Column, ...] = (
    ("Erasures begun", "begun"),
    ("Uploads expired", "expired"),
    ("Bundles erased", "erased"),
    ("Bundles read back", "verified"),
    ("Failed, will be tried again", "failed"),
)


@click.command(cls=Command, examples=("casevault sweep --state /var/lib/casevault",))
@with_state
@with_development
@with_json
def sweep(state: Path, development: bool, as_json: bool) -> None:
    """Do now what the clock process does regularly.

    Erases what is due, reads back what arrived, signs the log. Safe beside a running service, and as often as you like.
    """
    services = local_services(state, development)
    try:
        if services.timekeeper.keep().is_apart:
            say(
                "this machine's clock is not trusted: see `casevault time show`; no new erasure begins by deadline"
            )
        report = sweep_once(services.custody)
        sequence_once(services)
    finally:
        services.close()
    show_item(asdict(report), SWEEP, as_json)
    if report.failed:
        raise CliError(f"{report.failed} tasks failed; the log says why, and they will be tried again")


@click.group(cls=Group)
def keys() -> None:
    """The key-encryption key: rotate."""


ROTATION: tuple[Column, ...] = (
    ("Key", "key"),
    ("Made now", "made"),
    ("Data keys rewrapped", "rewrapped"),
    ("Left under an older key", "left"),
)


@keys.command(
    "rotate",
    examples=("casevault keys rotate --state /var/lib/casevault", "casevault keys rotate --resume"),
)
@with_state
@with_development
@click.option("--resume", is_flag=True, help="Make no new key: rewrap what is not under the current one yet.")
@with_json
def rotate(state: Path, development: bool, resume: bool, as_json: bool) -> None:
    """Make a new key-encryption key, and rewrap every data key with it.

    Bundles are not touched. Safe beside a running service. If it is stopped half way, run it again: it continues, and
    makes no other key. Data keys that cannot be rewrapped are listed and stop nothing else; the exit code is then not
    zero. Back up the key file afterwards.
    """
    services = local_services(state, development)
    try:
        done = rotate_key(services.custody, services.key_wrapper, administrator(services), resume=resume)
    finally:
        services.close()
    if not (done.made or resume or as_json):
        say("an unfinished rotation was continued; no new key was made")
    left = [f"{bundle} {reason}" for bundle, reason in sorted(done.left.items())]
    told = asdict(done)
    show_item(told if as_json else {**told, "left": left}, ROTATION, as_json)
    if left:
        raise CliError(
            f"{len(left)} data keys are not under {done.key}: check these bundles' keys, then run "
            "`casevault keys rotate --resume`. Keep the older keys until none is left"
        )


@click.group(cls=Group)
def time() -> None:
    """The time that erasure by deadline goes by: show, confirm."""


TIME: tuple[Column, ...] = (
    ("This machine's clock", "machine"),
    ("Sure, for erasure by deadline", "sure"),
    ("This machine ahead by, in seconds", "ahead_seconds"),
    ("Has run evenly for, in seconds", "settled_seconds"),
    ("Other clocks", "others"),
)


@time.command("show", examples=("casevault time show --state /var/lib/casevault",))
@with_state
@with_development
@with_json
def show_time(state: Path, development: bool, as_json: bool) -> None:
    """Show the time by this machine's clock, the time that is sure, and the time by other clocks.

    While the first two differ, no new erasure begins by deadline; reading, uploads and erasures on demand go on.
    """
    services = local_services(state, development)
    try:
        belief, others = services.timekeeper.belief, services.timekeeper.ask()
    finally:
        services.close()
    answer = {
        "machine": rfc3339(services.timekeeper.wall()),
        "sure": rfc3339(belief.sure),
        "ahead_seconds": round(belief.gap.total_seconds()),
        "settled_seconds": round(belief.settled.total_seconds()),
        "others": {name: rfc3339(moment) for name, moment in others.items()},
    }
    show_item(answer if as_json else {**answer, "others": _clock_list(others)}, TIME, as_json)


def _clock_list(others: Mapping[str, datetime]) -> str:
    return ", ".join(f"{name} {rfc3339(moment)}" for name, moment in others.items()) or "none to ask"


@time.command("confirm", examples=("casevault time confirm --state /var/lib/casevault --yes",))
@with_state
@with_development
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_json
def confirm_time(state: Path, development: bool, yes: bool, as_json: bool) -> None:
    """Confirm that this machine's clock is right, because you compared it with another; an entry records it.

    For a machine that was off for long and has no other clock to ask: without this it waits as long as it was off, at
    most CASEVAULT_TIME_SETTLE_HOURS. Refused while another clock that can be asked differs.
    """
    services = local_services(state, development)
    try:
        _ask(f"This machine's clock says {rfc3339(services.timekeeper.wall())}. Is it right?", yes=yes)
        sure = services.timekeeper.confirm(administrator(services))
        sequence_once(services)
    finally:
        services.close()
    show_item({"sure": rfc3339(sure)}, (("Sure from now on", "sure"),), as_json)


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("an erasure by deadline cannot be undone: add --yes to confirm without a terminal")
    if not click.confirm(question, err=True):
        raise CliError("nothing was confirmed")


def administrator(services: Services) -> Actor:
    """Return the user of this machine's account, as the actor of the entry."""
    return services.directory.resolve(
        issuer=f"local:{platform.node()}",
        subject=getpass.getuser(),
        roles=frozenset({Role.ADMINISTRATOR}),
        directory=None,
        partner=None,
        name=None,
        particulars={},
    )
