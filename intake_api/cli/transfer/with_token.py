"""Sending with a token, over tus: by one connection, or by several that each send a partial upload.

- Which is faster was measured (docs/intake.md): one connection to a near service, because nothing is sealed twice;
  several over a line with a long round trip, where each break costs several of them and the other connections go on
  meanwhile. So the round trip decides. An upload is resumed as it was begun.
- With several (lanes), the file is cut into slices, by its size alone; each is a partial upload, and the last request
  joins them (tus concatenation). Slices become smaller towards the end of the file, so that all lanes end at nearly the
  same time.
- Every byte that arrives counts, as in any tus upload: on a bad line that makes this faster than blocks, which count
  whole or not at all.
- The service seals the bytes again when it joins them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import Client
from intake_api.cli.print_tables import say
from intake_api.cli.progress import transfer
from intake_api.cli.transfer import tus
from intake_api.cli.transfer.blob import Stretch
from intake_api.cli.transfer.rate import Pace, run
from intake_api.cli.transfer.remembered import Begun, Remembered, Way
from intake_api.cli.transfer.source import SendJob, share

LANES = 3
_SMALLEST_SLICE = 1 << 18
_SMALLEST_SHARE = 64
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


def slices(size: int) -> list[Stretch]:
    """Cut a file of `size` bytes into slices; the same for every file of this size."""
    smallest = max(_SMALLEST_SLICE, size // _SMALLEST_SHARE)
    found: list[Stretch] = []
    at = 0
    while at < size:
        length = min(size - at, max(smallest, (size - at) // (2 * LANES)))
        found.append((at, length))
        at += length
    return found


class Stopped(CliError):
    """A stop because another lane failed for good."""


class Partials:
    """The slices of one file, and how much of each the service has."""

    def __init__(
        self, client: Client, size: int, announced: Mapping[str, str], place: Remembered, begun: Begun | None
    ) -> None:
        # Times are declared once: what another run would declare does not count.
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
        """Ask how many bytes of each slice the service has; return their sum. A lost slice is begun anew."""
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
        """Send all that is missing, over `count` connections."""
        try:
            run(count, lambda: self._lane(path, progress, pace))
        finally:
            self._stopped = True

    @property
    def sha256(self) -> str | None:
        """Return the file's SHA-256 as declared."""
        return self._announced.get("sha256")

    def join(self) -> str:
        """Join them into one upload; return its address."""
        self.whole = True
        self._keep()  # before: if the response is lost, the same request again gets the same response
        return tus.concatenate(self._client, self._locations, self._announced)

    def _lane(self, path: Path, progress: tus.Progress, pace: Pace) -> None:
        client = self._client.another()
        with path.open("rb") as source:
            while (number := self._take()) is not None:
                base, length = self._slices[number]
                if not self._locations[number]:
                    self._begun(number, tus.create_partial(client, length, self._announced.get("stamp")))
                location, told = self._locations[number], self._progress_of(number, progress)
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

    def _progress_of(self, number: int, progress: tus.Progress) -> Callable[[int], None]:
        def told(done: int) -> None:
            if self._stopped:
                raise Stopped("stopped")
            with self._lock:
                self._done[number] = done
                progress(sum(self._done))

        return told


FAR_SECONDS = 0.1
WORTH_IT = 1 << 20
"""Bytes from which several connections are worth setting up."""
_LOOK_BACK = 200
_Standing = tuple[str, int]
"""An upload over one connection: its address and its offset."""


def deliver(it: SendJob) -> tuple[str, str | None]:
    """Send the file or the rest of it; return the bundle's id, and the file's SHA-256 if declared."""
    begun = it.place.begun()
    if begun is not None and begun.way is Way.PARALLEL:
        return _by_several(it, begun.announced, begun)
    standing = _begun_before(it, begun) or (_begun_elsewhere(it) if it.saved else None)
    if standing is not None:
        location, kept = standing
        say(f"resuming {tus.bundle_of(location)}: the service has {share(kept, it.what.size)} already")
        return _by_one(it, location, kept), it.what.sha256
    try:
        tus.preflight(it.client, it.what.size, it.metadata)
    except (
        ServiceProblem
    ) as error:  # a file erased lately may be recognised by its digest, which is not known yet
        if error.reason != "erased-lately" or not it.with_digest:
            raise
    several = it.what.size > 0 and (it.connections > 1 if it.connections else _is_worth_it(it))
    sha256 = it.sha256()
    announced = it.announced(sha256)
    if several:
        return _by_several(it, announced, None)
    return _by_one(it, tus.create(it.client, it.what.size, announced), 0), sha256


def _is_worth_it(it: SendJob) -> bool:
    """Decide whether to use several connections by default. Not for a saved bundle: another machine may resume it."""
    return not it.saved and it.what.size >= WORTH_IT and is_far(it.client)


def is_far(client: Client) -> bool:
    """Tell whether a round trip takes long, over the connection already made."""
    began = time.monotonic()
    try:
        client.knock()
    except Unreachable:
        return True  # a line that breaks: all the more
    return time.monotonic() - began >= FAR_SECONDS


def _by_one(it: SendJob, location: str, offset: int) -> str:
    it.place.keep(Begun(Way.TUS, (location,)))
    size = it.what.size
    with it.what.path.open("rb") as source, transfer("sending", size) as progress:
        tus.send(it.client, location, source, size, progress, offset=offset, pace=it.pace)
    it.place.forget()
    return tus.bundle_of(location)


def _by_several(it: SendJob, announced: Mapping[str, str], begun: Begun | None) -> tuple[str, str | None]:
    parts = Partials(it.client, it.what.size, announced, it.place, begun)
    if not parts.whole:
        if kept := parts.look():
            say(f"resuming: the service has {share(kept, it.what.size)} already")
        with transfer("sending", it.what.size) as progress:
            parts.send(it.what.path, progress, it.pace, it.connections or LANES)
    try:
        location = parts.join()
    except ServiceProblem as problem:
        if problem.status in GONE:
            it.place.forget()  # the parts expired: begin anew
        raise
    it.place.forget()
    return tus.bundle_of(location), parts.sha256


def _begun_before(it: SendJob, begun: Begun | None) -> _Standing | None:
    """Find the upload that this machine began and the service still has."""
    if begun is None or begun.way is not Way.TUS or not any(begun.locations):
        return None
    location = begun.locations[0]
    try:
        return location, tus.offset_of(it.client, location)
    except ServiceProblem as problem:
        if problem.status not in GONE:
            raise
        it.place.forget()  # expired or erased meanwhile
        return None


def _begun_elsewhere(it: SendJob) -> _Standing | None:
    """Find the same saved bundle at the service, complete or not, whichever machine sent it, by its SHA-256."""
    since = datetime.fromisoformat(it.metadata["time_collected"])
    query = {name: it.metadata.get(name) for name in ("case", "type", "stamp")}
    found = it.client.items("/bundles", _LOOK_BACK, **query)
    for item in takewhile(lambda one: datetime.fromisoformat(one["time_collected"]) >= since, found):
        if item["state"] not in ("receiving", "received", "complete") or item["size"] != it.what.size:
            continue
        try:
            kept, told = tus.kept_of(it.client, location := f"/uploads/{item['id']}")
        except ServiceProblem:
            continue  # expired meanwhile, or not ours to write to
        if told.get("sha256") == it.what.sha256:
            return location, kept
    return None
