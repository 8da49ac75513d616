"""What the callers asked for, when, and what they were told: the judge's own record, kept outside the service.

Times are of the rehearsal's clock. Each is taken on the side that cannot accuse wrongly: before a request is sent for
what it allows, after its answer for what it promises.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

Key = tuple[str, int, int]
"""A read that no other read repeats: bundle, offset, length."""


@dataclass(slots=True)
class Upload:
    """`acknowledged`: the service has said that it has all of it. `went_on`: its last piece was sent."""

    bundle: str
    case: str | None
    seed: int
    size: int
    sha256: str
    created: datetime
    went_on: datetime
    acknowledged: datetime | None = None


@dataclass(slots=True)
class Ask:
    """An erasure that the customer asked for, of a bundle or of a case. `answered` None: the answer never came."""

    sent: datetime
    bundle: str | None = None
    case: str | None = None
    answered: datetime | None = None
    confirmation: str | None = None


@dataclass(slots=True)
class Close:
    """A case closed as of `closed_at`; and, if it was, reopened."""

    case: str
    closed_at: datetime
    sent: datetime
    answered: datetime | None = None
    reopened: datetime | None = None


@dataclass(slots=True)
class Read:
    """Plaintext that a caller has received: when its first byte came."""

    key: Key
    first_byte: datetime
    received: int


@dataclass(slots=True)
class Ledger:
    """Shared by all callers; `wrong` is what they saw themselves that must not be."""

    uploads: dict[str, Upload] = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    closes: list[Close] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Every checkpoint seen at any process: the note, and where it was seen first."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def held(self) -> Iterator[Ledger]:
        """One at a time."""
        with self._lock:
            yield self

    def of(self, bundle: str) -> Upload | None:
        return self.uploads.get(bundle)
