"""One file as several tus uploads at once (concatenation), so that a break of one leaves the line to the others.

- The file is cut into slices, by its size alone; each is a partial upload, and the last request makes one of them all.
  Slices become smaller towards the end of the file, so that all lanes end at nearly the same time.
- Every byte that arrives counts, as in any tus upload: on a bad line that is what makes this faster than blocks, which
  count whole or not at all.
- The service seals the bytes once more when it joins them: on a line that is near one connection is faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from intake_api.cli import tus
from intake_api.cli.blocks import Stretch
from intake_api.cli.client import Client
from intake_api.cli.errors import CliError, ServiceProblem
from intake_api.cli.lanes import run
from intake_api.cli.pace import Pace
from intake_api.cli.remembered import Begun, Remembered, Way

LANES = 3
_SMALLEST_SLICE = 1 << 18
_SMALLEST_SHARE = 64
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


def slices(size: int) -> list[Stretch]:
    """The file's slices; the same for every file of this size."""
    smallest = max(_SMALLEST_SLICE, size // _SMALLEST_SHARE)
    found: list[Stretch] = []
    at = 0
    while at < size:
        length = min(size - at, max(smallest, (size - at) // (2 * LANES)))
        found.append((at, length))
        at += length
    return found


class Stopped(CliError):
    """Another lane failed for good."""


class Partials:
    """The slices of one file, and where each stands."""

    def __init__(
        self, client: Client, size: int, announced: Mapping[str, str], place: Remembered, begun: Begun | None
    ) -> None:
        # Times are announced once: what another run would say of them does not count.
        self._announced = dict(begun.announced if begun is not None else announced)
        self._client, self._place = client, place
        self._slices = slices(size)
        self.whole = begun is not None and begun.whole
        known = begun.locations if begun is not None else ()
        self._locations = list(known) if len(known) == len(self._slices) else [""] * len(self._slices)
        self._done = [0] * len(self._slices)
        self._lock = threading.Lock()
        self._stopped = False
        self._next = iter(range(len(self._slices)))

    def look(self) -> int:
        """Ask where each slice stands: how many bytes the service has. What it has no more is begun anew."""
        for number, location in enumerate(self._locations):
            if location:
                try:
                    self._done[number] = tus.offset_of(self._client, location)
                except ServiceProblem as problem:
                    if problem.status not in GONE:
                        raise
                    self._locations[number] = ""
        return sum(self._done)

    def send(self, path: Path, progress: tus.Progress, pace: Pace, count: int) -> None:
        """Send all that is missing, over so many connections."""
        try:
            run(count, lambda: self._lane(path, progress, pace))
        finally:
            self._stopped = True

    @property
    def sha256(self) -> str | None:
        """The file's, as it is announced."""
        return self._announced.get("sha256")

    def join(self) -> str:
        """Make one upload of them; its address."""
        self.whole = True
        self._keep()  # before: when the answer is lost, the same request again has the same answer
        return tus.concatenate(self._client, self._locations, self._announced)

    def _lane(self, path: Path, progress: tus.Progress, pace: Pace) -> None:
        client = self._client.another()
        with path.open("rb") as source:
            while (number := self._take()) is not None:
                base, length = self._slices[number]
                if not self._locations[number]:
                    self._begun(number, tus.create_partial(client, length, self._announced.get("stamp")))
                location, told = self._locations[number], self._told(number, progress)
                offset = self._done[number]
                tus.send(
                    client, location, source, length, told, offset=offset, pace=pace, base=base, alone=False
                )

    def _take(self) -> int | None:
        with self._lock:
            while (number := next(self._next, None)) is not None:
                if self._done[number] < self._slices[number][1]:
                    return number
        return None

    def _begun(self, number: int, location: str) -> None:
        with self._lock:
            self._locations[number] = location
            self._keep()

    def _keep(self) -> None:
        self._place.keep(Begun(Way.PARALLEL, tuple(self._locations), self._announced, self.whole))

    def _told(self, number: int, progress: tus.Progress) -> Callable[[int], None]:
        def told(done: int) -> None:
            if self._stopped:
                raise Stopped("stopped")
            with self._lock:
                self._done[number] = done
                progress(sum(self._done))

        return told
