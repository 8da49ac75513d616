"""What a command prints: for a person a table or a few lines, for a script one JSON document.

The output goes to stdout and every remark to stderr, so that a pipe carries data only. Text from elsewhere (file names,
reasons) passes through `plain`, so that it cannot steer the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from intake_api.cli.cli_errors import plain
from retention.domain.characters import BIDI_CONTROLS

Item = Mapping[str, Any]
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
    """Print a list; say `none` when it is empty, and that there are more when the limit left some out."""
    found = list(items)
    _show_items(found, columns, as_json, none)
    if getattr(items, "more", False):
        say(f"showing the first {len(found)}; there are more: --limit 0 shows all")


def _show_items(found: Sequence[Item], columns: Sequence[Column], as_json: bool, none: str) -> None:
    if as_json:
        show_json(found)
        return
    if not found:
        say(none)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header, _ in columns:
        table.add_column(header, overflow="fold")
    for item in found:
        table.add_row(*(Text(_cell(item, read)) for _, read in columns))
    console = (
        Console(highlight=False) if sys.stdout.isatty() else Console(width=_PIPED_WIDTH, highlight=False)
    )
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


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
