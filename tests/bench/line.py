"""`casevault send` over a bad line, against the time that the bandwidth alone dictates.

    python tests/bench/line.py [MEGABYTES] [RUNS] [RESETS] [token|link] [CONNECTIONS]

Prints a row for each run: how long the whole command took over a line of 256 kbit/s and 800 ms there and back (see
tests/shaped.py), from its start to the checked receipt, and how much longer that is than size / bandwidth. RESETS is
the probability that a connection is reset in a second of its life: 0.05 if not given. With a token it goes over tus,
with an upload link through the Blob endpoint; over as many connections as `send` chooses, if CONNECTIONS is not given.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, ROOT, Served, free_port, start
from tests.shaped import ShapedLine

RATE, ROUND_TRIP, RESETS = 256_000 / 8, 0.8, 0.05
OLGA = "operator:olga@contoso"


def send(served: Served, environment: dict[str, str], *words: object) -> float:
    """Seconds of the whole command."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "intake_api.cli", "send", *map(str, words)],
        cwd=ROOT,
        env={**served.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "for this very file" in done.stdout
    return time.monotonic() - began


def issue(served: Served, case: str) -> str:
    """A link of the case."""
    who = served.token({"subject": "olga", "role": "CaseVault.Operator", "directory": "contoso"})
    asked = {"expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    answer = requests.post(
        f"{served.server}/cases/{case}/upload-links",
        json=asked,
        headers={"Authorization": f"Bearer {who}"},
        verify=str(served.ca),
        timeout=30,
    )
    return str(answer.json()["url"])


def main(megabytes: float, runs: int, resets: float, way: str, connections: str) -> None:
    more = ("--connections", connections) if connections else ()
    bad = {"rate": RATE, "round_trip": ROUND_TRIP, "resets": resets}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = start(folder, CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
        try:
            served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
            served.do("stamps", "register", "Rack 1", "--subject", "rack-1", who=OLGA)
            case = served.case_number()
            served.do("cases", "open", case, "--directory", "contoso", who=CASE_SYSTEM)
            for seed in range(runs):
                file = folder / f"{seed}.bin"
                file.write_bytes(random.Random(seed).randbytes(int(megabytes * 1_000_000)))
                if way == "link":
                    url = urlsplit(issue(served, case))
                    line = ShapedLine(f"https://{url.netloc}", **bad, seed=seed)
                    link = f"{line.server}{url.path}?{url.query}"
                    # The keys are asked of the service itself, not over the line: it is the sending that counts.
                    took = send(served, {"CASEVAULT_LINK": link}, file, *more)
                else:
                    token = served.token(
                        {"subject": "rack-1", "role": "CaseVault.Stamp", "directory": "contoso"}
                    )
                    line = ShapedLine(served.server, **bad, seed=seed)
                    words = (file, "--case", case, "--server", line.server)
                    took = send(served, {"CASEVAULT_TOKEN": token}, *words, *more)
                line.close()
                dictated = megabytes * 1_000_000 / RATE
                print(
                    f"{way} {connections or 'auto'} {megabytes:g} MB: {took:.1f} s, "
                    f"the bandwidth dictates {dictated:.1f} s: "
                    f"+{(took / dictated - 1) * 100:.1f} %; {line.resets} resets, {line.connections} connections",
                    flush=True,
                )
        finally:
            served.stop()


if __name__ == "__main__":
    given = sys.argv[1:] + ["4", "3", str(RESETS), "token", ""][len(sys.argv) - 1 :]
    main(float(given[0]), int(given[1]), float(given[2]), given[3], given[4])
