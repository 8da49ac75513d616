"""The clock process: work that no caller asks for, beside the server so that it never slows an upload.

First the records are brought up to the longest copy of the log (P7): nothing is sequenced before. A witness that does
not respond holds up the sequence beat alone, which asks it again; `retention.custody.log_gate` decides if anything is
opened meanwhile.
Then ten beats, each in a thread of its own, so that none waits for another's long work:
  time       checks whether this machine's clock can be believed, before anything is destroyed by it (P4)
  sequence   puts new audit entries into the tree, and signs a checkpoint (P3)
  witness    copies checkpoints and tiles to where somebody else keeps them (P3)
  cosign     sends the newest checkpoint to witnesses that others run
  erase      erases what is due, expired or asked for, a bounded number per round (P4, P5, P9); then empties the
             write-ahead log, so that no deleted value lingers there (P7)
  read back  reads received bundles back, to their receipts (P1)
  index      makes the sealed contents indexes of complete bundles (P1)
  scrub      reads everything stored back, again and again (P1)
  notices    sends what waits to be told to people and programs
  compare    once: compares the records with log and stores, in steps, and removes what dead writers left (P7)

Rules:
- Work is derived from state: the next round makes up for one that was killed anywhere.
- A failing beat is logged and tried again, after ever longer pauses; it does not stop the others.
- The process stops between two rounds when asked to, and when its parent is gone. Beats that speak to others' servers,
  or list whole stores, are not waited for: the last entries are signed whether or not a witness hangs, and the next
  start makes up the rest.
"""

from __future__ import annotations

import logging
import logging.config
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from audit.mirror.store import MirrorUnavailableError
from intake_api.config import ServerSettings
from intake_api.logs import LOGGING
from intake_api.processes import end_with_parent, keep_running, leave_terminal_group, step_back
from intake_api.serve.metrics import observer_of, serve_metrics
from retention.assembly import Services, begin, state_of
from retention.custody import contents_index
from retention.custody.contents_index import index_next
from retention.jobs.scrub import Pace, Stopped, scrub_next
from retention.jobs.send_notices import send_notices
from retention.jobs.sequencing import compare_once, cosign_once, reconcile_once, sequence_once, witness_once
from retention.jobs.sweep import SweepReport, erase_due, remove_orphans, verify_received
from retention.records.sqlite_engine import truncate_wal
from retention.telemetry.observer import NOTHING, Observer

LOG = logging.getLogger(__name__)
ERASURES = 1000
"""Most bundles erased in one round of the erase beat."""
LONGEST_PAUSE = 60.0
INDEX_SECONDS = 1800.0
"""How long one bundle's contents index may take; what is not reached by then is left out."""
INDEX_PAUSE = 2.0
"""Seconds between two looks for bundles without an index: they can be read meanwhile."""
SCRUB_PAUSE = 5.0
"""Seconds between two checks whether scrubbing is to continue."""
NOTICE_PAUSE = 1.0
"""Seconds between two looks for notices that wait."""
OUTSIDE_SECONDS = 1.0
"""How long the beats that speak to others' servers are waited for, once everything else has stopped."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One kind of work. `round` does a bounded amount of it and returns whether more waits; an `outside` one may take
    long: it asks others' servers, or lists whole stores."""

    name: str
    round: Callable[[], bool]
    least_pause: float = 0.0
    outside: bool = False

    def run(self, pause: float, stop: threading.Event, observer: Observer = NOTHING) -> None:
        """Run round after round until stopped; after a failure the pause doubles, up to LONGEST_PAUSE."""
        wait = pause = max(pause, self.least_pause)
        while not stop.is_set():
            try:
                more = self.round()
                wait = 0 if more else pause
                observer.job(self.name, well=True)
            except Exception:
                wait = min(max(wait, pause) * 2, LONGEST_PAUSE)
                observer.job(self.name, well=False)
                LOG.exception("the %s beat failed; again in %.1f seconds", self.name, wait)
            stop.wait(wait)


class Clockwork:
    """The ten beats over one set of services; long work ends early once `stop` is set."""

    def __init__(self, services: Services, stop: threading.Event | None = None) -> None:
        self._services = services
        self._stop = stop or threading.Event()
        self._wal_holds_erased = (
            True  # unknown at the start: the process before this one may have been killed
        )

        self._is_tidy = False

    def jobs(self) -> tuple[Beat, ...]:
        """Return the beats, each for a thread of its own."""
        return (
            Beat("time", self._time, outside=True),
            Beat("sequence", self._sequence),
            Beat("witness", self._witness, outside=True),
            Beat("cosign", self._cosign, outside=True),
            Beat("erase", self._erase),
            Beat("read-back", self._read_back),
            Beat("index", self._index, INDEX_PAUSE),
            Beat("scrub", self._scrub, SCRUB_PAUSE),
            Beat("notices", self._notices, NOTICE_PAUSE, outside=True),
            Beat("compare", self._compare, SCRUB_PAUSE, outside=True),
        )

    def prepare(self, pause: float, stop: threading.Event) -> None:
        """Catch up with the log, before the beats. ForkedError, NotOurTailError: the log has two histories; the service
        ends, and a person must look."""
        while not stop.is_set():
            try:
                if reconcile_once(self._services):
                    break
                LOG.info("another process is reconciling the records: waiting for it")
            except MirrorUnavailableError as error:
                LOG.warning("the log is waiting for its witness; all other work continues: %s", error)
                break
            stop.wait(pause)

    def _time(self) -> bool:
        self._services.timekeeper.keep()
        return False

    def _witness(self) -> bool:
        if not witness_once(self._services):  # logged there; the next round is not delayed
            self._services.observer.job("witness-copy", well=False)
        return False

    def _cosign(self) -> bool:
        if not cosign_once(self._services):
            self._services.observer.job("cosignature", well=False)
        return False

    def _sequence(self) -> bool:
        return sequence_once(self._services) is not None and self._services.sequencer.has_more

    def _erase(self) -> bool:
        report = erase_due(self._services.custody, ERASURES)
        if report.begun or report.expired or report.erased or report.failed:
            facts = {"begun": report.begun, "expired": report.expired, "erased": report.erased}
            LOG.info("swept", extra={"facts": {**facts, "failed": report.failed}})
        self._wal_holds_erased = self._wal_holds_erased or report.erased > 0
        if self._wal_holds_erased:
            self._wal_holds_erased = not truncate_wal(self._services.custody.records.engine)
        return report.erased >= ERASURES

    def _read_back(self) -> bool:
        report = SweepReport()
        verify_received(self._services.custody, report, limit=1)
        return report.verified > 0

    def _index(self) -> bool:
        step_back()
        return index_next(self._services.custody, contents_index.Pace(INDEX_SECONDS, self._go_on_indexing))

    def _go_on_indexing(self, _seconds: float) -> None:
        if self._stop.is_set():
            raise contents_index.Stopped

    def _scrub(self) -> bool:
        step_back()
        with suppress(Stopped):
            return scrub_next(self._services.custody, Pace(self._services.settings.scrub_period, self._rest))
        return False

    def _notices(self) -> bool:
        sent = send_notices(self._services.custody, self._services.senders)
        if sent.delivered or sent.failed:
            facts = {"delivered": sent.delivered, "failed": sent.failed, "given_up": sent.given_up}
            LOG.info("notices were sent", extra={"facts": facts})
        return sent.busy

    def _compare(self) -> bool:
        step_back()
        if compare_once(self._services):
            return True
        if not self._is_tidy:
            self._is_tidy = True
            if removed := remove_orphans(self._services.custody):
                LOG.info("removed %d parts left behind by dead writers", removed)
        return False

    def _rest(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped


def run(services: Services, pause: float, stop: threading.Event) -> None:
    """Run the beats until `stop`, then sequence once more what is left."""
    clockwork = Clockwork(services, stop)
    clockwork.prepare(pause, stop)
    jobs = {
        threading.Thread(
            target=keep_running,
            args=(job.name, partial(job.run, pause, stop, services.observer)),
            name=job.name,
            daemon=True,
        ): job.outside
        for job in clockwork.jobs()
    }
    for thread in jobs:
        thread.start()
    for thread, outside in jobs.items():
        if not outside:
            thread.join()
    if services.reconciled.is_set():
        sequence_once(services)
    give_up = time.monotonic() + OUTSIDE_SECONDS
    for thread in jobs:
        thread.join(max(0, give_up - time.monotonic()))


def main(settings: ServerSettings) -> None:
    """Run the clock process, from its start to SIGTERM."""
    with _process(settings, "clock") as (services, stop):
        run(services, settings.beat_seconds, stop)


def watch(settings: ServerSettings) -> None:
    """Run the process beside a function app that is the clock: it only reports the state of the work as metrics."""
    with _process(settings, "watch") as (_services, stop):
        stop.wait()


@contextmanager
def _process(settings: ServerSettings, name: str) -> Iterator[tuple[Services, threading.Event]]:
    """Provide what both need: signals, services, and the metrics page if one is configured."""
    leave_terminal_group()
    logging.config.dictConfig(LOGGING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_with_parent(settings.stop_seconds)
    services = begin(settings.custody, observer_of(settings, name), links=False)
    if settings.metrics_listen is not None and settings.metrics_folder is not None:
        serve_metrics(settings.metrics_listen, settings.metrics_folder)
    services.observer.watch_state(state_of(services))
    try:
        yield services, stop
    finally:
        services.close()
