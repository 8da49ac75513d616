"""Sending with an upload link and no token: through the Blob endpoint, in blocks, over several connections.

- The blob is named by a hash of the file's SHA-256 and its declared metadata. So the same file through the same link is
  the same upload, from any machine, and another file of the same name is another.
- What can be proven: the service checked each block's CRC64; the intake receipt, which a link with read permission can
  fetch for its own upload, names the SHA-256 of what is stored. Its signature is checked when the keys are at hand.
- Blocks are sent over several connections (lanes), so that a break of one leaves the line to the others. Each lane
  takes the next missing stretch, sends it, and counts it when the service has acknowledged it. The next free lane sends
  what one loses: the line does not wait for a new connection.
- A lane whose connection broke pauses (back-off and jitter) only when it breaks again before anything arrived.
- A permanent failure stops all lanes; so does a line that makes no progress for too long.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intake_api.blob.crc64 import crc64_of
from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import pause_before
from intake_api.cli.print_tables import say
from intake_api.cli.progress import transfer
from intake_api.cli.transfer.blob import UNSEEN, Blob, Cut, Link, Stretch, fitting, read_problem
from intake_api.cli.transfer.rate import Pace, run
from intake_api.cli.transfer.receipts import Keys, checked, wait_until, words
from intake_api.cli.transfer.remembered import Begun, Way
from intake_api.cli.transfer.source import SendJob, share
from intake_api.cli.transfer.tus import FRUITLESS, PASSING, SHORTER, Progress, insist
from retention.domain.receipt import INTAKE

_DAMAGED = "Crc64Mismatch"
_FRUITLESS = 4 * FRUITLESS


class Missing:
    """The stretches still to be sent, shared by the lanes."""

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
        """True once a block has arrived."""
        return bool(self.offsets)

    def take(self) -> Stretch | None:
        """Take the next block's stretch; None when all has arrived, or never will."""
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
        """Note that the service has a stretch; `seconds` if the time taken shows the line's speed."""
        with self._changed:
            self.offsets.append(offset)
            self._left -= length
            self._fruitless = 0
            if seconds is not None:
                self._cut.took(length, seconds)
            self._progress(self._size - self._left)
            self._changed.notify_all()

    def lost(self, stretch: Stretch, error: CliError) -> None:
        """Queue a stretch to be sent again; if that is in vain, stop all lanes and raise `error`."""
        with self._changed:
            self._gaps.append(stretch)
            self._fruitless += 1
            self._over = not may_pass(error) or self._fruitless > _FRUITLESS
            self._changed.notify_all()
            if self._over:
                raise error


def may_pass(error: CliError) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, ServiceProblem):
        return error.status in PASSING or error.code == _DAMAGED
    return isinstance(error, Unreachable)


def send(
    blob: Blob, path: Path, missing: Missing, metadata: Mapping[str, str], pace: Pace, count: int
) -> None:
    """Send what is missing of the file, over `count` connections."""
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
        # A time that includes making a connection does not show the line's speed.
        missing.arrived(offset, length, time.monotonic() - began if connected else None)
        broken, connected = 0, True


LANES = 4
UNSIGNED = "for this very file; its signature was not checked: pass --keys for that"
NO_RECEIPT = (
    "none: this link lacks the permission to read; the service checked each block's CRC64, and committed them"
)


@dataclass(frozen=True, slots=True)
class Received:
    """The receipt's fields, and how far they were checked."""

    fields: Mapping[str, Any]
    document: dict[str, Any]
    held: str


def blob_name(it: SendJob, sha256: str | None) -> str:
    """Make the blob's name: the same for the same bytes and metadata; its last segment is the file's name."""
    told = json.dumps([sha256 or it.what.identity, sorted(it.same.items())])
    return f"{hashlib.sha256(told.encode()).hexdigest()[:32]}/{it.what.name}"


def deliver(it: SendJob, link: Link) -> tuple[Blob, str | None, str | None]:
    """Send the file or the rest of it; return the blob, the bundle's id, and the file's SHA-256 if declared.

    The link is tried before the file is read for its digest; ServiceProblem says why it would not work.
    """
    size = it.what.size
    client = it.client.elsewhere(link.server, read_problem)
    Blob(link, it.what.name, it.client).standing(client)
    sha256 = it.sha256()
    name = blob_name(it, sha256)
    blob = Blob(link, name, it.client)
    standing = blob.standing(client)
    kept, gaps = fitting(standing.held, size)
    begun = it.place.begun()
    announced = begun.announced if begun and begun.way is Way.LINK else it.announced(sha256)
    if standing.whole and standing.size != size:
        raise CliError(f"the service has another file under the blob name {name}; ask for another link")
    if standing.whole or kept:
        there = size if standing.whole else size - sum(length for _, length in gaps)
        say(f"resuming {standing.bundle}: the service has {share(there, size)} already")
    bundle = standing.bundle
    if not standing.whole:
        it.place.keep(Begun(Way.LINK, announced=announced))
        with transfer("sending", size) as progress:
            missing = Missing(gaps, kept, size, progress)
            send(blob, it.what.path, missing, announced, it.pace, it.connections or LANES)
        bundle = insist(client, lambda: blob.commit(client, sorted(missing.offsets), announced))
    it.place.forget()
    return blob, bundle, sha256


def receive(blob: Blob, keys: Keys | None) -> Received | None:
    """Wait until the service has read the bundle back; fetch the intake receipt, or None if this link shows none."""
    client = blob.connect()
    document: dict[str, Any] = {}

    def ready() -> bool:
        document.update(blob.receipt(client) or {})
        return bool(document)

    try:
        wait_until(client, ready, "the intake receipt")
    except ServiceProblem as problem:
        if problem.code != UNSEEN:
            raise
        return None
    if keys is None:
        fields = document.get("receipt")
        if not isinstance(fields, Mapping) or fields.get("format") != INTAKE:
            raise CliError("the document that the service returned is not an intake receipt")
        return Received(fields, document, UNSIGNED)
    found = checked(document, keys, INTAKE)
    return Received(found.fields, document, words(found))
