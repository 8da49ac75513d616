"""The log in forms that other tools read, each a stream of text, one piece an entry.

- JSON Lines: the leaf's fields unchanged, and its particulars and salt: anybody with a line can rebuild the leaf
  (canonical JSON of `entry`) and, unless redacted, check its particulars with the salt.
- CSV (RFC 4180): for people. A cell that a spreadsheet would take for a formula starts with an apostrophe.
- OCSF: for a SIEM, one event a line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from audit.entry import OPTIONAL_IDS, REQUIRED_FIELDS, canonical
from audit.log.append import LoggedEntry
from audit.log.ocsf import event
from audit.times import rfc3339

_LEAF_CELLS = tuple(name for name in (*REQUIRED_FIELDS, *OPTIONAL_IDS) if name != "v")
CSV_HEADER = ("leaf_index", *_LEAF_CELLS, "details", "particulars", "redacted_at")
# With the full-width forms, which some locales' spreadsheets read the same way.
_FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_CONTROLS = frozenset("\t\r\n")


def json_lines(entries: Iterable[LoggedEntry]) -> Iterator[str]:
    """Yield each entry as a line of JSON."""
    for logged in entries:
        line = {
            "leaf_index": logged.leaf_index,
            "entry": logged.fields,
            "particulars": logged.particulars,
            "salt": None if logged.salt is None else logged.salt.hex(),
            "redacted_at": _moment(logged),
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"


def csv_rows(entries: Iterable[LoggedEntry]) -> Iterator[str]:
    """Yield a heading and each entry as a row of CSV."""
    yield _csv_row(CSV_HEADER)
    for logged in entries:
        fields = logged.fields
        yield _csv_row(
            (
                logged.leaf_index,
                *(fields.get(name) for name in _LEAF_CELLS),
                _json_cell(fields.get("details")),
                _json_cell(logged.particulars),
                _moment(logged),
            )
        )


def ocsf_lines(entries: Iterable[LoggedEntry]) -> Iterator[str]:
    """Yield each entry as an OCSF event, a line of JSON."""
    for logged in entries:
        yield json.dumps(event(logged), ensure_ascii=False) + "\n"


EXPORTS: dict[str, Callable[[Iterable[LoggedEntry]], Iterator[str]]] = {
    "jsonl": json_lines,
    "csv": csv_rows,
    "ocsf": ocsf_lines,
}


def _csv_row(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([_safe(cell) for cell in cells])
    return text.getvalue()


def _safe(cell: object) -> str:
    text = "" if cell is None else str(cell)
    shown = text.lstrip()  # a spreadsheet may drop the spaces first
    space = text[: len(text) - len(shown)]
    return f"'{text}" if shown[:1] in _FORMULA_STARTS or _CONTROLS & set(space) else text


def _json_cell(value: Mapping[str, Any] | None) -> str | None:
    return canonical(value).decode() if value else None


def _moment(logged: LoggedEntry) -> str | None:
    return None if logged.redacted_at is None else rfc3339(logged.redacted_at)
