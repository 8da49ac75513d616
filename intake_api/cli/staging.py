"""The blocks of one file, sent over several connections: a break of one leaves the line to the others.

- Each lane takes the next stretch of what is missing, sends it, and counts it when the service has answered. What one
  loses the next free lane sends: the line does not wait for a new connection.
- A lane whose connection broke pauses (back-off and jitter) only when it breaks again before anything arrived.
- What cannot get better stops all lanes; so does a line that brings nothing for too long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from intake_api.blob.crc64 import crc64_of
from intake_api.cli.blob import Blob
from intake_api.cli.blocks import Cut, Stretch
from intake_api.cli.client import pause_before
from intake_api.cli.errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.lanes import run
from intake_api.cli.pace import Pace
from intake_api.cli.tus import FRUITLESS, PASSING, SHORTER, Progress

_DAMAGED = "Crc64Mismatch"
_FRUITLESS = 4 * FRUITLESS


class Missing:
    """The stretches that are still to be sent, shared by the lanes."""

    def __init__(self, gaps: Iterable[Stretch], kept: Iterable[int], size: int, progress: Progress) -> None:
        self._gaps = list(gaps)[::-1]
        self.offsets = list(kept)
        left = sum(length for _, length in self._gaps)
        self._cut = Cut(left, len(self.offsets))
        self._size, self._left, self._progress = size, left, progress
        self._changed = threading.Condition()
        self._fruitless = 0
        self._over = False

    @property
    def begun(self) -> bool:
        """True once a block is there."""
        return bool(self.offsets)

    def take(self) -> Stretch | None:
        """The next block's stretch; None when all has arrived, or never will."""
        with self._changed:
            while not self._gaps and self._left and not self._over:
                self._changed.wait()
            if self._over or not self._left:
                return None
            offset, length = self._gaps.pop()
            taken = min(length, self._cut.length)
            if length > taken:
                self._gaps.append((offset + taken, length - taken))
            return offset, taken

    def arrived(self, offset: int, length: int, seconds: float | None) -> None:
        """The service has it; `seconds` if what it took says how fast the line is."""
        with self._changed:
            self.offsets.append(offset)
            self._left -= length
            self._fruitless = 0
            if seconds is not None:
                self._cut.took(length, seconds)
            self._progress(self._size - self._left)
            self._changed.notify_all()

    def lost(self, stretch: Stretch, error: CliError) -> None:
        """It has to be sent again; `error` is raised, and no lane goes on, if that is in vain."""
        with self._changed:
            self._gaps.append(stretch)
            self._fruitless += 1
            self._over = not may_pass(error) or self._fruitless > _FRUITLESS
            self._changed.notify_all()
            if self._over:
                raise error


def may_pass(error: CliError) -> bool:
    """Whether the same request may do better later."""
    if isinstance(error, ServiceProblem):
        return error.status in PASSING or error.code == _DAMAGED
    return isinstance(error, Unreachable)


def send(
    blob: Blob, path: Path, missing: Missing, metadata: Mapping[str, str], pace: Pace, count: int
) -> None:
    """Send what is missing of the file, over so many connections."""
    with path.open("rb") as source:
        run(count, lambda: _lane(blob, source.fileno(), missing, metadata, pace))


def _lane(blob: Blob, source: int, missing: Missing, metadata: Mapping[str, str], pace: Pace) -> None:
    client = blob.connect()
    broken, connected = 0, False
    while (stretch := missing.take()) is not None:
        offset, length = stretch
        content = os.pread(source, length, offset)
        if len(content) < length:
            raise CliError(SHORTER)
        began = time.monotonic()
        try:
            blob.put(client, offset, pace.cut(content), crc64_of(content), {} if missing.begun else metadata)
        except CliError as error:
            missing.lost(stretch, error)
            broken, connected = broken + 1, False
            if broken > 1 or isinstance(error, ServiceProblem):
                client.sleep(pause_before(broken))
            continue
        # What includes making a connection does not say how fast the line is.
        missing.arrived(offset, length, time.monotonic() - began if connected else None)
        broken, connected = 0, True
