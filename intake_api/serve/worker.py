"""The worker process around the HTTP API: start, readiness, stop.

Stop: SIGTERM or SIGINT -> the server accepts no more and finishes what runs. Uploads are asked to keep what they have
and let go, again and again until the process ends, so that one that has only just begun is told too. Downloads continue
while they move, until shortly before the end by force; then they are cut, and their entries say so.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from intake_api.api.app import create_app
from intake_api.api.context import open_door
from intake_api.api.problems import turned_away
from intake_api.config import ServerSettings
from intake_api.http.idle_connections import Connections
from intake_api.http.request_body import LastReadFirst
from intake_api.http.seats import READINESS, Seated, Seats
from intake_api.logs import RequestLog, log_unexpected, note_routes
from intake_api.portal import portal_pages
from intake_api.processes import end_with_parent, in_background, leave_terminal_group
from intake_api.serve.metrics import observer_of
from intake_api.serve.stop_accepting import stop_accepting
from intake_api.serve.worker_health import responds
from retention.assembly import Services
from retention.custody.context import Custody

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)


class Stoppable(Protocol):
    """Writers that can be asked to let go."""

    def stop_all(self) -> None: ...


REPLACED = signal.SIGUSR1
"""The signal that another worker is ready: accept no more; a stop follows."""
WATCH_SECONDS = 1.0
CROWDED_SECONDS = 0.1
WATCH_LOG_SECONDS = 3.0
STOP_BEAT = 0.25
STOP_PATIENCE = 1.0
LONGEST_PAUSE = 5.0
"""Longest pause between two readiness checks: a part can be away for days, and each check is a log line."""
COUNTS_BEAT = 5.0
"""Pause between two checks whether a window of counts is over."""
LAST_SECONDS = 2.0
"""How long before a stop ends by force what is still running is cut, so that its end is entered."""


def load(settings: ServerSettings, authority: Path | None, draining: Callable[[], bool]) -> WSGIApplication:
    """Make the application, ready to be served by this process; not ready any more once the service is `draining`."""
    leave_terminal_group()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    observer = observer_of(settings, "api")
    door = replace(open_door(settings, observer), draining=draining)
    observer.watch_state(door.services.clock_skew.figures)
    app = create_app(door, portal_pages(door))
    note_routes(app)
    signals = listen_for_signals()
    stopping = threading.Event()
    in_background("time", lambda: door.services.timekeeper.follow_until(stopping))
    lines = Connections(settings.port, settings.connections)
    in_background(
        "line-watch", lambda: watch_lines(settings, door.services.uploads, lines, signals, stopping)
    )
    in_background("counts", lambda: write_counts(door.services.custody, stopping))
    in_background("readiness", lambda: announce(settings, authority))
    in_background("log-watch", lambda: watch_log(door.services))
    end_with_parent(settings.stop_seconds)
    served = Seated(LastReadFirst(app, lines), Seats(settings.seats), turned_away)
    return written_to_the_end(RequestLog(served, observer), door.services)


def written_to_the_end(served: RequestLog, services: Services) -> RequestLog:
    """Make this process, once its server has stopped, wait until the last request's end is logged: the server does not
    wait for threads whose callers are gone."""

    def end() -> None:
        served.wait_until_ended(LAST_SECONDS)
        wait_until_signed(services, LAST_SECONDS)
        services.close()

    Finalize(None, end, exitpriority=10)
    return served


def watch_log(services: Services) -> None:
    """Follow the entries of this process's openings into the signed tree, and check the database's schema."""
    custody = services.custody
    while True:
        time.sleep(WATCH_LOG_SECONDS)
        try:
            custody.openings.look(custody.records, custody.tiles, services.log_key)
            custody.schema.look(custody.records, 0)
        except Exception as error:  # the next round tries again
            log_unexpected(error, "log-watch")


def wait_until_signed(services: Services, seconds: float) -> None:
    """Give an ending process's openings some time to reach the signed tree; log how many have not."""
    custody, until = services.custody, time.monotonic() + seconds
    with suppress(Exception):  # a part that no longer responds says nothing of what was written
        while len(custody.openings) and time.monotonic() < until:
            custody.openings.look(custody.records, custody.tiles, services.log_key)
            time.sleep(STOP_BEAT)
    if left := len(custody.openings):
        LOG.warning(
            "%d openings are in the log but not signed yet: this process no longer follows them", left
        )


def listen_for_signals() -> socket.socket:
    """Return a socket that receives the number of each signal, also after the server has set its own handlers."""
    signal.signal(REPLACED, lambda *_: None)  # the socket receives it
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(os.dup(writing.fileno()), warn_on_full_buffer=False)
    writing.close()
    return reading


def watch_lines(
    settings: ServerSettings,
    uploads: Stoppable,
    connections: Connections,
    signals: socket.socket,
    stopping: threading.Event,
) -> None:
    """End idle connections; from the first SIGTERM or SIGINT on make uploads let go, and do not wait for silent ones.
    From REPLACED on accept no more. `stopping` is set with the first signal."""
    patience, last = settings.stall_seconds, 0.0
    while True:
        if stopping.is_set():
            time.sleep(STOP_BEAT)
            uploads.stop_all()
            patience = STOP_PATIENCE if time.monotonic() < last else 0
        else:
            signals.settimeout(CROWDED_SECONDS if connections.crowded else WATCH_SECONDS)
            with suppress(TimeoutError):
                heard = set(signals.recv(64))
                if REPLACED in heard:
                    stop_accepting(settings.port)
                if {signal.SIGTERM, signal.SIGINT} & heard:
                    stopping.set()
                last = time.monotonic() + settings.stop_seconds - LAST_SECONDS
        connections.end_overdue()
        if ended := connections.end_idle(patience):
            LOG.info("ended %d idle connections", ended)


def write_counts(custody: Custody, stopping: threading.Event) -> None:
    """Enter counts as their windows end; from a stop on at once, again and again until the process ends, which can be
    by force."""
    while True:
        stopping.wait(COUNTS_BEAT)
        try:
            custody.write_counts(everything=stopping.is_set())
        except Exception as error:  # the counts are kept
            LOG.warning("the counts cannot be entered now; trying again: %s", type(error).__name__)
        if stopping.is_set():
            time.sleep(STOP_BEAT)


def announce(settings: ServerSettings, authority: Path | None) -> None:
    """Log when the service is ready."""
    pause = 0.1
    while not responds(settings.host, settings.port, READINESS, authority):
        time.sleep(pause)
        pause = min(pause * 1.2, LONGEST_PAUSE)
    facts = {"address": settings.origin, "authority": str(authority) if authority else None}
    if settings.custody.development or settings.portal is not None:
        facts["portal"] = f"{settings.address or settings.origin}/portal/"
    LOG.info("ready", extra={"facts": facts})
    if settings.custody.development:
        LOG.warning("DEVELOPMENT MODE: anybody on this machine gets any token. Not for production.")
