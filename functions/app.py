"""The function app: four blueprints under one FunctionApp.

Rules of every function here:
- It translates its trigger into calls of custody and decides nothing. The embedded clock makes the same calls.
- It may run twice, late, or beside itself: custody derives the work from state (P4).
- It is given its services by a callable, and calls it in the invocation only.

The one app of this worker process: settings from its environment, services assembled by its first invocation.

- Indexing must not need the state: the host indexes where nothing else is there yet.
- Services are made once and kept, because opening the database and reading keys is slow against an erasure. An assembly
  that failed is not kept: the next invocation tries again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import azure.functions as func

from functions.config import Settings, this_process
from functions.queues import erasing_blueprint, read_back_blueprint
from functions.timers import recording_blueprint, sweeping_blueprint
from functions.triggers import GetServices
from retention.adapters import Adapters
from retention.assembly import Services, begin


def create_app(settings: Settings, services: GetServices) -> func.FunctionApp:
    """The app with all its functions."""
    app = func.FunctionApp()
    for blueprint in (sweeping_blueprint, erasing_blueprint, read_back_blueprint, recording_blueprint):
        app.register_functions(blueprint(settings, services))
    return app


class Once:
    """Calls `make` on the first call, whichever thread it is; afterwards answers what was made."""

    def __init__(self, make: Callable[[], Services]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Services | None = None

    def __call__(self) -> Services:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


logging.getLogger("azure").setLevel(logging.WARNING)  # its clients tell of each request, with its address
_SETTINGS = this_process()


def _services() -> Services:
    services = begin(_SETTINGS.custody, Adapters(_SETTINGS.custody).observer("functions"), links=False)
    services.observer.watch_state(services.clock_skew.figures)
    return services


app = create_app(_SETTINGS, Once(_services))
