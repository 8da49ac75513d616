"""What runs in the process that answers requests, beside the application: start, readiness, stop.

Stop: SIGTERM or SIGINT -> the server accepts no more and finishes what runs; uploads are asked to keep what they have
and let go, again and again until the process ends, so that one which has only just begun hears it too.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING

from intake_api.app import create_app
from intake_api.assembly import open_door
from intake_api.logs import RequestLog
from intake_api.processes import end_with_parent, leave_terminal_group
from intake_api.settings import ServerSettings
from retention.custody.receiving import Uploads

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)
STOP_BEAT = 0.25
# glibc's mallopt(3): a piece of a body is a megabyte. By default each one is given back to the system when it is freed
# and faulted in again for the next, which costs as much as sealing it.
MALLOPT = {
    "M_TRIM_THRESHOLD": (-1, 512 << 20),
    "M_TOP_PAD": (-2, 64 << 20),
    "M_MMAP_THRESHOLD": (-3, 128 << 20),
}


def load(settings: ServerSettings, authority: Path | None) -> WSGIApplication:
    """The application, ready to be served by this process."""
    leave_terminal_group()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keep_freed_memory()
    door = open_door(settings)
    app = create_app(door)
    stop_uploads_on_signal(door.services.uploads)
    end_with_parent(settings.stop_seconds)
    in_background("readiness", lambda: announce(settings, authority))
    return RequestLog(app)


def keep_freed_memory() -> None:
    """Set MALLOPT where the C library knows it."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOPT.values():
            mallopt(option, value)


def in_background(name: str, work: Callable[[], None]) -> None:
    """Run `work` in a thread that no stop waits for."""
    threading.Thread(target=work, name=name, daemon=True).start()


def stop_uploads_on_signal(uploads: Uploads) -> None:
    """Ask uploads to let go from the first SIGTERM or SIGINT on.

    The server sets its own handlers later; the wake-up descriptor is told of a signal whoever handles it.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with writing:  # held open as long as anybody listens
            while not {signal.SIGTERM, signal.SIGINT} & set(reading.recv(64)):
                continue
        while True:
            uploads.stop_all()
            time.sleep(STOP_BEAT)

    in_background("stop-watch", watch)


def announce(settings: ServerSettings, authority: Path | None) -> None:
    """Bound the wait for callers that do not read, then say when the service is ready."""
    while not _bound_unread_answers(settings):
        time.sleep(0.05)
    while not _is_ready(settings, authority):
        time.sleep(0.1)
    facts = {"address": settings.origin, "authority": str(authority) if authority else None}
    LOG.info("ready", extra={"facts": facts})
    if settings.custody.development:
        LOG.warning("DEVELOPMENT MODE: anybody on this machine gets any token. Not for production.")


def _bound_unread_answers(settings: ServerSettings) -> bool:
    """TCP_USER_TIMEOUT on the listening socket, which connections inherit: one that takes nothing for this long is
    dropped, and with it the thread that answers it (RFC 5482, tcp(7)). Whether the socket was there."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or sys.platform != "linux":
        return True
    found = False
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as copy:
            listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens and copy.getsockname()[1] == settings.port:
                copy.setsockopt(socket.IPPROTO_TCP, option, int(settings.stall_seconds * 1000))
                found = True
    return found


def _is_ready(settings: ServerSettings, authority: Path | None) -> bool:
    context = ssl.create_default_context(cafile=authority)
    if (
        authority is None
    ):  # a certificate from elsewhere names a public host, and this asks the address itself
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = HTTPSConnection(host, settings.port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
