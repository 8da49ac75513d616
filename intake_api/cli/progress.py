"""A transfer's progress on stderr: a bar with rate and time left on a terminal, silence in a pipe."""

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


@contextmanager
def transfer(what: str, size: int | None, *, stays: bool = True) -> Iterator[Callable[[int], None]]:
    """Show progress; call the yielded function with the bytes done so far, of `size` if that is known. `stays`: the bar
    remains at the end."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        RateColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, expand=True, refresh_per_second=8, transient=not stays
    ) as progress:
        task = progress.add_task(what, total=size)
        yield lambda done: progress.update(task, completed=done)
