"""Maps for a walk through a log of any size: what was used last in memory, the rest in a temporary file.

- The file is SQLite's own for temporary databases: without a name as soon as it is open, readable by nobody else, and
  gone when it is closed or its process ends. SQLITE_TMPDIR says where, else the system's folder for such files.
- It holds what leaves hold: ids, codes, counts and times, never particulars (P1).
- Once a map has more than `most` items in memory, those not used for longest are moved out, half of them at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import ItemsView, Iterator, MutableMapping
from itertools import count, islice
from typing import Any, Final

from audit.tlog.kept import Codec

MOST_IN_MEMORY = 8192
_CACHE_KIB = 16 * 1024
_NO_KEY: Final = b""
"""The stored form of None, which no text equals."""


class SpillError(RuntimeError):
    """The temporary file cannot be read or written; the text says why."""


class Spill:
    """A temporary file, and the maker of the maps in it."""

    def __init__(self, most: int = MOST_IN_MEMORY) -> None:
        self._most = most
        self._names = count()
        self._file = sqlite3.connect("", isolation_level=None)
        # Nothing of it outlives the process, so nothing is made durable: one transaction that never ends.
        for pragma in (
            f"cache_size = -{_CACHE_KIB}",
            "journal_mode = OFF",
            "synchronous = OFF",
            "temp_store = FILE",
        ):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.execute("BEGIN")

    def __call__(self, codec: Codec) -> Spilled:
        """Make an empty map."""
        return Spilled(self._file, f"kept_{next(self._names)}", codec, self._most)

    def close(self) -> None:
        """Give up the file with everything in it."""
        self._file.close()


class Spilled(MutableMapping[str | None, Any]):
    """A map by id. See `audit.tlog.kept` for what its values may be."""

    def __init__(self, file: sqlite3.Connection, table: str, codec: Codec, most: int) -> None:
        self._file, self._codec, self._most = file, codec, most
        self._items: dict[str | None, list[Any]] = {}  # place and value; the last used is the last
        self._places = count()
        self._outside = 0
        self._sql = {name: text.format(table) for name, text in _STATEMENTS.items()}
        self._run("make", ())

    def __getitem__(self, key: str | None) -> Any:
        return self._item(key)[1]

    def __setitem__(self, key: str | None, value: Any) -> None:
        try:
            self._item(key)[1] = value
        except KeyError:
            self._keep(key, [next(self._places), value])

    def __delitem__(self, key: str | None) -> None:
        self._item(key)
        del self._items[key]

    def __len__(self) -> int:
        return len(self._items) + self._outside

    def __iter__(self) -> Iterator[str | None]:
        yield from (key for key, _ in self.copies())

    def items(self) -> ItemsView[str | None, Any]:
        """Return the items in the order in which they were first put in: copies, while nothing is changed."""
        return _Copies(self)

    def copies(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the items of `items`."""
        self._move_out(len(self._items))
        for key, value in self._run("all", ()):
            yield None if key == _NO_KEY else key, self._codec.unpack(json.loads(value))

    def _item(self, key: str | None) -> list[Any]:
        item = self._items.pop(key, None)
        if item is None:
            item = self._fetch(key)
        self._keep(key, item)
        return item

    def _fetch(self, key: str | None) -> list[Any]:
        """Move an item from the file into memory."""
        row = next(self._run("get", (_stored(key),)), None) if self._outside else None
        if row is None:
            raise KeyError(key)
        self._run("delete", (_stored(key),))
        self._outside -= 1
        return [row[0], self._codec.unpack(json.loads(row[1]))]

    def _keep(self, key: str | None, item: list[Any]) -> None:
        self._items[key] = item
        if len(self._items) > self._most:
            self._move_out(len(self._items) // 2)

    def _move_out(self, number: int) -> None:
        """Move the items that were not used for longest into the file."""
        pack = self._codec.pack
        oldest = list(islice(self._items, number))
        rows = [
            (_stored(key), place, json.dumps(pack(value), separators=(",", ":")))
            for key, (place, value) in ((key, self._items.pop(key)) for key in oldest)
        ]
        try:
            self._file.executemany(self._sql["put"], rows)
        except sqlite3.Error as error:
            raise SpillError(str(error)) from error
        self._outside += len(rows)

    def _run(self, name: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            return iter(self._file.execute(self._sql[name], values))
        except sqlite3.Error as error:
            raise SpillError(str(error)) from error


class _Copies(ItemsView[str | None, Any]):
    def __init__(self, spilled: Spilled) -> None:
        super().__init__(spilled)
        self._spilled = spilled

    def __iter__(self) -> Iterator[tuple[str | None, Any]]:
        return self._spilled.copies()


_STATEMENTS = {
    "make": "CREATE TABLE {} (key PRIMARY KEY, place INTEGER NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
    "get": "SELECT place, value FROM {} WHERE key = ?",
    "put": "INSERT INTO {} VALUES (?, ?, ?)",
    "delete": "DELETE FROM {} WHERE key = ?",
    "all": "SELECT key, value FROM {} ORDER BY place",
}


def _stored(key: str | None) -> str | bytes:
    return _NO_KEY if key is None else key
