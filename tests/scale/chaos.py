"""Every few seconds a process is killed where it stands, and started anew.

In turn: an API process with all its children, one of its children alone, a function worker, and whoever holds the
sequencer's lock at that moment. Of the last, the time to the next checkpoint is the takeover.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import psycopg

from tests.scale.host import Host, Slot
from tests.scale.installation import ApiProcess, Installation

SEQUENCER_LOCK = 4153697012 & 0xFFFFFFFF
_HOLDER = (
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objid::bigint = %s AND a.application_name <> ''"
)


class Chaos:
    """Kills until `stop`. At most one API process is down at a time, so that somebody always answers."""

    def __init__(self, installation: Installation, host: Host, dsn: str, seed: int, every: float) -> None:
        self._installation, self._host, self._dsn, self._every = installation, host, dsn, every
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)
        self.kills: Counter[str] = Counter()
        self.holders_killed: list[float] = []
        self.errors: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(240)
        if self._thread.is_alive():
            self.errors.append("a restart hangs")

    def _run(self) -> None:
        turn = 0
        acts = (self._kill_api, self._kill_worker, self._kill_holder, self._kill_child, self._kill_worker)
        while not self._stop.wait(self._every):
            try:
                acts[turn % len(acts)]()
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
            turn += 1

    def _kill_api(self) -> None:
        self._end(self._random.choice(self._installation.apis), only_child=False)

    def _kill_child(self) -> None:
        self._end(self._random.choice(self._installation.apis), only_child=True)

    def _kill_worker(self) -> None:
        busy = [slot for slot in self._host.slots if slot.busy_with]
        self._end_slot(self._random.choice(busy or self._host.slots))

    def _kill_holder(self) -> None:
        """Looked for until somebody holds it in two looks, at most some seconds."""
        give_up = time.monotonic() + 5
        with psycopg.connect(self._dsn, autocommit=True) as looking:
            while time.monotonic() < give_up and not self._stop.is_set():
                held = looking.execute(_HOLDER, (SEQUENCER_LOCK,)).fetchone()
                if held is not None:
                    self._end_named(str(held[0]))
                    self.holders_killed.append(time.monotonic())
                    return
                time.sleep(0.001)

    def _end_named(self, name: str) -> None:
        self.kills["holder of the sequencer's lock"] += 1
        kind, number = name.split("-")
        if kind == "api":
            self._end(self._installation.apis[int(number)], only_child=False)
        else:
            self._end_slot(self._host.slots[int(number)])

    def _end(self, api: ApiProcess, *, only_child: bool) -> None:
        self.kills["child of an API process" if only_child else "API process"] += 1
        api.kill(only_child=only_child, chance=self._random)
        self._installation.restart(api)
        self._installation.await_ready(api)

    def _end_slot(self, slot: Slot) -> None:
        self.kills["function worker"] += 1
        slot.kill()
