"""How commands are made: their help for a person, and the options that several of them share.

- Help shows a command's own options first and the shared ones (how to reach the service) below.
- The group lists its commands by who uses them.
- `@connected` gives a command a `Client`; `@with_json` the choice of output; times are options of type MOMENT.
- People type times as RFC 3339 with a zone, as `now`, or relative to it, like -4h. Functions take `now` as an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from click.decorators import FC

from intake_api.cli.cli_errors import INTERRUPTED, CliError
from intake_api.cli.transfer.rate import parse_rate

_RELATIVE = re.compile(r"([+-])(\d{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HOW = "is not a time: give now, an offset like -4h or -2d, or a time with its zone like 2026-11-20T14:00Z"


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a moment, in UTC; ValueError says what is accepted."""
    if text == "now":
        return now
    relative = _RELATIVE.fullmatch(text)
    try:
        if relative:
            sign, count, unit = relative.groups()
            return now + timedelta(**{_UNITS[unit]: int(sign + count)})
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:  # a local time would be another hour on another machine
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} {HOW}")


F = TypeVar("F", bound=Callable[..., Any])
SHARED = "Reaching the service"
DEFAULT_LIMIT = 50


class Command(click.Command):
    """A command whose examples keep their lines, and whose shared options are listed apart."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("no_args_is_help", False)
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                (shared if isinstance(parameter, SharedOption) else own).append(record)
        for title, records in (("Options", own), (SHARED, shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


class ResumableCommand(Command):
    """A command that resumes where it was stopped when it is run again."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            stopped = CliError("stopped; what was done is kept, and the same command resumes from there")
            stopped.exit_code = INTERRUPTED
            raise stopped from None


class Group(click.Group):
    """A group of commands, listed in the order in which they were added."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


Group.group_class = Group


@dataclass(frozen=True, slots=True)
class Entry:
    """A command imported when it is called, so that the program starts without what one command needs."""

    module: str
    name: str
    """The command's name, and its attribute in the module."""
    help: str
    """The first sentence of the command's help, for the command list."""


class Sections(Group):
    """The whole program: its commands under headings."""

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[Entry]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self._entries = {entry.name: entry for entries in sections.values() for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._entries:
            return None
        entry = self._entries[cmd_name]
        command: click.Command = getattr(import_module(entry.module), entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self._entries))
        width = formatter.width - formatter.current_indent - 4 - longest
        for heading, entries in self.sections.items():
            with formatter.section(heading):
                stand_ins = [Command(entry.name, help=entry.help) for entry in entries]
                formatter.write_dl(
                    [(f"{each.name:<{longest}}", each.get_short_help_str(width)) for each in stand_ins]
                )


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class SharedOption(click.Option):
    """An option shared by many commands; help lists it below their own."""


def shared(*names: str, **attributes: Any) -> Callable[[FC], FC]:
    """Make an option of the section `SHARED`."""
    return click.option(*names, cls=SharedOption, **attributes)


class Moment(click.ParamType[datetime]):
    """A time, absolute or relative to now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(value, datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Rate(click.ParamType[int]):
    """A rate in bytes a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


MOMENT = Moment()
RATE = Rate()
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def with_limit_of(order: str) -> Callable[[FC], FC]:
    """Make --limit, for a list in this order."""
    return click.option(
        "--limit",
        type=click.IntRange(0, 10**9),
        default=DEFAULT_LIMIT,
        show_default=True,
        help=f"Most items to show, {order}; 0 shows all. If there are more, stderr says so.",
    )


with_limit = with_limit_of("newest first")
with_state = click.option(
    "--state",
    type=PATH,
    envvar="CASEVAULT_STATE",
    show_envvar=True,
    default=Path("casevault-state"),
    show_default=True,
    help="The service's state folder, on this machine.",
)
