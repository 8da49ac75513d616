"""Machines of one service: each a real `casevault serve` with an address and an empty state folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.intake_api.serve.serving import free_port
from tests.servers.issuer import LocalIssuer
from tests.service import Persona

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


def environment_of(shared: Mapping[str, str], **own: str) -> dict[str, str]:
    """This process's environment with the service's in place of whatever it says of casevault or Azure."""
    foreign = ("CASEVAULT_", "AZURE_", "IDENTITY_", "HTTPS_PROXY", "https_proxy")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**clean, "PYTHONPATH": str(ROOT), **shared, **own}


def casevault(*words: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command line, run to its end."""
    command = [sys.executable, "-m", "intake_api.cli", *words]
    return subprocess.run(
        command, env=dict(environ), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@dataclass
class Machine:
    """`log` is what its processes say."""

    address: str
    state: Path
    log: Path
    issuer: LocalIssuer
    process: subprocess.Popen[bytes]
    _session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, who: Persona | None = None, **request: Any) -> requests.Response:
        """One request; `json=`, `data=`, `params=`, `headers=` as requests takes them."""
        headers = {**(self.issuer.bearer(who) if who else {}), **request.pop("headers", {})}
        url = path if path.startswith("https://") else self.address + path
        self._session.trust_env = False
        authority = str(self.state / "tls" / "ca.pem")
        return self._session.request(
            method, url, headers=headers, timeout=60, verify=authority, allow_redirects=False, **request
        )

    def done(self, method: str, path: str, who: Persona | None = None, **request: Any) -> Any:
        """The JSON answer of a call that must succeed."""
        answer = self.call(method, path, who, **request)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz").status_code == 200
        except OSError:  # not there yet, nor its certificate
            return False

    def kill(self) -> None:
        """As a machine that is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def machine(folder: Path, shared: Mapping[str, str], issuer: LocalIssuer, **own: str) -> Iterator[Machine]:
    """A running one, ready; `own` are further settings."""
    folder.mkdir()
    state, log, port = folder / "state", folder / "log", free_port()
    addresses = {"CASEVAULT_LISTEN": f"127.0.0.1:{port}", "CASEVAULT_STATE": str(state)}
    environ = environment_of(
        shared, **issuer.environment, **addresses, CASEVAULT_BEAT_MILLISECONDS="200", **own
    )
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "intake_api.cli", "serve"], env=environ, cwd=folder, stdout=out, stderr=out
        )
    running = Machine(f"https://127.0.0.1:{port}", state, log, issuer, process)
    try:
        give_up = time.monotonic() + PATIENCE
        while not running.is_ready():
            assert process.poll() is None and time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        yield running
    finally:
        if process.poll() is None:
            running.stop()
