"""° Times as people type them: RFC 3339 with a zone, `now`, or so long ago or ahead, like -4h. `now` is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RELATIVE = re.compile(r"([+-])(\d{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HOW = "must be now, so long ago like -4h or -2d, or a time with its zone like 2026-11-20T14:00Z"


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment, in UTC; ValueError says what would do."""
    if text == "now":
        return now
    relative = _RELATIVE.fullmatch(text)
    try:
        if relative:
            sign, count, unit = relative.groups()
            return now + timedelta(**{_UNITS[unit]: int(sign + count)})
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:  # a stamp's local time would be another hour here
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text!r} {HOW}")
