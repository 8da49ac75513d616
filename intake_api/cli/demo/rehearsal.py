"""The demo's stage: the real service as a child process, the people who use it, and the clock that can be moved."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import Client
from intake_api.cli.connection import development_token
from intake_api.cli.tokens import Rehearsed
from intake_api.config import ServerSettings, from_environment
from retention.clock import DevelopmentClock

START_SECONDS, STOP_SECONDS = 60, 40
_LOG_TAIL = 400


@dataclass(frozen=True, slots=True)
class Stage:
    """A service in development and its state folder."""

    settings: ServerSettings
    log: Path
    child: subprocess.Popen[bytes]

    @property
    def state(self) -> Path:
        return self.settings.custody.state

    @property
    def ca(self) -> Path:
        return self.settings.tls_folder / "ca.pem"

    @property
    def clock(self) -> DevelopmentClock:
        return DevelopmentClock(self.settings.custody.clock_file)

    def client(self, who: str | None = None) -> Client:
        """Make a client for this person (see --as), or without a token for nobody in particular."""
        server = self.settings.origin
        tokens = None if who is None else development_token(server, self.ca, Rehearsed.parse(who))
        return Client(server, self.ca, tokens)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            if self.child.poll() is not None:
                raise CliError(f"the service did not start: {self._last_words()}")
            with contextlib.suppress(CliError, Unreachable, ServiceProblem):
                if self.ca.is_file() and Client(self.settings.origin, self.ca, sleep=lambda _: None).get(
                    "/readyz"
                ):
                    return
            if time.monotonic() > end:
                raise CliError(f"the service was not ready within {START_SECONDS} s: {self._last_words()}")
            time.sleep(0.05)

    def move_clock(self, to: datetime) -> None:
        """Move the clock to `to`, for every process of the service."""
        self.clock.set(to)

    def _last_words(self) -> str:
        return self.log.read_text("utf-8", "replace")[-_LOG_TAIL:] or "it said nothing"

    def stop(self) -> None:
        """Stop the service as Ctrl-C does; by force when it takes too long."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The whole session: the child leads it, and its own children would outlive it.
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


@contextmanager
def staged(state: Path | None, keep: bool) -> Iterator[Stage]:
    """Start the service; stop it at the end, unless it is to be kept and all went well.

    Without `state` its folder is a temporary one, removed with the service.
    """
    base = Path(tempfile.mkdtemp(prefix="casevault-demo-"))  # mode 0700
    _leave_in_order()
    stage: Stage | None = None
    kept = False
    try:
        stage = _start(state or base / "state")
        yield stage
        kept = keep
    finally:
        if stage is not None and not kept:
            stage.stop()
        if not kept or state is not None:
            shutil.rmtree(base, ignore_errors=True)


def _leave_in_order() -> None:
    """Make SIGTERM and a closed terminal end the demo as Ctrl-C does, so that it leaves no service behind."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _start(state: Path) -> Stage:
    state = state.resolve()
    if state.exists() and any(state.iterdir()):
        raise CliError(f"{state} is not empty: the demo needs a new or empty folder")
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    # None of the user's own settings may lead the demo astray.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")}
    ours = {
        **clean,
        "CASEVAULT_STATE": str(state),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{_free_port()}",
    }
    log = state / "serve.log"
    command = [sys.executable, "-m", "intake_api.cli", "serve"]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C in the demo is for the demo, and --keep outlives its terminal.
        child = subprocess.Popen(  # noqa: S603 - our own program
            command, env=ours, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return Stage(from_environment(ours), log, child)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
