"""The keyed tag that binds a row to the service, so that a row alone opens nothing (P2, P6). Pure.

Rules:
- A tag is HMAC-SHA256 over the kind of thing and all facts that decide who reads what, under a key that only the
  service holds. Somebody who writes the database without the key can make no tag, and one row's tag fits no other row.
- A tag that was good once can be put back together with its row. So endings are bound as well: a case has one tag over
  everything that lets somebody read it now, with a version that only rises and the entry of the act that made it so. An
  older tag is older than what this process has seen, or than the log's newest act.
- The key is in no repr and no error. A lost key is never replaced: what it bound would look like a forgery.
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
SESSION, APPROVAL, POLICY, REVIEW = "session", "approval", "approval-policy", "review"
RECEIVER, NOTICE = "notice-receiver", "notice"
COLUMNS = {
    BUNDLE: ("id", "tenant_id", "stamp_id", "case_id", "partial", "manifest"),
    ACTOR: ("id", "issuer", "subject"),
    STAMP: ("id", "tenant_id", "subject"),
    TENANT: ("id", "directory"),
    PARTNER: ("id", "name"),
    SESSION: (
        *("id", "secret_digest", "actor_id", "roles", "directory", "partner"),
        *("renew_at", "issuer_session", "ends_at"),
    ),
    POLICY: ("id", "tenant_id", "case_id", "rule", "long_minutes", "entry_id"),
    REVIEW: ("id", "state", "reviewed_at", "actor_id", "entry_id"),
    RECEIVER: ("id", "tenant_id", "actor_id", "way", "address", "added_at", "removed_at", "entry_id"),
    NOTICE: ("id", "receiver_id", "kind", "case_id", "at", "entry_id"),
    APPROVAL: (
        *("id", "tenant_id", "case_id", "actor_id", "partner", "reason", "duration_us", "asked_at"),
        *("lapses_at", "state", "grant_id", "entry_id"),
    ),
}
"""The columns bound by a row's tag: those that never change, or only by an act that binds them again."""


class Binding:
    """The maker and checker of tags, which remembers the highest version of each case and policy seen by this process.

    Thread-safe; never shown or pickled.
    """

    __slots__ = ("_key", "_lock", "_seen")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def tag(self, kind: str, *facts: Fact) -> str:
        """Return the tag of a thing of this `kind`, in hex."""
        said = json.dumps([kind, *(_plain(fact) for fact in facts)], separators=(",", ":"))
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()

    def secret(self, kind: str, *facts: Fact) -> bytes:
        """Derive the 32 bytes of a secret that is stored nowhere; no tag of a row is ever the same."""
        return bytes.fromhex(self.tag(f"secret {kind}", *facts))

    def holds(self, tag: object, kind: str, *facts: Fact) -> bool:
        """Return True if the service made this tag for exactly these facts."""
        return isinstance(tag, str) and hmac.compare_digest(
            tag.encode(errors="replace"), self.tag(kind, *facts).encode()
        )

    def tag_row(self, kind: str, row: Any) -> str:
        """Return the tag of a row, given as an object with its columns as attributes, or as a mapping of new values."""
        return self.tag(kind, *(_column(row, name) for name in COLUMNS[kind]))

    def holds_row(self, kind: str, row: Any) -> bool:
        """Return True if the row's own `tag` is that of its columns."""
        return self.holds(_column(row, "tag"), kind, *(_column(row, name) for name in COLUMNS[kind]))

    def remember(self, thing: str, version: int) -> None:
        """Note that this committed version of a case's access, or of a policy, was seen."""
        with self._lock:
            self._seen[thing] = max(version, self._seen.pop(thing, 0))
            if len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)

    def seen(self, thing: str) -> int:
        """Return the highest version seen; 0 if none was."""
        return self._seen.get(thing, 0)

    def __repr__(self) -> str:
        return "Binding(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a binding key cannot be pickled or copied")


def _plain(fact: Fact) -> Any:
    if isinstance(fact, datetime):
        return to_microseconds(fact)
    if fact is None or isinstance(fact, (str, bool, int)):
        return fact
    return [_plain(one) for one in fact]


def _column(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, dict) else getattr(row, name)
