"""The lease of an upload: one writer at a time, and how the previous one is made to save and let go.

Rules:
- Within one process the registry tells the old writer by an event: `stop` at once, `settling` as soon as none of its
  body waits, so that bytes received before the connection broke are kept. Between processes the records do: the
  writer's token stands in `bundles.writer`, and RELEASE_ASKED before it means that it was asked to save and let go.
- A request is expected from its arrival, before its caller is known: a request for the offset then waits until it
  writes or is refused.
- A writer that was asked to let go still counts: what it saves is recorded. A writer whose token is gone is fenced off:
  nothing more of it is recorded.
- A writer removes its token when it ends, so a token that stays belongs to a process that died or is stuck.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import select, update

from retention.custody.context import Custody
from retention.records.tables import bundles

HANDOVER_SECONDS = 10.0
"""How long a new request waits for the previous one in this process."""
SETTLE_SECONDS = 2.0
"""How long a writer that is asked to let go can continue with bytes that still arrive."""
RECHECK_SECONDS = 2.0
"""How long a slow request can go on taking bytes of an upload that was erased or taken over elsewhere."""
ELSEWHERE_SECONDS = 2 * RECHECK_SECONDS + 1
"""How long to wait for a writer in another process, which checks its token every RECHECK_SECONDS."""
LOOK_SECONDS = 0.1
EXPECTED_SECONDS = 2.0
"""How long to wait for a request that has arrived to begin writing."""
RELEASE_ASKED = "?"


class Writer(Protocol):
    """A session, as the registry knows it."""

    bundle_id: str
    stop: threading.Event
    settling: threading.Event
    left: threading.Event


class Uploads:
    """The registry of uploads being written in this process, so that a second request can ask the first to let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Writer] = {}
        self._expected: dict[int, tuple[str, threading.Event]] = {}

    def expect(self, bundle_id: str) -> None:
        """Note that this thread's request may be about to write to the upload."""
        with self._lock:
            self._expected[threading.get_ident()] = bundle_id, threading.Event()

    def arrived(self) -> None:
        """Note that this thread's request writes, or never will."""
        with self._lock:
            _, event = self._expected.pop(threading.get_ident(), ("", None))
        if event is not None:
            event.set()

    def expected(self, bundle_id: str) -> list[threading.Event]:
        """Return an event for each request that has arrived for the upload and neither writes nor has ended yet."""
        with self._lock:
            return [event for of, event in self._expected.values() if of == bundle_id]

    def enter(self, writer: Writer) -> None:
        """Make `writer` the upload's writer here; wait a while for the previous one to save and let go."""
        with self._lock:
            before = self._open.get(writer.bundle_id)
            self._open[writer.bundle_id] = writer
        self.arrived()
        if before is not None:
            before.stop.set()
            before.left.wait(HANDOVER_SECONDS)  # after that the token fences it off

    def has(self, bundle_id: str) -> bool:
        """Return True while a request here writes to the upload, or is about to: its token may not be on record yet."""
        with self._lock:
            return bundle_id in self._open

    def leave(self, writer: Writer) -> None:
        """Note that `writer` writes no more."""
        writer.left.set()
        with self._lock:
            if self._open.get(writer.bundle_id) is writer:
                del self._open[writer.bundle_id]

    def let_go(self, bundle_id: str) -> None:
        """Have the upload's writer here, if there is one, save and let go; wait a while for it."""
        with self._lock:
            writer = self._open.get(bundle_id)
        if writer is not None:
            writer.settling.set()
            if not writer.left.wait(SETTLE_SECONDS):
                writer.stop.set()
                writer.left.wait(HANDOVER_SECONDS)

    def stop_all(self) -> None:
        """Ask every writer to save and let go: a graceful stop."""
        with self._lock:
            for writer in self._open.values():
                writer.stop.set()


def await_arrival(expected: Sequence[threading.Event]) -> None:
    """Wait, EXPECTED_SECONDS in all, until these requests write to their upload, or end."""
    give_up = time.monotonic() + EXPECTED_SECONDS
    for event in expected:
        event.wait(max(0.0, give_up - time.monotonic()))


def settle(custody: Custody, uploads: Uploads, bundle_id: str) -> None:
    """Have the upload's writer, in any process, save and let go. One that does not respond is fenced off."""
    uploads.let_go(bundle_id)
    token = _token(custody, bundle_id)
    if token is None:
        return
    asked = RELEASE_ASKED + token.removeprefix(RELEASE_ASKED)
    _replace(custody, bundle_id, token, asked)
    give_up = time.monotonic() + ELSEWHERE_SECONDS
    while _token(custody, bundle_id) == asked:
        if time.monotonic() > give_up:
            _replace(custody, bundle_id, asked, None)
            return
        time.sleep(LOOK_SECONDS)


def _token(custody: Custody, bundle_id: str) -> str | None:
    with custody.records.read() as reads:
        return reads.execute(select(bundles.c.writer).where(bundles.c.id == bundle_id)).scalar()


def _replace(custody: Custody, bundle_id: str, token: str, by: str | None) -> None:
    held = bundles.c.id == bundle_id, bundles.c.writer == token
    custody.records.write(lambda tx: tx.change(update(bundles).where(*held).values(writer=by)))
