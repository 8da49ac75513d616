"""What a command prints: for a person a table or a few lines, for a script one JSON document.

The output goes to stdout and every remark to stderr, so that a pipe carries data only. Text from elsewhere (file names,
reasons) passes through `plain`, so that it cannot steer the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from textwrap import indent
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intake_api.cli.cli_errors import plain
from retention.domain.characters import BIDI_CONTROLS

Item = Mapping[str, Any]
_AT_ONCE = 200
"""How many items are printed at once: a page of the service's."""
Column = tuple[str, str | Callable[[Item], object]]
_ESCAPED = {odd: f"\\u{odd:04x}" for odd in (*map(ord, BIDI_CONTROLS), 0x2028, 0x2029, *range(0x7F, 0xA0))}
"""Characters that JSON leaves unescaped: those that turn text or break lines, and controls."""
_PIPED_WIDTH = 10_000
"""The width for a pipe, which has no edge: its reader wants whole cells."""


def say(text: str) -> None:
    """Print a remark on stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def show_json(value: object) -> None:
    """Print the output for a script; deceptive characters are escaped, which JSON reads back."""
    text = json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    print(text.translate(_ESCAPED))


def show_items(items: Iterable[Item], columns: Sequence[Column], as_json: bool, none: str) -> None:
    """Print a list as it comes, a page at a time; say `none` when it is empty, and that there are more when the limit
    left some out.

    For a script it is one JSON document, closed only after the last item: what was cut short cannot be read as whole.
    """
    shown = 0
    printer = _JsonList() if as_json else _Rows(columns)
    found = iter(items)
    while page := list(islice(found, _AT_ONCE)):
        printer.show(page)
        sys.stdout.flush()
        shown += len(page)
    printer.end()
    if not shown and not as_json:
        say(none)
    if getattr(items, "more", False):
        say(f"showing the first {shown}; there are more: --limit 0 shows all")


class _JsonList:
    """One JSON document, written item by item as `show_json` writes a list."""

    def __init__(self) -> None:
        self._indent = 2 if sys.stdout.isatty() else None
        self._begun = False

    def show(self, page: Sequence[Item]) -> None:
        between, opening = (",\n", "[\n") if self._indent else (", ", "[")
        for item in page:
            text = json.dumps(item, ensure_ascii=False, indent=self._indent).translate(_ESCAPED)
            print(
                between if self._begun else opening, indent(text, " " * (self._indent or 0)), sep="", end=""
            )
            self._begun = True

    def end(self) -> None:
        print(("\n]" if self._indent else "]") if self._begun else "[]")


class _Rows:
    """One table, printed page by page: a column is never narrower than on the pages before, where there is room."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths: list[int] | None = None
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        self._console = Console(width=width, highlight=False)

    def show(self, page: Sequence[Item]) -> None:
        rows = [[_cell(item, read) for _, read in self._columns] for item in page]
        first = self._widths is None
        widths = self._widths or [cell_len(header) for header, _ in self._columns]
        self._widths = [
            max(width, *map(cell_len, cells))
            for width, cells in zip(widths, zip(*rows, strict=True), strict=True)
        ]
        fits = sum(self._widths) + len(self._widths) - 1 <= self._console.width
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=first)
        for (header, _), width in zip(self._columns, self._widths, strict=True):
            table.add_column(header, overflow="fold", min_width=width if fits else None)
        for row in rows:
            table.add_row(*map(Text, row))
        with self._console.capture() as capture:
            self._console.print(table)
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))

    def end(self) -> None:
        """Nothing follows the last row."""


def show_item(item: Item, fields: Sequence[Column], as_json: bool) -> None:
    """Print one thing, a line for each field that has a value."""
    if as_json:
        show_json(item)
        return
    cells = [(header, _cell(item, read)) for header, read in fields]
    width = max(len(header) for header, _ in cells)
    for header, text in cells:
        if text:
            print(f"{header:<{width}}  {text}")


def when(name: str) -> Callable[[Item], str]:
    """Make a reader of the moment in field `name`, for a person."""
    return lambda item: moment(item.get(name))


def moment(text: str | None) -> str:
    """Show an RFC 3339 time in UTC, to the second."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def size_of(count: int | None) -> str:
    """Show a number of bytes for a person."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def size(name: str) -> Callable[[Item], str]:
    """Make a reader of the size in field `name`, for a person."""
    return lambda item: size_of(item.get(name))


def _cell(item: Item, read: str | Callable[[Item], object]) -> str:
    value = read(item) if callable(read) else item.get(read)
    if isinstance(value, list):
        value = ", ".join(str(each) for each in value)
    words = {True: "yes", False: "no", None: ""}
    return plain(words.get(value, "") if isinstance(value, bool | None) else str(value))
