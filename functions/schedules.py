"""A timer's schedule as the Functions host reads it: NCrontab's six fields, and whether it ever fires. Pure.

NCrontab differs from cron where it matters here, so its own rules are repeated:
- second, minute, hour, day of the month, month, day of the week; each a list of `*`, a value, a range, with `/step`.
- Days of the week are 0 to 6, Sunday first: 7 is refused. English names may be cut short anywhere (`Ju` is June).
- A value with a step goes on to the field's end; a range the wrong way round is turned; a step below 1 is 1.
- A day must be in the month AND be that day of the week. So a schedule fires if there is a month with such a day:
  every 29th of February and every day of the week meet some time, the 30th of February never comes.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass

_STEP = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)}


class BadSchedule(ValueError):
    """The host would refuse the schedule, or never run it; the text says which field is wrong."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)


def check_schedule(text: str) -> None:
    """BadSchedule unless the host takes the schedule and it fires some time."""
    parts = text.split(" ")
    if len(parts) != len(_FIELDS):
        raise BadSchedule(f"it has {len(parts)} fields: six are needed, seconds first")
    values = [_values(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    days, months = values[3], values[4]
    if not any(min(days) <= _LONGEST[month] for month in months):
        raise BadSchedule(f"it never fires: no month of {parts[4]!r} has a day {parts[3]!r}")


def _values(field: _Field, text: str) -> Set[int]:
    found: set[int] = set()
    for item in text.split(","):
        base, slash, step_text = item.partition("/")
        if slash and not _STEP.fullmatch(step_text):
            raise BadSchedule(f"{step_text!r} is no step of its {field.name}")
        first, last = _range(field, base, stepped=bool(slash))
        found.update(range(first, last + 1, max(1, int(step_text or 1))))
    return found


def _range(field: _Field, text: str, *, stepped: bool) -> tuple[int, int]:
    if text == "*":
        return field.least, field.most
    begin, dash, end = text.partition("-")
    first = _value(field, begin)
    last = _value(field, end) if dash else field.most if stepped else first
    return min(first, last), max(first, last)


def _value(field: _Field, text: str) -> int:
    if _NUMBER.fullmatch(text):
        value = int(text)
    else:
        named = [
            at for at, name in enumerate(field.names, field.least) if text and name.startswith(text.lower())
        ]
        if not named:
            raise BadSchedule(f"{text!r} is no {field.name}")
        value = named[0]
    if not field.least <= value <= field.most:
        raise BadSchedule(f"{value} is no {field.name}: it is {field.least} to {field.most}")
    return value
