"""The worker's parent: one listening socket, and a worker on it that can be renewed without a gap.

    SIGHUP    certificate read again -> a new worker -> * it is ready -> the old one accepts no more
              (stop_accepting.py), and HEARD_OUT_SECONDS later stops, as for SIGTERM
    SIGTERM   not ready any more, for `drain_seconds` -> the workers stop; a second one ends the waiting

Rules:
- The socket is made once and inherited by every worker, so connections never wait in the queue of an ending process.
  (With a socket per worker, SO_REUSEPORT, the kernel resets what waits for the one that closes.)
- A new worker that does not come up changes nothing: the old one serves on. It reports ready once all that custody
  needs is open; certificate and key are tried before it is started.
- The old worker finishes what it can; uploads are kept as far as they came, and continue with the next request.
- A worker that no longer responds is replaced in the same way (worker_health.py).
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.sharedctypes import RawValue
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.mp import MPServer, WorkerProcess

from intake_api.config import ServerSettings
from intake_api.logs import LOGGING
from intake_api.processes import in_background
from intake_api.serve.certificates import TlsFiles
from intake_api.serve.worker import REPLACED
from intake_api.serve.worker_health import WorkerHealth, responds

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)
HEAD_SECONDS = 20
START_SECONDS = 120.0
SETTLE_SECONDS = 0.5
"""How long a new worker must live once it is ready: the server's own last steps follow the application's."""
HEARD_OUT_SECONDS = 3.0
"""How long accepted callers have to send their request to an old worker."""
LOOK_SECONDS = 0.05


class Server(MPServer):
    """Granian's server of processes, with one inherited socket and renewable workers.

    `tls` returns the certificate to use now. `on_stop` is called when a stop is requested.
    """

    def __init__(
        self,
        settings: ServerSettings,
        tls: Callable[[], TlsFiles],
        on_stop: Callable[[], object] = lambda: None,
    ) -> None:
        files = tls()
        super().__init__(
            "casevault",
            address=settings.host,
            port=settings.port,
            interface=Interfaces.WSGI,
            blocking_threads=settings.threads,
            blocking_threads_idle_timeout=10,
            backpressure=settings.connections,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
            websockets=False,
            ssl_cert=files.certificate,
            ssl_key=files.key,
            ssl_protocol_min=SSLProtocols.tls12,
            workers_kill_timeout=settings.stop_seconds,
            log_dictconfig=LOGGING,
        )
        self._settings, self._tls, self._on_stop = settings, tls, on_stop
        self._draining = RawValue("b", 0)
        self._ready = RawValue("i", 0)  # the number of the last worker that became ready
        self._spawned = 0
        self._hurry = threading.Event()
        self._coming_up = threading.Lock()
        self._wedged = False

    def serve(self, *args: Any, **kwargs: Any) -> None:
        """Serve until a stop; SystemExit when it ends with an exit code. No worker is left, whatever ends it."""
        health = WorkerHealth(
            partial(responds, self._settings.host, self._settings.port),
            self._is_settled,
            self._worker_is_wedged,
        )
        in_background("worker-health", partial(health.watch, self._hurry))
        try:
            super().serve(*args, **kwargs)
        finally:
            self._hurry.set()
            self._stop_workers()  # type: ignore[no-untyped-call]  # none is left after a shutdown

    def stop(self) -> None:
        """Stop as SIGTERM does, but at once."""
        self._hurry.set()
        self.signal_handler_interrupt()

    def is_draining(self) -> bool:
        """Return, in the workers too, whether a stop was requested."""
        return bool(self._draining.value)

    def signal_handler_interrupt(self, *_: Any, **__: Any) -> None:
        if self.interrupt_signal:
            self._hurry.set()
        self._draining.value = 1
        self._on_stop()
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def shutdown(self, exit_code: int = 0) -> None:
        if self.interrupt_signal and not self.interrupt_children:
            self._hurry.wait(self._settings.drain_seconds)
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]

    def _init_shared_socket(self) -> None:
        """Make the socket as granian does on systems without SO_REUSEPORT."""
        self._ssp = None
        shared = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd, self._sfd = shared, shared.get_fd()  # type: ignore[assignment]
        self._sso = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)

    def _spawn_worker(  # type: ignore[override]  # as granian's own server of processes has it
        self, idx: int, target: Any, callback_loader: Any
    ) -> WorkerProcess:
        self._spawned += 1
        loader = partial(_load_and_report_ready, callback_loader, self._ready, self._spawned)
        worker: WorkerProcess = super()._spawn_worker(idx, target, loader)
        return worker

    def _is_settled(self) -> bool:
        """Return whether a worker is ready, no other is coming up, and no stop was requested."""
        return (
            self._ready.value == self._spawned > 0
            and not self._coming_up.locked()
            and not self.interrupt_signal
        )

    def _worker_is_wedged(self) -> None:
        LOG.error("the worker does not respond: replacing it")
        self._wedged = self.reload_signal = True
        self.main_loop_interrupt.set()

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        wedged, self._wedged = self._wedged, False
        if self.interrupt_signal:
            self.main_loop_interrupt.set()
            return
        try:
            files = self._tls()
            self.build_ssl_context(files.certificate, files.key, None, SSLProtocols.tls12, None, [], False)
        except (OSError, ssl.SSLError) as error:
            LOG.error("not renewed, the certificate cannot be used: %s", error)  # noqa: TRY400
            if not wedged:  # a wedged worker is replaced all the same, with the previous certificate
                return
        with self._coming_up:
            self._renew(spawn_target, target_loader)

    def _renew(self, spawn_target: Any, target_loader: Any) -> None:
        new = self._spawn_worker(0, spawn_target, target_loader)
        new.interrupt_by_parent = True  # until it is ready, its end must not end the service
        new.start()  # type: ignore[no-untyped-call]
        if self._comes_up(new):
            new.interrupt_by_parent = False
            self._replace_by(new)
            self._call_hooks(self.hooks_reload)  # type: ignore[no-untyped-call]
        else:
            new.kill()  # type: ignore[no-untyped-call]
            LOG.error("not renewed, the new worker did not come up: the old one serves on")

    def _comes_up(self, worker: WorkerProcess) -> bool:
        give_up = time.monotonic() + START_SECONDS
        while self._ready.value != self._spawned:
            if not worker.is_alive() or self.interrupt_signal or time.monotonic() > give_up:  # type: ignore[no-untyped-call]
                return False
            time.sleep(LOOK_SECONDS)
        time.sleep(SETTLE_SECONDS)
        return bool(worker.is_alive())  # type: ignore[no-untyped-call]

    def _replace_by(self, new: WorkerProcess) -> None:
        """Stop the workers before it; a stop of the service meanwhile waits for them too."""
        old = [worker for worker in self.wrks if worker.is_alive()]  # type: ignore[no-untyped-call]
        self.wrks[:] = [*old, new]
        for worker in old:
            os.kill(worker.inner.pid, REPLACED)
        self._hurry.wait(HEARD_OUT_SECONDS)
        for worker in old:
            worker.terminate()  # type: ignore[no-untyped-call]
            killing = threading.Timer(self._settings.stop_seconds, worker.kill)
            killing.daemon = True
            killing.start()
        LOG.info("renewed")


def _load_and_report_ready(loader: Callable[[], WSGIApplication], ready: Any, number: int) -> WSGIApplication:
    try:
        app = loader()
    except Exception:
        LOG.exception("this worker cannot serve")
        sys.exit(1)
    ready.value = number
    return app
