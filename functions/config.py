"""The function app's settings, and the check of its schedules. Alone in this package reads the environment.

| app setting | meaning | default |
|---|---|---|
| CASEVAULT_SWEEP_SCHEDULE | when the sweep looks for work; keep it at least hourly | 0 * * * * * |
| CASEVAULT_SEQUENCE_SCHEDULE | when entries get their place in the tree and a signed checkpoint | */10 * * * * * |
| CASEVAULT_WITNESS_SCHEDULE | when checkpoints are copied to the witness | 5/15 * * * * * |
| CASEVAULT_COSIGN_SCHEDULE | when the newest checkpoint is sent to be cosigned | 25 * * * * * |
| CASEVAULT_READ_BACK_SCHEDULE | when received bundles are put on the read-back queue | */30 * * * * * |
| CASEVAULT_SCRUB_SCHEDULE | when scrubbing continues, at the pace of CASEVAULT_SCRUB_DAYS | 0 * * * * * |
| CASEVAULT_INDEX_SCHEDULE | when contents indexes are made of the bundles that have none | 15 * * * * * |
| CASEVAULT_NOTICES_SCHEDULE | when notices that wait are sent | 10/30 * * * * * |
| CASEVAULT_TIDY_SCHEDULE | when the stores are searched for leftovers of dead writers | 0 30 2 * * * |
| CASEVAULT_ERASE_QUEUE | the Storage queue that carries erasures | casevault-erase |
| CASEVAULT_READ_BACK_QUEUE | the Storage queue that carries read-backs; not the same one | casevault-read-back |

- Where the app setting exists, the trigger names it (`%CASEVAULT_ERASE_QUEUE%`) and the host resolves it; where it does
  not, the default applies: a forgotten setting must not stop the clock.
- The settings of custody are in `retention.config`.
- A schedule has the six fields of the Functions host (NCrontab), in UTC, and must fire some time. NCrontab differs from
  cron where it matters here, so `check_schedule` repeats its rules:
  - second, minute, hour, day of the month, month, day of the week; each a list of `*`, a value, a range, with `/step`.
  - Days of the week are 0 to 6, Sunday first: 7 is refused. English names may be cut short anywhere (`Ju` is June).
  - A value with a step runs to the field's end; a reversed range is turned round; a step below 1 is 1.
  - A day must be in the month AND be that day of the week. So a schedule fires if some month has such a day: every 29th
    of February and every day of the week coincide some time, the 30th of February never comes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from retention import config as custody_settings
from retention.config import SettingError

_STEP = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST = {month: 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)}


class BadSchedule(ValueError):
    """A schedule that the host would refuse or never run; the text says which field is wrong."""


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
    """Raise BadSchedule unless the host accepts the schedule and it fires some time."""
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
            raise BadSchedule(f"the {field.name} has the step {step_text!r}: use a whole number")
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
            raise BadSchedule(f"{text!r} is not a valid {field.name}: use {field.least} to {field.most}")
        value = named[0]
    if not field.least <= value <= field.most:
        raise BadSchedule(f"{value} is not a valid {field.name}: use {field.least} to {field.most}")
    return value


CONNECTION = "AzureWebJobsStorage"
"""The queues' connection: the storage account that the host itself runs on."""
POISON = "-poison"
"""The suffix of the queue to which the host moves messages that it gives up on."""

DEFAULTS: Mapping[str, str] = {
    "CASEVAULT_SWEEP_SCHEDULE": "0 * * * * *",
    "CASEVAULT_SEQUENCE_SCHEDULE": "*/10 * * * * *",
    "CASEVAULT_WITNESS_SCHEDULE": "5/15 * * * * *",
    "CASEVAULT_COSIGN_SCHEDULE": "25 * * * * *",
    "CASEVAULT_READ_BACK_SCHEDULE": "*/30 * * * * *",
    "CASEVAULT_SCRUB_SCHEDULE": "0 * * * * *",
    "CASEVAULT_INDEX_SCHEDULE": "15 * * * * *",
    "CASEVAULT_NOTICES_SCHEDULE": "10/30 * * * * *",
    "CASEVAULT_TIDY_SCHEDULE": "0 30 2 * * *",
    "CASEVAULT_ERASE_QUEUE": "casevault-erase",
    "CASEVAULT_READ_BACK_QUEUE": "casevault-read-back",
}
_QUEUES = ("CASEVAULT_ERASE_QUEUE", "CASEVAULT_READ_BACK_QUEUE")
# Queue names have 3 to 63 characters; seven are kept for the poison queue's suffix.
_QUEUE = re.compile(r"(?=.{3,56}$)[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The schedules and queues as the triggers name them, and custody's own settings."""

    sweep_schedule: str
    sequence_schedule: str
    witness_schedule: str
    cosign_schedule: str
    read_back_schedule: str
    scrub_schedule: str
    index_schedule: str
    notices_schedule: str
    tidy_schedule: str
    erase_queue: str
    read_back_queue: str
    custody: custody_settings.Settings

    @property
    def poison_queue(self) -> str:
        """The queue to which the host moves an erasure that it gives up on."""
        return self.erase_queue + POISON

    @property
    def read_back_poison_queue(self) -> str:
        """The queue to which the host moves a read-back that it gives up on."""
        return self.read_back_queue + POISON


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; SettingError names the wrong app setting."""
    if len({environ.get(name, DEFAULTS[name]) for name in _QUEUES}) < len(_QUEUES):
        raise SettingError(f"{' and '.join(_QUEUES)} name the same queue; each needs one of its own")
    return Settings(
        sweep_schedule=_expression(environ, "CASEVAULT_SWEEP_SCHEDULE"),
        sequence_schedule=_expression(environ, "CASEVAULT_SEQUENCE_SCHEDULE"),
        witness_schedule=_expression(environ, "CASEVAULT_WITNESS_SCHEDULE"),
        cosign_schedule=_expression(environ, "CASEVAULT_COSIGN_SCHEDULE"),
        read_back_schedule=_expression(environ, "CASEVAULT_READ_BACK_SCHEDULE"),
        scrub_schedule=_expression(environ, "CASEVAULT_SCRUB_SCHEDULE"),
        index_schedule=_expression(environ, "CASEVAULT_INDEX_SCHEDULE"),
        notices_schedule=_expression(environ, "CASEVAULT_NOTICES_SCHEDULE"),
        tidy_schedule=_expression(environ, "CASEVAULT_TIDY_SCHEDULE"),
        erase_queue=_expression(environ, "CASEVAULT_ERASE_QUEUE"),
        read_back_queue=_expression(environ, "CASEVAULT_READ_BACK_QUEUE"),
        custody=custody_settings.from_environment(environ),
    )


def this_process() -> Settings:
    """Read the settings from this process's environment, where the host puts the app settings."""
    return from_environment(os.environ)


def _expression(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is None:
        return DEFAULTS[name]
    if name.endswith("_SCHEDULE"):
        try:
            check_schedule(value)
        except BadSchedule as error:
            raise SettingError(f"{name} is {value!r}: {error} (for example {DEFAULTS[name]!r})") from None
    elif not _QUEUE.fullmatch(value):
        raise SettingError(
            f"{name} is {value!r}: use 3 to 56 of a-z and 0-9, with single hyphens between them"
        )
    return f"%{name}%"
