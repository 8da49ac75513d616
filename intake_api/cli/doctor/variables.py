"""The settings, every wrong one of them: a settings module stops at the first, a doctor does not.

A wrong variable is noted and taken away, and the rest is read again. What follows from its absence is not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

import click

from intake_api import settings as server
from retention import azure_settings, settings, telemetry_settings
from retention.settings import SettingError

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
        "CASEVAULT_TIDY_SCHEDULE",
        "CASEVAULT_ERASE_QUEUE",
        "CASEVAULT_READ_BACK_QUEUE",
    }
)
"""Those of the other door, which this one does not know: a test holds the list to it."""


def read_all(
    read: Callable[[Mapping[str, str]], T], environ: Mapping[str, str], wrong: dict[str, str]
) -> T | None:
    """What `read` makes of the variables without the wrong ones, which are added to `wrong`; None if it cannot."""
    while True:
        try:
            return read({name: value for name, value in environ.items() if name not in wrong})
        except SettingError as error:
            found = _VARIABLE.search(str(error))
            name = found[0] if found else ""
            if name in wrong or any(each in str(error) for each in wrong if each):
                return None  # it follows from one that was taken away
            wrong[name] = str(error)
            if name not in environ:
                return None


def unknown(names: Iterable[str], program: click.Command) -> dict[str, str]:
    """Variables that look like ours and are none, and what was probably meant."""
    modules = (server, settings, azure_settings, telemetry_settings)
    known = {name for module in modules for name in _STATED.findall(module.__doc__ or "")}
    known |= FUNCTION_APP | set(_of_options(program))
    found = {}
    for name in sorted(set(names) - known):
        if name.startswith("CASEVAULT_"):
            near = get_close_matches(name, known, 1)
            found[name] = f"{name} is no setting" + (f": is {near[0]} meant?" if near else ": take it away")
    return found


def _of_options(command: click.Command) -> Iterable[str]:
    yield from (parameter.envvar for parameter in command.params if isinstance(parameter.envvar, str))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (each := command.get_command(context, name)) is not None:
                yield from _of_options(each)
