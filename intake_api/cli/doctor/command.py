"""`casevault doctor`: every setting and every part, a line each, and what to change.

It checks, in order: this machine; the settings; where a service is configured here, its state folder, disk, custody's
parts (retention/doctor.py), certificate and issuer; then the service reached from here, and the caller's token. Nothing
is changed; what is written to test a place is removed again.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import click

from intake_api import config as server_settings
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.commands.machine import environment, with_development
from intake_api.cli.connection import connected
from intake_api.cli.doctor.proxy_buffering import takes_no_body_first
from intake_api.cli.doctor.running import Check, run_checks
from intake_api.cli.doctor.server_checks import checks_of_server, disk, read_all, state_folder, unknown
from intake_api.cli.options import Command, with_json, with_state
from intake_api.cli.print_tables import show_json
from retention import config as custody_settings
from retention.adapters import Adapters
from retention.config import Settings, read_triggers
from retention.doctor import LOOKS

MOST_SKEW = 60
PATIENCE = 20.0


def machine() -> str:
    """Describe this machine."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def settings_line(wrong: Mapping[str, str]) -> str:
    """Report every wrong setting."""
    if wrong:
        raise CliError("; ".join(wrong.values()))
    return "all usable"


def reach(client: Client) -> str:
    """Check that the service is ready, over trusted TLS, and has our time."""
    answer = client.call("GET", "/readyz")
    told = answer.headers.get("Date")
    if told is not None:
        skew = abs((parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
        if skew > MOST_SKEW:
            raise CliError(
                f"this machine's clock and the service's are {skew:.0f} s apart: set this machine's"
            )
    return f"{client.server} is ready, over trusted TLS"


def token(client: Client) -> str:
    """Check that the service accepts the caller's token."""
    client.get("/cases", {"limit": 1})
    return "the service accepts your token"


def checks_of_custody(settings: Settings) -> list[Check]:
    """Return the checks of the state folder and custody's parts; only the former for a service not made yet."""
    found = []
    if settings.has_local_parts:
        found += [
            Check("state folder", partial(state_folder, settings.state)),
            Check("disk", partial(disk, settings.state, settings.disk_reserve)),
        ]
    if not Adapters(settings).is_made():
        return [*found, Check("service's parts", partial(_not_made, settings))]
    # Each check opens its own parts: they run side by side, and none waits for another's line.
    looks = [Check(name, partial(look, Adapters(settings)), needs) for name, (look, needs) in LOOKS.items()]
    return [*found, *looks]


def _not_made(settings: Settings) -> str:
    raise CliError(
        f"{settings.state} is not the state folder of a service: name it with --state, or run `casevault init`"
    )


def checks(environ: Mapping[str, str], client: Client, wrong: dict[str, str]) -> list[Check]:
    """Return the checks, in order; wrong settings are added to `wrong`."""
    found = [Check("this machine", machine), Check("settings", partial(settings_line, wrong))]
    custody = read_all(_custody_from, environ, wrong)
    if custody is not None and (custody.state.is_dir() or Adapters(custody).is_made()):
        server = read_all(server_settings.from_environment, environ, wrong)
        found += checks_of_custody(custody)
        found += checks_of_server(server) if server is not None else []
    found.append(Check("service", partial(reach, client)))
    found.append(Check("line", partial(takes_no_body_first, client.server, client.authorities)))
    if client.has_token:
        found.append(Check("token", partial(token, client)))
    return found


def _custody_from(environ: Mapping[str, str]) -> Settings:
    settings = custody_settings.from_environment(environ)
    read_triggers(settings)
    return settings


@click.command(
    cls=Command, examples=("casevault doctor", "casevault doctor --as engineer:alice --development")
)
@with_state
@with_development
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 3600),
    default=PATIENCE,
    show_default=True,
    help="Seconds to wait for a part that does not respond.",
)
@with_json
@connected
def doctor(client: Client, state: Path, development: bool, patience: float, as_json: bool) -> None:
    """Check this installation, every setting and every part, and say what to do about each fault.

    All parts are checked side by side, so one that fails or hangs hides no other.
    """
    client.sleep = lambda _: None  # what is wrong now is reported now
    environ = environment(state, development)
    wrong = unknown(environ, click.get_current_context().find_root().command)
    results = run_checks(checks(environ, client, wrong), wrong, patience)
    if as_json:
        show_json([asdict(result) for result in results])
    else:
        for result in results:
            print(f"{'good' if result.good else 'BAD ':<5} {result.check:<15} {result.what}")
    if bad := sum(not result.good for result in results):
        raise CliError(f"{bad} of {len(results)} checks failed")
