"""`serving` starts the service anew; `service` is one, shared by the tests of a module that leave it as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.intake_api.serve.serving import STALL_SECONDS, START, Service, free_port, until

Serving = Callable[..., Service]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts services; the same state folder may be given again. All are ended with the module."""
    started: list[Service] = []

    def start(state: Path | None = None, before: str = "", **settings: object) -> Service:
        folder = tmp_path_factory.mktemp("service")
        port = free_port()
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("CASEVAULT_")},
            "CASEVAULT_STATE": str(state or folder / "state"),
            "PYTHONPATH": str(Path.cwd()),
            "CASEVAULT_DEVELOPMENT": "1",
            "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
            "CASEVAULT_STALL_SECONDS": str(STALL_SECONDS),
            "CASEVAULT_STOP_SECONDS": "10",
            "CASEVAULT_BEAT_MILLISECONDS": "250",
            **{f"CASEVAULT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-c", before + START], env=environ, stderr=out)
        service = Service(Path(environ["CASEVAULT_STATE"]), port, log, process)
        started.append(service)
        assert until(service.is_ready, 60), log.read_text()
        return service

    yield start
    for service in started:
        if service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="module")
def service(serving: Serving) -> Service:
    one = serving()
    one.register()
    return one
