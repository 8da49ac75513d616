"""The function app: four blueprints under one FunctionApp.

Rules of every function here:
- It translates its trigger into calls of custody and decides nothing. The embedded clock makes the same calls.
- It may run twice, late, or concurrently with itself: custody derives the work from state (P4).
- It gets its services from a callable, and calls that only when invoked: the host indexes functions before anything
  else exists, so indexing must not need the state.

The worker process has one app, `app`: settings from its environment, services assembled by the first invocation and
kept, because opening the database and reading keys is slow compared with an erasure. A failed assembly is not kept: the
next invocation tries again.
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
    """Make the app with all its functions."""
    app = func.FunctionApp()
    for blueprint in (sweeping_blueprint, erasing_blueprint, read_back_blueprint, recording_blueprint):
        app.register_functions(blueprint(settings, services))
    return app


class Once:
    """A callable that calls `make` on its first call, from any thread, and returns the same result ever after."""

    def __init__(self, make: Callable[[], Services]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Services | None = None

    def __call__(self) -> Services:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


logging.getLogger("azure").setLevel(logging.WARNING)  # its clients log each request's address
_SETTINGS = this_process()


def _services() -> Services:
    services = begin(_SETTINGS.custody, Adapters(_SETTINGS.custody).observer("functions"), links=False)
    services.observer.watch_state(services.clock_skew.figures)
    return services


app = create_app(_SETTINGS, Once(_services))
