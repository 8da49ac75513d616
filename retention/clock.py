"""The clock. `now` is passed in everywhere; only assembly chooses which clock it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Tells the time: aware, UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class DevelopmentClock:
    """The machine's clock moved by the number of seconds that a file holds; for rehearsals, never for service.

    The file is shared by the processes of one state folder, so all of them move together.
    """

    def __init__(self, offset_file: Path) -> None:
        self._file = offset_file

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset()

    def set(self, now: datetime) -> None:
        """Let it be `now`."""
        seconds = (now - datetime.now(UTC)).total_seconds()
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds!r}\n")
        fresh.replace(self._file)

    def _offset(self) -> timedelta:
        try:
            return timedelta(seconds=float(self._file.read_text()))
        except FileNotFoundError:
            return timedelta(0)
