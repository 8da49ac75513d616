"""The clock that is passed in, and the two forms of a moment: microseconds in rows, RFC 3339 in leaves.

Microseconds count from the epoch; RFC 3339 has six decimals. Both are exact and convert to each other without floating
point, so a row can be compared with its leaf.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_BEYOND = "{!r} is not in the years 1 to 9999 in UTC"


class Clock(Protocol):
    """A source of the present time."""

    def now(self) -> datetime:
        """Return the present moment, with its time zone."""
        ...


def to_microseconds(at: datetime) -> int:
    """Return the microseconds from the epoch to `at`, which must carry its time zone."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(us: int) -> datetime:
    """Return the moment `us` microseconds after the epoch, in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def rfc3339(at: datetime) -> str:
    """Write `at` as `2026-11-20T09:30:00.000000Z`: always UTC and six decimals, so equal moments are equal text."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone; give it one")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 time as a moment in UTC; ValueError if it is malformed or lacks its time zone."""
    at = datetime.fromisoformat(text)
    if at.utcoffset() is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z or an offset such as +01:00")
    if not _FIRST <= (at - _EPOCH) // _MICROSECOND <= _LAST:
        raise ValueError(_BEYOND.format(text))
    return at.astimezone(UTC)


def microseconds_of(text: str) -> int:
    """Read an RFC 3339 time as microseconds, as `parse_rfc3339` reads it; a TypeError if it lacks its time zone."""
    us = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    if not _FIRST <= us <= _LAST:
        raise ValueError(_BEYOND.format(text))
    return us
