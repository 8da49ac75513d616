"""An error of the parent, wherever it happens, ends the service: a code that is not 0, and no process left of it.

Each is injected into a real tree of processes. All of a service hold the lock of its state folder, so a lock that can
be taken says that the last of them is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.intake_api.serve.serving import free_port, until

START = """
import os, sys
from intake_api.serve import parent as server
from intake_api.config import from_environment
{injected}
sys.exit(server.serve(from_environment(os.environ)))
"""
FAIL = "def fail(*_, **__): raise RuntimeError('injected')\n"

INJECTED = {
    "before a worker is begun": FAIL + "server.Server.startup = fail",
    "as a worker is begun": FAIL + "server.Server._spawn_workers = fail",
    "with a worker that serves": FAIL + "server.Server._serve_loop = fail",
    "with a worker that nobody counted yet": FAIL
    + """
from granian.server.mp import WorkerProcess
WorkerProcess._watch = fail
""",
    "in the shutdown": FAIL
    + "server.Server._serve_loop = lambda *_: None\nserver.Server._drop_shared_socket = fail",
    "as the server is made": FAIL + "server.Server.__init__ = fail",
    "as signals are listened for": FAIL + "server._stop_when_ended = fail",
    "as the second child is begun": """
from multiprocessing import Process
start = Process.start
def start_all_but_the_clock(self):
    if self.name == 'casevault-clock':
        raise BlockingIOError(11, 'injected')
    start(self)
Process.start = start_all_but_the_clock
""",
    "as the certificate is read once more": """
read, left = server._tls_files, [2]
def read_twice(settings):
    left[0] -= 1
    if left[0] < 0:
        raise OSError('injected')
    return read(settings)
server._tls_files = read_twice
""",
    "in the blobs' process, with a worker that serves": """
from intake_api.serve.granian_server import Server
loop, parent = Server._serve_loop, os.getpid()
def fail_beside(self, *args):
    if os.getpid() != parent:
        raise RuntimeError('injected')
    return loop(self, *args)
Server._serve_loop = fail_beside
""",
}


@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED.keys())
def test_the_service_ends_with_a_code_and_nothing_is_left_of_it(tmp_path: Path, injected: str) -> None:
    with _started(tmp_path, injected) as service:
        assert service.wait(60) not in (0, None)
        assert _is_free(tmp_path / "state"), "a process of the service outlived it"
    assert "injected" in (tmp_path / "log").read_text()


def test_a_renewal_that_fails_in_the_parent_ends_the_service_too(tmp_path: Path) -> None:
    with _started(tmp_path, FAIL + "server._renew = fail") as service:
        assert until(lambda: '"ready"' in (tmp_path / "log").read_text(), 40)
        service.send_signal(signal.SIGHUP)
        assert service.wait(60) not in (0, None)
        assert _is_free(tmp_path / "state")


@contextmanager
def _started(folder: Path, injected: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(folder / "state"),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{free_port()}",
        "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{free_port()}",
        "CASEVAULT_STOP_SECONDS": "5",
        "PYTHONPATH": str(Path.cwd()),
    }
    with (folder / "log").open("wb") as log:
        code = START.format(injected=injected)
        service = subprocess.Popen(
            [sys.executable, "-c", code], env=environ, stderr=log, start_new_session=True
        )
    try:
        yield service
    finally:
        service.kill()
        service.wait()


def _is_free(state: Path) -> bool:
    with (state / "serving.lock").open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
