"""What the function app is configured with. The only module of this package that reads the environment.

| app setting | meaning | default |
|---|---|---|
| CASEVAULT_SWEEP_SCHEDULE | when the sweep looks for work; keep it at least hourly | 0 * * * * * |
| CASEVAULT_SEQUENCE_SCHEDULE | when entries get their place in the tree and a signed checkpoint | */10 * * * * * |
| CASEVAULT_WITNESS_SCHEDULE | when checkpoints are copied to the witness | 5/15 * * * * * |
| CASEVAULT_COSIGN_SCHEDULE | when the newest checkpoint is sent to be cosigned | 25 * * * * * |
| CASEVAULT_READ_BACK_SCHEDULE | when received bundles are put on the queue of the read-back | */30 * * * * * |
| CASEVAULT_SCRUB_SCHEDULE | when the scrubbing goes on, at the pace of CASEVAULT_SCRUB_DAYS | 0 * * * * * |
| CASEVAULT_TIDY_SCHEDULE | when the stores are searched for what dead writers left | 0 30 2 * * * |
| CASEVAULT_ERASE_QUEUE | the Storage queue that carries erasures | casevault-erase |
| CASEVAULT_READ_BACK_QUEUE | the one that carries read-backs; another | casevault-read-back |

- A schedule has the six fields of the Functions host, seconds first, UTC, and fires some time: `schedules.py`.
- Where the app setting exists, the trigger names it (`%CASEVAULT_ERASE_QUEUE%`) and the host resolves it; where it does
  not, the default stands: a forgotten setting must not stop the clock.
- The settings of custody are `retention.settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from functions.schedules import BadSchedule, check_schedule
from retention import settings as custody_settings
from retention.settings import SettingError

CONNECTION = "AzureWebJobsStorage"
"""The connection of the queues: the storage account that the host itself runs on."""
POISON = "-poison"
"""What the host appends to a queue's name for the messages that it gives up."""

DEFAULTS: Mapping[str, str] = {
    "CASEVAULT_SWEEP_SCHEDULE": "0 * * * * *",
    "CASEVAULT_SEQUENCE_SCHEDULE": "*/10 * * * * *",
    "CASEVAULT_WITNESS_SCHEDULE": "5/15 * * * * *",
    "CASEVAULT_COSIGN_SCHEDULE": "25 * * * * *",
    "CASEVAULT_READ_BACK_SCHEDULE": "*/30 * * * * *",
    "CASEVAULT_SCRUB_SCHEDULE": "0 * * * * *",
    "CASEVAULT_TIDY_SCHEDULE": "0 30 2 * * *",
    "CASEVAULT_ERASE_QUEUE": "casevault-erase",
    "CASEVAULT_READ_BACK_QUEUE": "casevault-read-back",
}
_QUEUES = ("CASEVAULT_ERASE_QUEUE", "CASEVAULT_READ_BACK_QUEUE")
# Queue names have 3 to 63 characters; seven are kept for the poison queue's suffix.
_QUEUE = re.compile(r"(?=.{3,56}$)[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Schedules and queues as the triggers name them, and custody's own settings."""

    sweep_schedule: str
    sequence_schedule: str
    witness_schedule: str
    cosign_schedule: str
    read_back_schedule: str
    scrub_schedule: str
    tidy_schedule: str
    erase_queue: str
    read_back_queue: str
    custody: custody_settings.Settings

    @property
    def poison_queue(self) -> str:
        """Where the host puts an erasure that it gives up."""
        return self.erase_queue + POISON

    @property
    def read_back_poison_queue(self) -> str:
        """Where the host puts a read-back that it gives up."""
        return self.read_back_queue + POISON


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`; SettingError names the app setting that is wrong."""
    if len({environ.get(name, DEFAULTS[name]) for name in _QUEUES}) < len(_QUEUES):
        raise SettingError(f"{' and '.join(_QUEUES)} name the same queue; each needs one of its own")
    return Settings(
        sweep_schedule=_expression(environ, "CASEVAULT_SWEEP_SCHEDULE"),
        sequence_schedule=_expression(environ, "CASEVAULT_SEQUENCE_SCHEDULE"),
        witness_schedule=_expression(environ, "CASEVAULT_WITNESS_SCHEDULE"),
        cosign_schedule=_expression(environ, "CASEVAULT_COSIGN_SCHEDULE"),
        read_back_schedule=_expression(environ, "CASEVAULT_READ_BACK_SCHEDULE"),
        scrub_schedule=_expression(environ, "CASEVAULT_SCRUB_SCHEDULE"),
        tidy_schedule=_expression(environ, "CASEVAULT_TIDY_SCHEDULE"),
        erase_queue=_expression(environ, "CASEVAULT_ERASE_QUEUE"),
        read_back_queue=_expression(environ, "CASEVAULT_READ_BACK_QUEUE"),
        custody=custody_settings.from_environment(environ),
    )


def this_process() -> Settings:
    """Settings from this process's environment: the host hands app settings to the worker as its environment."""
    return from_environment(os.environ)


def _expression(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is None:
        return DEFAULTS[name]
    if name.endswith("_SCHEDULE"):
        try:
            check_schedule(value)
        except BadSchedule as error:
            raise SettingError(f"{name} is {value!r}: {error}; such as {DEFAULTS[name]!r} would do") from None
    elif not _QUEUE.fullmatch(value):
        raise SettingError(f"{name} must be 3 to 56 of a-z, 0-9 and single hyphens between them")
    return f"%{name}%"
