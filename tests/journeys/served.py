"""A served instance for the journeys, and a user at its command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from intake_api.cli.main import run
from retention.clock import DevelopmentClock

ROOT = Path(__file__).resolve().parents[2]
CASE_SYSTEM, ADMINISTRATOR, AUDITOR = "case-system:crm", "administrator:adam", "auditor:ada"


@dataclass(frozen=True)
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str
    raw: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("casevault: "))
        assert self.err.rstrip().endswith(line)
        return line


@dataclass
class Served:
    """The service, as its users know it: an address, a CA, and (to its own machine) a state folder."""

    server: str
    state: Path
    child: subprocess.Popen[bytes]
    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**14, 10**15)))

    @property
    def ca(self) -> Path:
        return self.state / "tls" / "ca.pem"

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")}
        ours = {
            "CASEVAULT_SERVER": self.server,
            "CASEVAULT_CA": str(self.ca),
            "XDG_CONFIG_HOME": str(self.home),
            "COLUMNS": "200",
        }
        return {**clean, **ours, **self.settings}

    def until_sequenced(self) -> int:
        """Wait until everything that is logged now stands in the signed tree; how many leaves that takes.

        Asking is an entry itself, which comes later and is not waited for."""
        waited: list[str] = []  # all: the latest by time is not the last where a test has moved the clock
        for _ in range(300):
            listed = self.do("audit", "entries", "--limit", 0, who="auditor:who-waits")
            leaves = {entry["id"]: entry["leaf_index"] for entry in listed}
            waited = waited or list(leaves)
            if all(leaves[one] is not None for one in waited):
                return max(int(leaves[one]) for one in waited) + 1
            time.sleep(0.2)
        raise AssertionError("the sequencer does not get on")

    def cli(self, *words: object, who: str | None = None, server: str | None = None) -> Ran:
        """Run a command line in this process, through the program's own door."""
        arguments = [str(word) for word in words]
        arguments += ["--as", who] if who else []
        arguments += ["--server", server] if server else []
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.environment)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(arguments)
                out.flush()
        finally:
            os.environ.clear()
            os.environ.update(before)
        raw = out.buffer.getvalue()  # type: ignore[attr-defined]
        return Ran(code, raw.decode("utf-8", "replace"), err.getvalue(), raw)

    def do(self, *words: object, who: str | None = None) -> Any:
        """A command that must work; its JSON."""
        ran = self.cli(*words, "--json", who=who)
        assert ran.code == 0, ran.err
        return ran.json

    def process(self, *words: object) -> subprocess.Popen[bytes]:
        """The same in a process of its own, to be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", "intake_api.cli", *map(str, words)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def case_number(self) -> str:
        return str(next(self._numbers))

    def token(self, who: dict[str, str]) -> str:
        answer = requests.post(f"{self.server}/development/token", data=who, verify=str(self.ca), timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def pass_time(self, time: timedelta) -> None:
        """Let the service's clock be so much later."""
        clock = DevelopmentClock(self.state / "development-clock")
        clock.set(clock.now() + time)

    def stop(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


@dataclass(frozen=True)
class Sent:
    """A bundle that is stored, and the file it was."""

    bundle: str
    file: Path
    members: dict[str, bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, *, ready: bool = True, **settings: str) -> Served:
    """`casevault serve --development`, ready; again on the same folder, it goes on with what is there.

    Not `ready`: it answers, and something else than that it is ready.
    """
    state, address = folder / "state", folder / "address"
    if (
        not address.exists()
    ):  # kept: people are known by their issuer, and in development that is this address
        address.write_text(f"127.0.0.1:{free_port()}")
    server = f"https://{address.read_text()}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")}
    log = (folder / "serve.log").open("ab")
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "intake_api.cli", "serve", "--development"),
            *("--state", str(state), "--listen", server.removeprefix("https://")),
        ],
        cwd=ROOT,
        env={**clean, **settings},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    log.close()
    served = Served(server, state, child, folder / "home", settings)
    for _ in range(600):
        if child.poll() is not None:
            break
        with contextlib.suppress(requests.exceptions.RequestException, OSError):
            if requests.get(f"{server}/readyz", verify=str(served.ca), timeout=5).ok is ready:
                return served
        time.sleep(0.1)
    served.stop()
    raise AssertionError(f"the service did not start: {(folder / 'serve.log').read_text()[-2000:]}")


class Line:
    """A line between user and service that breaks: after so many bytes from one side it is cut, or goes silent.

    It forwards TCP, so what breaks is what breaks in the field: TLS records, mid-body. `breaks` says after how many
    bytes each connection in turn breaks (None: it does not); later ones hold.
    """

    def __init__(self, server: str, breaks: list[int | None], *, sending: bool, silent: bool = False) -> None:
        self._target = server.removeprefix("https://").split(":")
        self._breaks, self._sending, self._silent = list(breaks), sending, silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.broke = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._target[0], int(self._target[1])))
                after = self._breaks.pop(0) if self._breaks else None
                out, back = (after, None) if self._sending else (None, after)
                threading.Thread(target=self._pump, args=(near, far, out), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, back), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, after: int | None) -> None:
        done = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                done += len(data)
                target.sendall(data)
                if after is not None and done >= after:
                    self.broke.set()
                    if self._silent:
                        time.sleep(600)
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other direction
            end.close()  # without it the kernel would go on taking bytes for nobody

    def close(self) -> None:
        self._listener.close()
