"""`casevault doctor`: what is wrong here, and what to do. Changes nothing.

Each check gives a fact when all is well and raises what a person can mend when not. The service's own folder is looked
at only where there is one.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import click

from intake_api.cli.client import Client
from intake_api.cli.commands import Command, with_json, with_state
from intake_api.cli.connection import connected
from intake_api.cli.errors import MENDABLE, CliError, one_line, said
from intake_api.cli.local import local_services, with_development
from intake_api.cli.printing import show_json, size_of
from retention.sweep import pending_erasures

MOST_SKEW = 60
LEAST_SPACE = 1 << 30
Check = Callable[[], str]


def _python() -> str:
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _state_folder(state: Path) -> str:
    status = state.stat()
    if status.st_mode & 0o077:
        raise CliError(f"other users can look into {state}; run: chmod 700 {state}")
    if status.st_uid != os.geteuid():
        raise CliError(f"{state} belongs to another user; run this as that user")
    return f"{state}, yours alone"


def _space(state: Path) -> str:
    free = shutil.disk_usage(state).free
    if free < LEAST_SPACE:
        raise CliError(f"only {size_of(free)} are free under {state}: the next bundle may not fit")
    return f"{size_of(free)} free"


def _parts(state: Path, development: bool) -> str:
    """Keys, database and stores open; and how much the clock has left to do."""
    with closing(local_services(state, development)) as services:
        services.custody.objects.check()
        services.custody.keys.check()
        kek_id = services.custody.wrapper.current_kek_id
        waiting = len(pending_erasures(services.custody, 1000))
        return f"keys ({kek_id}), database and stores open; {waiting or 'no'} erasures are waiting"


def _reach(client: Client) -> str:
    answer = client.call("GET", "/readyz")
    told = answer.headers.get("Date")
    if told is not None:
        skew = abs((parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
        if skew > MOST_SKEW:
            raise CliError(f"this machine's clock and the service's are {skew:.0f} s apart: set this one")
    return f"{client.server} is ready, over TLS that can be trusted"


def _token(client: Client) -> str:
    client.get("/cases", {"limit": 1})
    return "the service takes your token"


def checks(client: Client, state: Path, development: bool) -> list[tuple[str, Check]]:
    """What is looked at, in order."""
    found: list[tuple[str, Check]] = [("this machine", _python)]
    if state.is_dir():
        found += [
            ("state folder", partial(_state_folder, state)),
            ("disk", partial(_space, state)),
            ("parts", partial(_parts, state, development)),
        ]
    found.append(("service", partial(_reach, client)))
    if client.has_token:
        found.append(("token", partial(_token, client)))
    return found


@click.command(
    cls=Command, examples=("casevault doctor", "casevault doctor --as engineer:alice --development")
)
@with_state
@with_development
@with_json
@connected
def doctor(client: Client, state: Path, development: bool, as_json: bool) -> None:
    """Find out what is wrong here, and what to do about it."""
    results = []
    for name, check in checks(client, state, development):
        try:
            results.append({"check": name, "good": True, "what": check()})
        except (CliError, *MENDABLE) as error:
            results.append({"check": name, "good": False, "what": one_line(said(error))})
    if as_json:
        show_json(results)
    else:
        for result in results:
            print(f"{'good' if result['good'] else 'BAD ':<5} {result['check']:<13} {result['what']}")
    bad = sum(not result["good"] for result in results)
    if bad:
        raise CliError(f"{bad} of {len(results)} checks failed")
