"""The real service, started for clients; a page of another origin may come from its `page_port`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.intake_api.serve.serving import START, Service, free_port, until


@contextmanager
def started(folder: Path, page_port: int = 0, **settings: object) -> Iterator[Service]:
    """A service in `folder` with these settings, which knows one customer and one stamp."""
    port, page_port = free_port(), page_port or free_port()
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(folder / "state"),
        "PYTHONPATH": str(Path.cwd()),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "CASEVAULT_STALL_SECONDS": "20",
        "CASEVAULT_BEAT_MILLISECONDS": "100",
        "CASEVAULT_UPLOAD_ORIGINS": f"http://127.0.0.1:{page_port}",
        **{f"CASEVAULT_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
    one = Service(folder / "state", port, log, process, page_port)
    try:
        assert until(one.is_ready, 60), log.read_text()
        one.register()
        yield one
    finally:
        one.stop()
