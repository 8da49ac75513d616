"""The real service for real clients: unmodified, as their registries hand them out.

The Node clients are installed once, by `npm ci` from the lock file. On a build machine (CI set) a missing node is an
error; elsewhere these tests are skipped with the reason.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake_api.server.serving import START, Service, free_port, until

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node_modules() -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        reason = "node and npm are needed to run upload clients"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once install once
        if any(_installed(name) != version for name, version in wanted.items()):
            subprocess.run([npm, "ci"], cwd=HERE, check=True, capture_output=True, timeout=240)


def _installed(name: str) -> str | None:
    package = HERE / "node_modules" / name / "package.json"
    return str(json.loads(package.read_text())["version"]) if package.exists() else None


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(folder / "state"),
        "PYTHONPATH": str(Path.cwd()),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "CASEVAULT_STALL_SECONDS": "20",
        "CASEVAULT_BEAT_MILLISECONDS": "100",
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
    one = Service(folder / "state", port, log, process)
    try:
        assert until(one.is_ready), log.read_text()
        one.register()
        yield one
    finally:
        one.stop()
