"""Progress on stderr, of a transfer or of a walk through the log: a bar with rate and time left on a terminal, silence
in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from intake_api.cli.print_tables import size_of


class RateColumn(ProgressColumn):
    """A column of bytes a second, in the units of the column beside it."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{size_of(int(speed))}/s")


class CountColumn(ProgressColumn):
    """A column of how many are done, and how many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{int(task.completed):,}" + ("" if speed is None else f" ({int(speed):,}/s)"))


@contextmanager
def transfer(what: str, size: int | None, *, stays: bool = True) -> Iterator[Callable[[int], None]]:
    """Show progress; call the yielded function with the bytes done so far, of `size` if that is known. `stays`: the bar
    remains at the end."""
    with _bar(what, size, DownloadColumn(binary_units=True), RateColumn(), stays=stays) as tell:
        yield lambda done: tell(done, size)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far a count is; call the yielded function with what is done and with how many there are, if known. The
    bar goes at the end."""
    with _bar(what, None, CountColumn(), stays=False) as tell:
        yield tell


@contextmanager
def _bar(
    what: str, size: int | None, *amounts: ProgressColumn, stays: bool
) -> Iterator[Callable[[int, int | None], None]]:
    if not sys.stderr.isatty():
        yield _silent
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        *amounts,
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, expand=True, refresh_per_second=8, transient=not stays
    ) as progress:
        task = progress.add_task(what, total=size)

        def tell(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield tell


def _silent(_done: int, _total: int | None) -> None:
    """Show nothing."""
