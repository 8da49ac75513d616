"""The Blob endpoint's worker process: `intake_api.serve.worker` for a smaller application."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING

from intake_api.blob.app import BlobEndpoint, turned_away
from intake_api.config import ServerSettings
from intake_api.http.idle_connections import Connections
from intake_api.http.request_body import LastReadFirst
from intake_api.http.seats import Seated, Seats
from intake_api.logs import RequestLog
from intake_api.processes import end_with_parent, in_background, leave_terminal_group
from intake_api.serve.metrics import observer_of
from intake_api.serve.worker import listen_for_signals, watch_lines, write_counts, written_to_the_end
from retention.assembly import begin

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)


def load(settings: ServerSettings) -> WSGIApplication:
    """Make the endpoint, ready to be served by this process."""
    leave_terminal_group()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    observer = observer_of(settings, "blobs")
    services = begin(settings.custody, observer)
    observer.watch_state(services.clock_skew.figures)
    endpoint = BlobEndpoint(services.custody, services.link_keys, settings.stall_seconds)
    signals = listen_for_signals()
    stopping = threading.Event()
    in_background("time", lambda: services.timekeeper.follow_until(stopping))
    lines = Connections(settings.port, settings.connections)
    in_background("line-watch", lambda: watch_lines(settings, endpoint.blocks, lines, signals, stopping))
    in_background("counts", lambda: write_counts(services.custody, stopping))
    end_with_parent(settings.stop_seconds)
    LOG.info("blob endpoint", extra={"facts": {"address": settings.origin}})
    served = Seated(LastReadFirst(endpoint, lines), Seats(settings.seats), turned_away)
    return written_to_the_end(RequestLog(served, observer), services)
