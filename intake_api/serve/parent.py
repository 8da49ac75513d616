"""`casevault serve`: the parent of the service's processes, and nothing else.

    parent ─┬─ worker   granian: TLS, HTTP/1.1, a pool of threads that run the application
            ├─ blobs    the same for the Blob endpoint, if configured: a parent with a worker of its own
            └─ clock    clock_process.py, unless a function app is the clock

Rules:
- Any child that ends unasked ends the service with a code other than 0: whatever started the service restarts it. So
  does an error of the parent itself at any time: what was started is stopped first, within the bounds of a stop.
- Stop: the workers first, which keep what arrived; then the clock, which signs the last entries into the log.
- Start: after the last child of the previous service. If its parent was killed, or told to stop, its children have
  `stop_seconds` to end; while it still serves, a second service is refused at once.
- SIGHUP renews the workers, one after the other, without a gap (granian_server.py); the clock continues.
- Bounded: a head not complete within HEAD_SECONDS, a body that stalls, or a response that nobody reads ends its
  connection; a stop that takes longer than `stop_seconds` ends by force, and a resume loses less than one part.
- HTTP/1.1 only: an upload is one stream, and is bounded by a connection that does nothing else.
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
from intake_api.serve.certificates import TlsFiles, local_certificate, read_pair
from intake_api.serve.descriptors import fit_descriptors
from intake_api.serve.granian_server import Server
from intake_api.serve.worker import load
from intake_api.state_location import SERVING
from retention.assembly import assemble, initialise, is_initialised
from retention.clock import SystemClock
from retention.config import SettingError, Settings

LOG = logging.getLogger(__name__)
OWN_CHILDREN_SECONDS = 3
"""How much longer than `stop_seconds` a process with a worker of its own to end by force may take."""
LOOK_SECONDS = 0.2


def serve(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. SettingError when the service cannot start."""
    fork_children()
    settings = fit_descriptors(settings)
    _initialise(settings)
    tls = partial(_tls_files, settings)
    with _only_service(settings) as lock, _with_metrics_folder(settings) as settings:
        _rehearse_start(settings, tls)
        server = Server(settings, tls, on_stop=lambda: fcntl.lockf(lock, fcntl.LOCK_UN))
        others = _other_processes(settings, tls)
        patience, code = settings.stop_seconds + OWN_CHILDREN_SECONDS, 0
        try:
            for process in others:
                process.start()
            server.on_reload(partial(_renew, others))
            _stop_when_ended(others, server)
            loader = partial(load, settings, tls().authority, server.is_draining)
            server.serve(target_loader=loader, wrap_loader=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stopped = [_stop(process, patience) for process in others if process.pid is not None]
            kill_children()
        return max([code, *stopped])


def _other_processes(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> list[multiprocessing.Process]:
    """Make the processes beside the worker, in the order in which they are stopped."""
    others = []
    if (blobs := settings.for_blobs()) is not None:
        others.append(multiprocessing.Process(target=serve_blobs, args=(blobs, tls), name="casevault-blobs"))
    if settings.clock is ClockIs.EMBEDDED:
        others.append(
            multiprocessing.Process(target=clock_process.main, args=(settings,), name="casevault-clock")
        )
    elif settings.metrics_listen is not None:
        others.append(
            multiprocessing.Process(target=clock_process.watch, args=(settings,), name="casevault-watch")
        )
    return others


def serve_blobs(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> None:
    """Run the Blob endpoint's process: `settings` are those of `ServerSettings.for_blobs`."""
    # Imported here only, to keep it out of the other processes' memory.
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
    """Initialise the state in a child process, to keep the code for it out of the serving processes' memory."""
    if is_initialised(settings.custody):
        return
    _run_in_child(initialise, settings.custody)


def _rehearse_start(settings: ServerSettings, tls: Callable[[], TlsFiles]) -> None:
    """Report what would end every process once, in one line, before any is started."""
    files = tls()
    read_pair(files.certificate, files.key)
    _run_in_child(_assemble_and_close, settings.custody)


def _assemble_and_close(custody: Settings) -> None:
    assemble(custody).close()


def _run_in_child(work: Callable[[Settings], object], custody: Settings) -> None:
    """Run `work` in a child process; SettingError with its error's text when it fails."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=_send_error, args=(work, custody, sender))
    child.start()
    sender.close()
    try:
        why = receiver.recv()
    except EOFError:
        why = f"{custody.state} cannot be made ready: the process that prepares it ended unexpectedly"
    child.join()
    if why is not None:
        raise SettingError(why)


def _send_error(work: Callable[[Settings], object], custody: Settings, sender: Connection) -> None:
    try:
        work(custody)
    except Exception as error:
        # A DBAPIError's own text would quote the statement.
        cause = error.orig if isinstance(error, DBAPIError) else error
        sender.send(f"{custody.state} cannot be made ready: {cause}")
    else:
        sender.send(None)


def _tls_files(settings: ServerSettings) -> TlsFiles:
    if settings.certificate is not None and settings.key is not None:
        return TlsFiles(settings.certificate, settings.key, None)
    return local_certificate(settings.tls_folder, SystemClock().now())


def _renew(others: list[multiprocessing.Process]) -> None:
    """Pass SIGHUP on. The clock ignores it: it serves nobody and has nothing to read again."""
    for process in others:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGHUP)


@contextmanager
def _with_metrics_folder(settings: ServerSettings) -> Iterator[ServerSettings]:
    """Add a folder for the processes' metrics sockets to the settings, if metrics are configured."""
    if settings.metrics_listen is None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="casevault-") as folder:
        yield replace(settings, metrics_folder=Path(folder))


def _stop_when_ended(others: list[multiprocessing.Process], server: Server) -> None:
    def look(_number: int, _frame: FrameType | None) -> None:
        if any(process.exitcode is not None for process in others):
            server.stop()

    signal.signal(signal.SIGCHLD, look)


def _stop(process: multiprocessing.Process, patience: float) -> int:
    """Stop the process; return 1 if it had ended before, else 0."""
    name = process.name.removeprefix("casevault-")
    if process.exitcode is not None:
        LOG.error("the %s process ended with code %s; the service ends with it", name, process.exitcode)
        return 1
    process.terminate()
    process.join(patience)
    if process.is_alive():
        LOG.warning("the %s process did not stop and was killed; its work continues at the next start", name)
        process.kill()
        process.join()
    return 0


@contextmanager
def _only_service(settings: ServerSettings) -> Iterator[int]:
    """Allow one service per state folder and per address: the server's socket option would let a second one share
    them."""
    # The folder need not exist yet: all else can be in Azure.
    settings.custody.state.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    """Take the lock that all processes of a service hold: the last to end frees it.

    The parent alone holds another (fcntl(2): not inherited) until it is told to stop: while it does, waiting would be
    in vain.
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
                    f"another casevault serves {state}: stop it, or set CASEVAULT_STATE to another folder"
                ) from None
        else:
            return
        if not waiting:
            LOG.warning("another casevault holds %s; waiting up to %s seconds for it to end", state, patience)
            waiting = True
        time.sleep(LOOK_SECONDS)


def _serves_on(descriptor: int) -> bool:
    """Return whether the holder's parent is alive and was not told to stop."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(descriptor, fcntl.LOCK_UN)
    return False


def _refuse_taken_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a lingering connection is not a server
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "something already listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise SettingError(
                f"cannot listen on {host}:{port}: {why}; set another address in CASEVAULT_LISTEN, "
                "CASEVAULT_BLOB_LISTEN or CASEVAULT_METRICS_LISTEN"
            ) from None
