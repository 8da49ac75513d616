"""The Blob endpoint as it is served, in a process of its own, over the same state folder as a `Service`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from intake_api.serve.certificates import local_certificate
from retention.clock import SystemClock
from tests.service import CASE, ENGINEER, OPERATOR, STAMP, Persona, Service

START = """
import sys
from pathlib import Path
from intake_api.http.seats import SeatPlan
from intake_api.serve.parent import serve_blobs
from intake_api.config import ServerSettings
from intake_api.serve.certificates import TlsFiles
from retention.config import Settings
state, certificate, key, port, stall = sys.argv[1:]
custody = Settings(state=Path(state), development=True)
seats = SeatPlan(threads=48, uploads=32, reads=0, caller_share=100, tenant_share=100)
settings = ServerSettings(custody=custody, port=int(port), stall_seconds=float(stall), seats=seats, stop_seconds=5)
serve_blobs(settings, lambda: TlsFiles(Path(certificate), Path(key), None))
"""
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Endpoint:
    """`service` is the API over the same custody, without a network."""

    def __init__(self, folder: Path, stall_seconds: float = 5) -> None:
        self.port = free_port()
        self.folder = folder
        self.service = Service(folder, blob_origin=f"https://127.0.0.1:{self.port}")
        self.service.set_up()
        self.tls = local_certificate(folder / "tls", SystemClock().now())
        assert self.tls.authority is not None
        self.authority = str(self.tls.authority)
        state = str(self.service.settings.state)
        self.log = (folder / "endpoint.log").open("a+")
        self._arguments = [
            state,
            str(self.tls.certificate),
            str(self.tls.key),
            str(self.port),
            str(stall_seconds),
        ]
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-c", START, *self._arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=self.log)
        self._wait()

    def restart(self) -> None:
        """Killed with its worker, and started anew."""
        self._process.kill()
        self._process.wait()
        give_up = time.monotonic() + 20
        while self._listens() and time.monotonic() < give_up:
            time.sleep(0.05)  # the worker ends with its parent
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _wait(self) -> None:
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            assert self._process.poll() is None, self.logged()
            if self._listens():
                return
            time.sleep(0.05)
        raise AssertionError(self.logged())

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        self.log.close()
        self.service.close()

    def link(self, who: Persona = OPERATOR, **asked: Any) -> dict[str, Any]:
        """A link of the case, as issued."""
        expires = self.service.clock.now() + timedelta(days=1)
        body = {"expires_at": expires.isoformat(), **asked}
        issued: dict[str, Any] = self.service.done("POST", f"/cases/{CASE}/upload-links", who, json=body)
        return issued

    def stamp_link(self, **asked: Any) -> dict[str, Any]:
        stamp = self.service.done("GET", "/stamps", OPERATOR)["items"][0]["id"]
        expires = self.service.clock.now() + timedelta(days=1)
        body = {"expires_at": expires.isoformat(), "trigger": "Urp.UpdateFailure", **asked}
        issued: dict[str, Any] = self.service.done("POST", f"/stamps/{stamp}/upload-links", STAMP, json=body)
        return issued

    def bundles(self) -> list[dict[str, Any]]:
        """What custody has, read back."""
        while self.service.tick().verified:  # a sweep reads some back, and leaves the others to the next
            pass
        items: list[dict[str, Any]] = self.service.done("GET", "/bundles", OPERATOR)["items"]
        return items

    def content(self, bundle: str) -> bytes:
        """What an engineer reads of it."""
        self.service.grant()
        return self.service.call("GET", f"/bundles/{bundle}/content", ENGINEER).data
