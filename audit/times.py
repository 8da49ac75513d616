"""The two forms of a moment: microseconds since the epoch in rows, RFC 3339 with six decimals in leaves.

Both are exact and convert to each other without floating point, so a row can be compared with its leaf.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(at: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def rfc3339(at: datetime) -> str:
    """`2026-11-20T09:30:00.000000Z`: always UTC, always six decimals, so equal moments are equal text."""
    if at.utcoffset() is None:
        raise ValueError("a moment must carry its time zone")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.utcoffset() is None:
        raise ValueError("a moment must carry its time zone")
    return at.astimezone(UTC)
