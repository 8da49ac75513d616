"""The server's parent: one listening socket, and a worker behind it that can be renewed without a gap.

    SIGHUP    certificate read anew -> a new worker -> * it is ready -> the old one accepts no more (deaf.py), and
              HEARD_OUT_SECONDS later stops, as for SIGTERM
    SIGTERM   not ready any more, for `drain_seconds` -> the workers stop; a second one ends the waiting

Rules:
- The socket is made once and inherited by every worker, so what waits in its queue is never the queue of a process that
  ends. (With a socket a worker, SO_REUSEPORT, the kernel resets what waits for the one that closes.)
- A new worker that does not come up changes nothing: the old one serves on. It says that it is ready when all that
  custody needs was opened; certificate and key are tried before it is begun.
- The old worker finishes what it can; uploads are kept as far as they came, and go on with the next request.
- A worker that does not respond any more is replaced in the same way (worker_health.py).
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
from intake_api.serve.tls import TlsFiles
from intake_api.serve.worker import REPLACED
from intake_api.serve.worker_health import WorkerHealth, responds

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)
HEAD_SECONDS = 20
START_SECONDS = 120.0
SETTLE_SECONDS = 0.5
"""How long a new worker must live after it was ready: the server's own last steps come after the application's."""
HEARD_OUT_SECONDS = 3.0
"""For callers that were accepted and have not brought their request yet."""
LOOK_SECONDS = 0.05


class Server(MPServer):
    """Granian's, which also stops when a process beside its worker has ended.

    `tls`: the certificate to use now. `on_stop` is called when a stop was asked for.
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
        self._ready = RawValue("i", 0)  # the number of the last worker that was ready
        self._spawned = 0
        self._hurry = threading.Event()
        self._coming_up = threading.Lock()
        self._wedged = False

    def serve(self, *args: Any, **kwargs: Any) -> None:
        """Serve until a stop; SystemExit when it ends with a code. No worker is left, whatever ends it."""
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
        """As SIGTERM does, but at once."""
        self._hurry.set()
        self.signal_handler_interrupt()

    def is_draining(self) -> bool:
        """Whether a stop was asked for; also in the workers."""
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
        """What granian does where it has no SO_REUSEPORT."""
        self._ssp = None
        shared = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd, self._sfd = shared, shared.get_fd()  # type: ignore[assignment]
        self._sso = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)

    def _spawn_worker(  # type: ignore[override]  # as granian's own server of processes has it
        self, idx: int, target: Any, callback_loader: Any
    ) -> WorkerProcess:
        self._spawned += 1
        loader = partial(_loaded, callback_loader, self._ready, self._spawned)
        worker: WorkerProcess = super()._spawn_worker(idx, target, loader)
        return worker

    def _is_settled(self) -> bool:
        """Whether a worker was ready, no other is on its way, and no stop was asked for."""
        return (
            self._ready.value == self._spawned > 0
            and not self._coming_up.locked()
            and not self.interrupt_signal
        )

    def _worker_is_wedged(self) -> None:
        LOG.error("the worker does not respond: it is replaced")
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
            if (
                not wedged
            ):  # a worker that serves nobody is replaced all the same, with the certificate before
                return
        with self._coming_up:
            self._renew(spawn_target, target_loader)

    def _renew(self, spawn_target: Any, target_loader: Any) -> None:
        new = self._spawn_worker(0, spawn_target, target_loader)
        new.interrupt_by_parent = True  # until it is ready its end is not the service's
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
        """The workers before it stop; a stop of the service in the meantime waits for them too."""
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


def _loaded(loader: Callable[[], WSGIApplication], ready: Any, number: int) -> WSGIApplication:
    try:
        app = loader()
    except Exception:
        LOG.exception("this worker cannot serve")
        sys.exit(1)
    ready.value = number
    return app
