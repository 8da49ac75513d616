"""The log in forms that other tools read, each a stream of text, one piece an entry.

- JSON Lines: the leaf's fields unchanged, and its particulars and salt: anybody with a line can rebuild the leaf
  (canonical JSON of `entry`) and, unless redacted, check its particulars with the salt.
- CSV (RFC 4180): for people. A cell that a spreadsheet would take for a formula starts with an apostrophe.
- OCSF: for a SIEM, one event a line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from audit.entry import OPTIONAL_IDS, REQUIRED_FIELDS
from audit.leaf_reader import LeafReader
from audit.log.append import StoredEntry, parsed_entry
from audit.log.ocsf import event
from audit.times import from_microseconds, rfc3339

_LEAF_CELLS = tuple(name for name in (*REQUIRED_FIELDS, *OPTIONAL_IDS) if name != "v")
CSV_HEADER = ("leaf_index", *_LEAF_CELLS, "details", "particulars", "redacted_at")
# With the full-width forms, which some locales' spreadsheets read the same way.
_FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_CONTROLS = frozenset("\t\r\n")
_RISKY = _FORMULA_STARTS | {space for space in map(chr, range(0x3001)) if space.isspace()}
"""What a cell may begin with that has to be looked at."""
_AT_ONCE = 1000
"""How many entries are looked at together: what is read of the log at once."""
_encode = json.JSONEncoder(ensure_ascii=False).encode


def json_lines(entries: Iterable[StoredEntry]) -> Iterator[str]:
    """Yield each entry as a line of JSON: the leaf as it is, once it is known to be canonical."""
    reader, coming = LeafReader(), iter(entries)
    while run := list(islice(coming, _AT_ONCE)):
        for entry, leaf in zip(run, reader.texts([entry.leaf for entry in run]), strict=True):
            _, _, leaf_index, _, particulars, salt, at = entry
            beside = "{}" if particulars is None and at is None else _particulars(entry, reader) or "null"
            yield (
                f'{{"leaf_index": {"null" if leaf_index is None else leaf_index}, "entry": {leaf}, '
                f'"particulars": {beside}, '
                f'"salt": {"null" if salt is None else _quoted(salt.hex())}, '
                f'"redacted_at": {"null" if at is None else _quoted(_moment(at))}}}\n'
            )


def csv_rows(entries: Iterable[StoredEntry]) -> Iterator[str]:
    """Yield a heading and each entry as a row of CSV."""
    reader, write = LeafReader(), csv.writer(_Echo(), lineterminator="\r\n").writerow
    yield write(CSV_HEADER)
    for entry in entries:
        fields = reader.parse_flat(entry.leaf)
        cells = (
            *map(fields.get, _LEAF_CELLS),
            _unless_empty(fields.get("details")),
            _unless_empty(_particulars(entry, reader)),
        )
        at = None if entry.redacted_us is None else _moment(entry.redacted_us)
        safe = [cell if not cell or cell[0] not in _RISKY else _safe(cell) for cell in cells]
        yield write((entry.leaf_index, *safe, at))


def ocsf_lines(entries: Iterable[StoredEntry]) -> Iterator[str]:
    """Yield each entry as an OCSF event, a line of JSON."""
    reader = LeafReader()
    for entry in entries:
        yield _encode(event(parsed_entry(entry, reader.parse))) + "\n"


EXPORTS: dict[str, Callable[[Iterable[StoredEntry]], Iterator[str]]] = {
    "jsonl": json_lines,
    "csv": csv_rows,
    "ocsf": ocsf_lines,
}


class _Echo:
    """A file whose writer is given back what it wrote."""

    def write(self, text: str) -> str:
        return text


def _safe(text: str) -> str:
    shown = text.lstrip()  # a spreadsheet may drop the spaces first
    space = text[: len(text) - len(shown)]
    return f"'{text}" if shown[:1] in _FORMULA_STARTS or _CONTROLS & set(space) else text


def _unless_empty(members: str | None) -> str | None:
    return None if members == "{}" else members


def _particulars(entry: StoredEntry, reader: LeafReader) -> str | None:
    """Return the particulars as JSON, `{}` for an entry that never had any; None once they are redacted."""
    if entry.redacted_us is not None:
        return None
    if not entry.particulars or reader.are_canonical(entry.particulars):
        return entry.particulars or "{}"
    return json.dumps(json.loads(entry.particulars), ensure_ascii=False, separators=(",", ":"))


def _quoted(text: str) -> str:
    return f'"{text}"'


def _moment(us: int) -> str:
    return rfc3339(from_microseconds(us))
