"""The doctor's checks of the server: settings, certificate, issuer, state folder, disk.

Every wrong setting is reported, where a settings module stops at the first: a wrong variable is noted and removed, and
the rest is read again. Errors that only follow from its absence are not reported.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import click

from intake_api import config as server
from intake_api.cli.cli_errors import CliError
from intake_api.cli.doctor.running import Check
from intake_api.cli.print_tables import size_of
from intake_api.config import ServerSettings
from intake_api.identity.issuer_keys import fetch_keys
from intake_api.identity.jwks import DocumentUnavailable, HttpsDocuments
from intake_api.serve.certificates import certificate_facts
from retention import config, config_azure, config_notices, config_telemetry
from retention.config import SettingError

T = TypeVar("T")
_VARIABLE = re.compile(r"CASEVAULT_[A-Z0-9_]+")
_STATED = re.compile(r"^\| (CASEVAULT_\w+) \|", re.MULTILINE)
FUNCTION_APP = frozenset(
    {
        "CASEVAULT_SWEEP_SCHEDULE",
        "CASEVAULT_SEQUENCE_SCHEDULE",
        "CASEVAULT_WITNESS_SCHEDULE",
        "CASEVAULT_COSIGN_SCHEDULE",
        "CASEVAULT_READ_BACK_SCHEDULE",
        "CASEVAULT_SCRUB_SCHEDULE",
        "CASEVAULT_INDEX_SCHEDULE",
        "CASEVAULT_NOTICES_SCHEDULE",
        "CASEVAULT_TIDY_SCHEDULE",
        "CASEVAULT_ERASE_QUEUE",
        "CASEVAULT_READ_BACK_QUEUE",
    }
)
"""The settings of the other door, which this one does not know: a test compares the list with it."""


def read_all(
    read: Callable[[Mapping[str, str]], T], environ: Mapping[str, str], wrong: dict[str, str]
) -> T | None:
    """Read the variables without the wrong ones, which are added to `wrong`; None if that is impossible."""
    while True:
        try:
            return read({name: value for name, value in environ.items() if name not in wrong})
        except SettingError as error:
            found = _VARIABLE.search(str(error))
            name = found[0] if found else ""
            if name in wrong or any(each in str(error) for each in wrong if each):
                return None  # it follows from one that was removed
            wrong[name] = str(error)
            if name not in environ:
                return None


def unknown(names: Iterable[str], program: click.Command) -> dict[str, str]:
    """Find variables that look like ours and are not, and what was probably meant."""
    modules = (server, config, config_azure, config_notices, config_telemetry)
    known = {name for module in modules for name in _STATED.findall(module.__doc__ or "")}
    known |= FUNCTION_APP | set(_of_options(program))
    found = {}
    for name in sorted(set(names) - known):
        if name.startswith("CASEVAULT_"):
            near = get_close_matches(name, known, 1)
            found[name] = f"{name} is not a setting" + (
                f": did you mean {near[0]}?" if near else ": remove it"
            )
    return found


def _of_options(command: click.Command) -> Iterable[str]:
    yield from (parameter.envvar for parameter in command.params if isinstance(parameter.envvar, str))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (each := command.get_command(context, name)) is not None:
                yield from _of_options(each)


LEAST_SPACE = 1 << 30
LEAST_LIFE = timedelta(days=14)


def state_folder(state: Path) -> str:
    """Check that the state folder belongs to this user alone."""
    status = state.stat()
    if status.st_mode & 0o077:
        raise CliError(f"other users have access to {state}; run: chmod 700 {state}")
    if status.st_uid != os.geteuid():
        raise CliError(f"{state} belongs to another user; run this as that user")
    return f"{state}, yours alone"


def disk(state: Path, reserve: int) -> str:
    """Check the space for uploads, above the reserve for erasing and for the log."""
    free = shutil.disk_usage(state).free
    if free <= reserve:
        raise CliError(
            f"no space for uploads: {size_of(free)} are free under {state}, and {size_of(reserve)} are kept for "
            "erasing and for the log (CASEVAULT_DISK_RESERVE); free some space, or have bundles erased"
        )
    if free - reserve < LEAST_SPACE:
        raise CliError(
            f"only {size_of(free - reserve)} are left for uploads under {state}: free some space, or the next bundle "
            "may not fit"
        )
    return (
        f"{size_of(free - reserve)} for uploads, {size_of(min(free, reserve))} kept for erasing and the log"
    )


def certificate(settings: ServerSettings) -> str:
    """Check the certificate, theirs or ours: a pair, valid now and for a while, for the names that callers use."""
    if settings.certificate is None or settings.key is None:
        file = key = settings.tls_folder / "server.pem"
        if not file.exists():
            return "a local authority makes one at the first start"
    else:
        file, key = settings.certificate, settings.key
    if key.stat().st_mode & 0o077:
        raise CliError(f"{key} is open to other users; run: chmod 600 {key}")
    found = certificate_facts(file, key)
    now = datetime.now(UTC)
    if found.begins > now:
        raise CliError(f"{file} is valid only from {found.begins:%Y-%m-%d} on: set the clock, or wait")
    if found.ends <= now:
        raise CliError(f"{file} expired on {found.ends:%Y-%m-%d}: renew it")
    if found.ends - now < LEAST_LIFE:
        raise CliError(f"{file} expires on {found.ends:%Y-%m-%d %H:%M}Z: renew it now")
    for name, origin in (
        ("CASEVAULT_ORIGIN", settings.address),
        ("CASEVAULT_BLOB_ORIGIN", settings.blob_address),
    ):
        host = urlsplit(origin or "").hostname
        if host is not None and not found.is_for(host):
            raise CliError(
                f"{file} is not for {host}, the host in {name}: get a certificate for it, or change {name}"
            )
    return f"for {', '.join(found.names)} until {found.ends:%Y-%m-%d}"


def issuer(settings: ServerSettings) -> str:
    """Check that the issuer's discovery document and keys can be fetched."""
    if settings.issuer is None:
        return "the development issuer, in this process"
    name = settings.issuer.issuer
    try:
        keys = fetch_keys(name, HttpsDocuments(settings.issuer_authorities))
    except DocumentUnavailable as error:
        raise CliError(f"{error}: see CASEVAULT_ISSUER and CASEVAULT_ISSUER_CA, and the line to it") from None
    if not keys:
        raise CliError(f"{name} publishes no key that this service can use (RSA, or EC on P-256)")
    return f"{name} publishes {len(keys)} usable keys"


def checks_of_server(settings: ServerSettings) -> list[Check]:
    """Return the server's checks, in order."""
    return [
        Check(
            "certificate",
            partial(certificate, settings),
            ("CASEVAULT_TLS", "CASEVAULT_ORIGIN", "CASEVAULT_BLOB_ORIGIN"),
        ),
        Check("issuer", partial(issuer, settings), ("CASEVAULT_ISSUER",)),
    ]
