"""The real service for real clients: unmodified, as their registries hand them out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake_api.server.serving import START, Service, free_port, until
from tests.servers.installing import npm_packages

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node_modules() -> None:
    npm_packages(HERE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, port, page_port = tmp_path_factory.mktemp("service"), free_port(), free_port()
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(folder / "state"),
        "PYTHONPATH": str(Path.cwd()),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "CASEVAULT_STALL_SECONDS": "20",
        "CASEVAULT_BEAT_MILLISECONDS": "100",
        "CASEVAULT_UPLOAD_ORIGINS": f"http://127.0.0.1:{page_port}",
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
    one = Service(folder / "state", port, log, process)
    one.page_port = page_port
    try:
        assert until(one.is_ready), log.read_text()
        one.register()
        yield one
    finally:
        one.stop()
