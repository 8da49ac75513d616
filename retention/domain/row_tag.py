"""What binds a row to the service: a keyed tag, so that a row alone opens nothing (P2, P6). Pure.

Rules:
- A tag is HMAC-SHA256 over the kind of thing and all facts that decide who reads what, under a key that only the
  service holds. Whoever writes the database without the key can make no tag, and no tag of one row is good for another.
- A tag that was good once can be put back together with its row. So what ends is bound as well: a case has one tag over
  everything that lets somebody read it now, with a version that only rises and the entry of the act that made it so. An
  older tag is older than what this process has seen, or than the log's newest act.
- The key is in no repr and no error. A lost key is never made anew: what it bound could not be told from forgeries.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from audit.times import to_microseconds

Fact = str | int | bool | None | datetime | Sequence["Fact"]
MOST_REMEMBERED = 200_000

BUNDLE, ACTOR, STAMP, TENANT, PARTNER, CASE = "bundle", "actor", "stamp", "tenant", "partner", "case"
COLUMNS = {
    BUNDLE: ("id", "tenant_id", "stamp_id", "case_id", "partial", "manifest"),
    ACTOR: ("id", "issuer", "subject"),
    STAMP: ("id", "tenant_id", "subject"),
    TENANT: ("id", "directory"),
    PARTNER: ("id", "name"),
}
"""What the tag in a row binds: the columns that never change, or only by an act that binds them anew."""


class Binding:
    """Makes and checks tags, and remembers the highest version of each case that this process has seen.

    Safe from many threads; not shown, not pickled.
    """

    __slots__ = ("_key", "_lock", "_seen")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def tag(self, kind: str, *facts: Fact) -> str:
        """The tag of a thing of this `kind`, in hex."""
        said = json.dumps([kind, *(_plain(fact) for fact in facts)], separators=(",", ":"))
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()

    def holds(self, tag: object, kind: str, *facts: Fact) -> bool:
        """True when the service made this tag for exactly these facts."""
        return isinstance(tag, str) and hmac.compare_digest(
            tag.encode(errors="replace"), self.tag(kind, *facts).encode()
        )

    def tag_row(self, kind: str, row: Any) -> str:
        """The tag of a row, given as what has its columns as attributes, or as a mapping of what is written."""
        return self.tag(kind, *(_column(row, name) for name in COLUMNS[kind]))

    def holds_row(self, kind: str, row: Any) -> bool:
        """True when the row's own `tag` is that of its columns."""
        return self.holds(_column(row, "tag"), kind, *(_column(row, name) for name in COLUMNS[kind]))

    def remember(self, case: str, version: int) -> None:
        """A committed version of the access to `case` was seen."""
        with self._lock:
            self._seen[case] = max(version, self._seen.pop(case, 0))
            if len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)

    def seen(self, case: str) -> int:
        """The highest version seen; 0 when none was."""
        return self._seen.get(case, 0)

    def __repr__(self) -> str:
        return "Binding(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a binding key is not pickled or copied")


def _plain(fact: Fact) -> Any:
    if isinstance(fact, datetime):
        return to_microseconds(fact)
    if fact is None or isinstance(fact, (str, bool, int)):
        return fact
    return [_plain(one) for one in fact]


def _column(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, dict) else getattr(row, name)
