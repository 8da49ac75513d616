"""The time that a line says it is from.

Rules:
- Known forms: ISO 8601 (also CBS, IIS/W3C and RFC 5424), `2026/11/29-02:10:33.123` (cluster.log, setupapi),
  month/day/year with or without AM and PM (usual Windows), CMTrace's two, and RFC 3164's `Nov 29 02:10:33`, whose year
  is given.
- A zone in the stamp counts; else the file's offset, which the caller may correct; `zoned` says which it was.
- Only the beginning of a line is looked at, but for CMTrace, which has it at the end.
- Where day and month can be either, the month is first, as American Windows writes; a first number above 12 is a day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

REACH = 120
"""Characters at a line's beginning within which a stamp is looked for."""
CMTRACE_REACH = 400
"""The same at the end, for CMTrace."""
_CLOCK = r"(?P<h>\d{1,2}):(?P<mi>\d{2}):(?P<s>\d{2})(?:[.,:](?P<f>\d{1,9}))?"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FORMS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"(?<!\d)(?P<y>\d{{4}})[-/](?P<mo>\d{{2}})[-/](?P<d>\d{{2}})[T \t-]{_CLOCK}"
        r"(?: ?(?P<z>Z|[+-]\d{2}:?\d{2})(?![\d-]))?",
        rf"(?<!\d)(?P<mo>\d{{1,2}})/(?P<d>\d{{1,2}})/(?P<y>\d{{4}}),?[ T-]+{_CLOCK}(?: ?(?P<half>[AaPp])[Mm])?",
        rf"(?:^|[\s>])(?P<name>{'|'.join(_MONTHS)}) +(?P<d>\d{{1,2}}) {_CLOCK}",
    )
)
_CMTRACE = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf'time="{_CLOCK}(?P<bias>[+-]\d{{1,4}})?" date="(?P<mo>\d{{1,2}})-(?P<d>\d{{1,2}})-(?P<y>\d{{4}})"',
        rf"\$\$<[^<>]*><(?P<mo>\d{{2}})-(?P<d>\d{{2}})-(?P<y>\d{{4}}) {_CLOCK}(?P<bias>[+-]\d{{1,4}})?>",
    )
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment in UTC; `zoned` if the line itself said its zone."""

    at: datetime
    zoned: bool


@dataclass(frozen=True, slots=True)
class Zone:
    """What a stamp leaves out: the file's offset from UTC, and the year of stamps that have none."""

    offset: timedelta = timedelta(0)
    year: int = 1970


UNKNOWN_ZONE = Zone()
"""Nothing is known of the file: its times are taken for UTC."""


def find_time(text: str, zone: Zone) -> Stamp | None:
    """Find the line's time, or None. A date or time that does not exist is none."""
    if "<time=" in text or "$$<" in text:
        found = _first(_CMTRACE, text[-CMTRACE_REACH:])
    else:
        found = _first(_FORMS, text[:REACH])
    if found is None:
        return None
    try:
        return _stamp({name: value for name, value in found.groupdict().items() if value}, zone)
    except (ValueError, OverflowError):
        return None


def _first(forms: tuple[re.Pattern[str], ...], text: str) -> re.Match[str] | None:
    return min(
        (found for form in forms if (found := form.search(text))),
        key=lambda match: match.start(),
        default=None,
    )


def _stamp(parts: dict[str, str], zone: Zone) -> Stamp:
    month = _MONTHS.index(parts["name"]) + 1 if "name" in parts else int(parts["mo"])
    day = int(parts["d"])
    if month > 12:
        month, day = day, month
    hour = int(parts["h"])
    if "half" in parts:
        if not 1 <= hour <= 12:
            raise ValueError(f"hour {hour} of a half day")
        hour = hour % 12 + (12 if parts["half"] in "Pp" else 0)
    fraction = int(parts.get("f", "0").ljust(6, "0")[:6])
    year = int(parts["y"]) if "y" in parts else zone.year
    local = datetime(year, month, day, hour, int(parts["mi"]), int(parts["s"]), fraction, UTC)
    own = _own_offset(parts)
    return Stamp(local - (zone.offset if own is None else own), own is not None)


def _own_offset(parts: dict[str, str]) -> timedelta | None:
    if "bias" in parts:  # CMTrace: minutes to add to local time for UTC
        return -timedelta(minutes=int(parts["bias"]))
    if "z" not in parts:
        return None
    if parts["z"] == "Z":
        return timedelta(0)
    digits = parts["z"][1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if parts["z"][0] == "-" else offset
