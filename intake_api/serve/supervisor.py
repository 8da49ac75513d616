"""`casevault serve`: the parent of its processes, and nothing else.

    parent ─┬─ worker   granian: TLS, HTTP/1.1, a pool of threads that run the application
            ├─ blobs    the same for the Blob endpoint, where it is asked for: a parent of a worker of its own
            └─ clock    clockwork.py, unless a function app is the clock

Rules:
- Either child ending unasked ends the service with a code that is not 0: whatever started it starts it anew. So does
  an error of the parent itself, whenever it happens: what was started is stopped first, within the bounds of a stop.
- Stop: the workers first, which keep what arrived; then the clock, which signs the last entries into the log.
- Start: after the last child of the service before. Those whose parent was killed, or told to stop, have
  `stop_seconds` to end; while it serves on, a second one is refused at once.
- SIGHUP renews the workers, one after the other, without a gap (listening.py); the clock goes on.
- Bounded: a head that is not complete within HEAD_SECONDS, a body that stalls, an answer that nobody takes, each end
  their connection; a stop that takes longer than `stop_seconds` ends by force, and a resume loses less than one part.
- HTTP/1.1 only: an upload is one stream, and a connection that does nothing else is what bounds it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import DBAPIError

from intake_api.config import ClockIs, ServerSettings
from intake_api.logs import LOGGING
from intake_api.processes import end_with_parent, fork_children, kill_children, leave_terminal_group
from intake_api.serve import clock_process
from intake_api.serve.descriptors import fit_descriptors
from intake_api.serve.granian_server import Server
from intake_api.serve.tls import TlsFiles, local_certificate, read_pair
from intake_api.serve.worker import load
from intake_api.state_folder import SERVING
from retention.assembly import assemble, initialise, is_initialised
from retention.clock import SystemClock
from retention.config import SettingError, Settings

LOG = logging.getLogger(__name__)
OWN_CHILDREN_SECONDS = 3
"""How much longer than `stop_seconds` a process may take that has itself a worker to end by force."""
LOOK_SECONDS = 0.2


def serve(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. SettingError when it cannot be begun."""
    fork_children()
    settings = fit_descriptors(settings)
    _initialise(settings)
    tls = partial(_tls_files, settings)
    with _alone(settings) as lock, _meeting_place(settings) as settings:
        _try_out(settings, tls)
        server = Server(settings, tls, on_stop=lambda: fcntl.lockf(lock, fcntl.LOCK_UN))
        beside = _beside(settings, tls)
        patience, code = settings.stop_seconds + OWN_CHILDREN_SECONDS, 0
        try:
            for process in beside:
                process.start()
            server.on_reload(partial(_renew, beside))
            _stop_when_ended(beside, server)
            loader = partial(load, settings, tls().authority, server.is_draining)
            server.serve(target_loader=loader, wrap_loader=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stopped = [_stop(process, patience) for process in beside if process.pid is not None]
            kill_children()
        return max([code, *stopped])


def _beside(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> list[multiprocessing.Process]:
    """What runs beside the worker, in the order in which it is stopped."""
    beside = []
    if (blobs := settings.for_blobs()) is not None:
        beside.append(multiprocessing.Process(target=serve_blobs, args=(blobs, tls), name="casevault-blobs"))
    if settings.clock is ClockIs.EMBEDDED:
        beside.append(
            multiprocessing.Process(target=clock_process.main, args=(settings,), name="casevault-clock")
        )
    elif settings.metrics_listen is not None:
        beside.append(
            multiprocessing.Process(target=clock_process.watch, args=(settings,), name="casevault-watch")
        )
    return beside


def serve_blobs(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> None:
    """The Blob endpoint's process: `settings` are those of `ServerSettings.for_blobs`."""
    # Only here: what it brings stays out of the other processes' memory.
    from intake_api.serve import blob_worker

    fork_children()
    leave_terminal_group()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server listens for it
    logging.config.dictConfig(LOGGING)
    end_with_parent(settings.stop_seconds)
    try:
        Server(settings, tls).serve(target_loader=partial(blob_worker.load, settings), wrap_loader=False)
    finally:
        kill_children()


def _initialise(settings: ServerSettings) -> None:
    """In a process of its own: what it takes to make a database stays out of the memory of those that serve."""
    if is_initialised(settings.custody):
        return
    _in_a_child(initialise, settings.custody)


def _try_out(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> None:
    """What would end every process is said once, in one line, before any is begun."""
    files = tls()
    read_pair(files.certificate, files.key)
    _in_a_child(_assembled, settings.custody)


def _assembled(custody: Settings) -> None:
    assemble(custody).close()


def _in_a_child(work: Callable[[Settings], object], custody: Settings) -> None:
    """SettingError with what the work says, when it fails."""
    told, tell = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=_telling, args=(work, custody, tell))
    child.start()
    tell.close()
    try:
        why = told.recv()
    except EOFError:
        why = f"{custody.state} cannot be made ready: a process ended by itself"
    child.join()
    if why is not None:
        raise SettingError(why)


def _telling(work: Callable[[Settings], object], custody: Settings, tell: Connection) -> None:
    try:
        work(custody)
    except Exception as error:
        cause = (
            error.orig if isinstance(error, DBAPIError) else error
        )  # its own text would quote the statement
        tell.send(f"{custody.state} cannot be made ready: {cause}")
    else:
        tell.send(None)


def _tls_files(settings: ServerSettings) -> TlsFiles:
    if settings.certificate is not None and settings.key is not None:
        return TlsFiles(settings.certificate, settings.key, None)
    return local_certificate(settings.tls_folder, SystemClock().now())


def _renew(beside: list[multiprocessing.Process]) -> None:
    """Pass SIGHUP on. The clock has no gap to fear and nothing to read anew: it ignores it."""
    for process in beside:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGHUP)


@contextmanager
def _meeting_place(settings: ServerSettings) -> Iterator[ServerSettings]:
    """With a folder in which the processes meet for their metrics, where these are asked for."""
    if settings.metrics_listen is None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="casevault-") as folder:
        yield replace(settings, metrics_folder=Path(folder))


def _stop_when_ended(beside: list[multiprocessing.Process], server: Server) -> None:
    def look(_number: int, _frame: FrameType | None) -> None:
        if any(process.exitcode is not None for process in beside):
            server.stop()

    signal.signal(signal.SIGCHLD, look)


def _stop(process: multiprocessing.Process, patience: float) -> int:
    """Stop it; 1 if it had ended before."""
    name = process.name.removeprefix("casevault-")
    if process.exitcode is not None:
        LOG.error("the %s process ended with code %s; the service ends with it", name, process.exitcode)
        return 1
    process.terminate()
    process.join(patience)
    if process.is_alive():
        LOG.warning("the %s process did not stop; its work goes on at the next start", name)
        process.kill()
        process.join()
    return 0


@contextmanager
def _alone(settings: ServerSettings) -> Iterator[int]:
    """One service a state folder, one an address: the server's socket option would let a second one share both."""
    settings.custody.state.mkdir(
        mode=0o700, parents=True, exist_ok=True
    )  # whose other parts are all in Azure
    descriptor = os.open(settings.custody.state / SERVING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, settings)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, settings.local_address.encode())  # found by commands on this machine
        listens = [(served.host, served.port) for served in (settings, settings.for_blobs()) if served]
        for host, port in (*listens, *([settings.metrics_listen] if settings.metrics_listen else [])):
            _refuse_taken_address(host, port)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, settings: ServerSettings) -> None:
    """All processes of a service hold the lock: the last to end frees it.

    Its parent alone holds another (fcntl(2): not inherited), until it is told to stop: while it does, nothing ends
    that could be waited for.
    """
    state, patience = settings.custody.state, settings.stop_seconds + OWN_CHILDREN_SECONDS
    give_up, waiting = time.monotonic() + patience, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() > give_up or _serves_on(descriptor):
                raise SettingError(
                    f"another casevault serves {state}: stop it, or set CASEVAULT_STATE"
                ) from None
        else:
            return
        if not waiting:
            LOG.warning("another casevault has %s; waiting %s seconds for it to end", state, patience)
            waiting = True
        time.sleep(LOOK_SECONDS)


def _serves_on(descriptor: int) -> bool:
    """Whether the parent of who holds the lock is there, and was not told to stop."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(descriptor, fcntl.LOCK_UN)
    return False


def _refuse_taken_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that lingers is no server
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror
            raise SettingError(
                f"cannot listen on {host}:{port}: {why}; set CASEVAULT_LISTEN, CASEVAULT_BLOB_LISTEN or "
                "CASEVAULT_METRICS_LISTEN"
            ) from None
