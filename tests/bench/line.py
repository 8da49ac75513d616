"""`casevault send` over a bad line, against the time that the bandwidth alone dictates.

    python tests/bench/line.py [MEGABYTES] [RUNS] [RESETS]

Prints a row for each run: how long the whole command took over a line of 256 kbit/s and 800 ms there and back (see
tests/shaped.py), from its start to the checked receipt, and how much longer that is than size / bandwidth. RESETS is
the probability that a connection is reset in a second of its life: 0.05 if not given.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, ROOT, Served, start
from tests.shaped import ShapedLine

RATE, ROUND_TRIP, RESETS = 256_000 / 8, 0.8, 0.05
OLGA = "operator:olga@contoso"


def send(served: Served, file: Path, case: str, line: ShapedLine) -> float:
    """Seconds of the whole command."""
    token = served.token({"subject": "rack-1", "role": "CaseVault.Stamp"})
    words = ("send", file, "--case", case, "--server", line.server)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "intake_api.cli", *map(str, words)],
        cwd=ROOT,
        env={**served.environment, "CASEVAULT_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
    return time.monotonic() - began


def main(megabytes: float, runs: int, resets: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = start(folder)
        try:
            served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
            served.do("stamps", "register", "Rack 1", "--subject", "rack-1", who=OLGA)
            case = served.case_number()
            served.do("cases", "open", case, "--directory", "contoso", who=CASE_SYSTEM)
            for seed in range(runs):
                file = folder / f"{seed}.bin"
                file.write_bytes(random.Random(seed).randbytes(int(megabytes * 1_000_000)))
                line = ShapedLine(served.server, rate=RATE, round_trip=ROUND_TRIP, resets=resets, seed=seed)
                took = send(served, file, case, line)
                line.close()
                dictated = megabytes * 1_000_000 / RATE
                print(
                    f"{megabytes:g} MB: {took:.1f} s, the bandwidth dictates {dictated:.1f} s: "
                    f"+{(took / dictated - 1) * 100:.1f} %; {line.resets} resets, {line.connections} connections",
                    flush=True,
                )
        finally:
            served.stop()


if __name__ == "__main__":
    given = sys.argv[1:] + ["4", "3", str(RESETS)][len(sys.argv) - 1 :]
    main(float(given[0]), int(given[1]), float(given[2]))
