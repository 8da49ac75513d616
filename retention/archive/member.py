"""One file as a format's reader finds it, before the rules common to all formats judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retention.archive.model import FileKind, Reason
from retention.archive.source import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Member:
    """`chunks` and `window` are good while the reader's iterator stands on this member (a tar.gz cannot go back)."""

    name: str
    kind: FileKind
    size: int | None
    packed_size: int | None
    modified: datetime | None
    reason: Reason | None  # what the format alone can know: encrypted, a link, overlapping
    chunks: Callable[[], Iterator[bytes]]
    window: Callable[[], Window | None]  # the bytes where they lie, if they lie there as they are


def since_epoch(seconds: float) -> datetime | None:
    """A time an archive claims, or None where it is no time at all."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None
