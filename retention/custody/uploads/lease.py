"""Who writes to an upload: one request at a time, and how the one before is made to save and let go.

Rules:
- In one process the registry tells the old writer by an event: `stop` at once, `settling` as soon as nothing of its
  body waits, so that what came before the line broke is kept. In another one the records do: its token stands in
  `bundles.writer`, and ASKED before it means that it has been asked to save and let go.
- A request is expected from the moment that it is here, before it is known whose it is: who asks for the offset then
  waits until it writes or is refused.
- A writer that was asked still counts: what it saves is recorded. One whose token is gone is fenced off: nothing of it
  is recorded any more.
- A writer takes its token away when it ends, so a token that stays belongs to a process that died, or to a stuck one.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from sqlalchemy import select, update

from retention.custody.context import Custody
from retention.records.tables import bundles

HANDOVER_SECONDS = 10.0
"""How long a new request waits for the one before it in this process."""
SETTLE_SECONDS = 2.0
"""How long a writer that is asked to let go may go on with bytes that still come."""
RECHECK_SECONDS = 2.0
"""How long a slow request may go on taking bytes of an upload that was erased or taken over elsewhere."""
ELSEWHERE_SECONDS = 2 * RECHECK_SECONDS + 1
"""How long a writer of another process is waited for: it looks at its token every RECHECK_SECONDS."""
LOOK_SECONDS = 0.1
EXPECTED_SECONDS = 2.0
"""How long a request that is here may take to begin to write before nobody waits for it any more."""
RELEASE_ASKED = "?"


class Writer(Protocol):
    """What the registry knows of a session."""

    bundle_id: str
    stop: threading.Event
    settling: threading.Event
    left: threading.Event


class Uploads:
    """The uploads being written in this process, so that a second request can ask the first to let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Writer] = {}
        self._expected: dict[int, tuple[str, threading.Event]] = {}

    def expect(self, bundle_id: str) -> None:
        """This thread's request may be about to write to the upload."""
        with self._lock:
            self._expected[threading.get_ident()] = bundle_id, threading.Event()

    def arrived(self) -> None:
        """This thread's request writes, or never will."""
        with self._lock:
            _, event = self._expected.pop(threading.get_ident(), ("", None))
        if event is not None:
            event.set()

    def await_expected(self, bundle_id: str) -> None:
        """Wait a while for the requests that are here already to write to the upload, or to end."""
        with self._lock:
            expected = [event for of, event in self._expected.values() if of == bundle_id]
        for event in expected:
            event.wait(EXPECTED_SECONDS)

    def enter(self, writer: Writer) -> None:
        """Make `writer` the upload's writer here; waits a while for the one before to save and let go."""
        with self._lock:
            before = self._open.get(writer.bundle_id)
            self._open[writer.bundle_id] = writer
        self.arrived()
        if before is not None:
            before.stop.set()
            before.left.wait(HANDOVER_SECONDS)  # then the token fences it off anyhow

    def has(self, bundle_id: str) -> bool:
        """True while somebody here writes to the upload, or is about to: its token may not be on record yet."""
        with self._lock:
            return bundle_id in self._open

    def leave(self, writer: Writer) -> None:
        """`writer` writes no more."""
        writer.left.set()
        with self._lock:
            if self._open.get(writer.bundle_id) is writer:
                del self._open[writer.bundle_id]

    def let_go(self, bundle_id: str) -> None:
        """Have the upload's writer here, if there is one, save and let go; waits a while for it."""
        with self._lock:
            writer = self._open.get(bundle_id)
        if writer is not None:
            writer.settling.set()
            if not writer.left.wait(SETTLE_SECONDS):
                writer.stop.set()
                writer.left.wait(HANDOVER_SECONDS)

    def stop_all(self) -> None:
        """Ask every upload to save and let go: a graceful stop."""
        with self._lock:
            for writer in self._open.values():
                writer.stop.set()


def settle(custody: Custody, uploads: Uploads, bundle_id: str) -> None:
    """Have whoever writes to the upload, in any process, save and let go. One that does not answer is fenced off."""
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
