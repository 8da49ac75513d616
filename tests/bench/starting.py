"""How long a start takes, and how much memory the service holds when nothing is asked of it.

    python -m tests.bench.starting [--rounds 5]

starts `casevault serve` with the embedded parts, on a new folder and again on the same one, and prints medians: seconds
and processor seconds until `/readyz` says ready, and the memory of each process then (PSS: what processes share is
divided among them). Processor time depends less than seconds on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.measure import cpu_seconds, machine, median, tree
from tests.intake_api.serve.serving import START, Service, free_port, until


def start(state: Path, log: Path) -> tuple[Service, float]:
    """A running service that is ready, and how many seconds that took."""
    port = free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(state),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
    service = Service(state, port, log, process)
    if not until(service.is_ready, 120):
        raise SystemExit(log.read_text())
    return service, time.monotonic() - begun


def memory(pid: int) -> float:
    """MiB of a process: its own, and its share of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))) / 1024


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5)
    rounds: int = options.parse_args().rounds
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for what in ("new folder", "again"):
                service, seconds = start(Path(folder) / "state", Path(folder) / "log")
                pids = tree(service.process.pid)
                note(f"{what}: seconds to ready", seconds)
                note(f"{what}: processor seconds to ready", cpu_seconds(service.process.pid))
                time.sleep(3)
                note(f"{what}: MiB of the parent", memory(service.process.pid))
                note(f"{what}: MiB of the worker", memory(service.worker()))
                note(f"{what}: MiB of all {len(pids)} processes", sum(map(memory, pids)))
                service.stop()
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    for name, values in found.items():
        print(f"{name:45} {median(values):8.2f}   ({min(values):.2f} to {max(values):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
