"""What a caller who hangs takes from the others: health and small requests while uploads and small bodies hang.

    python -m tests.bench.hanging [CALLERS]

CALLERS connections of one caller (200) each begin an upload and send no more, then as many a JSON body; the service has
its defaults. Prints how long /healthz took meanwhile, and what became of those that hang.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.intake_api.serve.serving import START, Line, Service, free_port, until

ASKED = 30
MIB = 1 << 20


def health(service: Service) -> str:
    """The median and the longest of so many requests, each over a connection of its own."""
    took = []
    for _ in range(ASKED):
        begun = time.monotonic()
        assert service.call("GET", "/healthz").status == 200
        took.append(1000 * (time.monotonic() - begun))
    took.sort()
    return f"/healthz {took[ASKED // 2]:.0f} ms, at most {took[-1]:.0f} ms"


def outcomes(lines: Iterable[Line], patience: float) -> dict[str, int]:
    """What each was told within `patience` seconds; `held`: nothing."""
    counted: Counter[str] = Counter()
    for line in lines:
        line.patience(patience)
        try:
            counted[str(line.answer().status)] += 1
        except TimeoutError:
            counted["held"] += 1
        line.finish()
    return dict(counted)


def uploads(service: Service, callers: int) -> list[Line]:
    lines = []
    for upload in [service.upload(MIB) for _ in range(callers)]:
        line = service.line()
        line.begin("PATCH", upload, service.patch_head(0, MIB))
        line.send(b"x" * 2000)
        lines.append(line)
    return lines


def bodies(service: Service, callers: int) -> list[Line]:
    head = {**service.bearer("boss"), "Content-Type": "application/json", "Content-Length": 500}
    lines = [service.line() for _ in range(callers)]
    for line in lines:
        line.begin("POST", "/tenants", head)
    return lines


def main() -> int:
    callers = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        state, port, log = Path(folder, "state"), free_port(), Path(folder, "log")
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")},
            "CASEVAULT_STATE": str(state),
            "CASEVAULT_DEVELOPMENT": "1",
            "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
            "CASEVAULT_CLOCK": "functions",
        }
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
        service = Service(state, port, log, process)
        try:
            assert until(service.is_ready, 60), log.read_text()
            service.register()
            print(f"nothing hangs: {health(service)}")
            for what, hang, patience in (("uploads", uploads, 0.3), ("JSON bodies", bodies, 30)):
                lines = hang(service, callers)
                time.sleep(1)
                small = service.call("GET", "/stamps", service.bearer("stamp")).status
                ready = service.call("GET", "/readyz").status
                print(f"{callers} {what} hang: {health(service)}; /readyz {ready}, a small request {small}")
                print(f"  they were told {outcomes(lines, patience)}")
        finally:
            service.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
