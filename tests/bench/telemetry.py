"""What watching costs: the same service unwatched, with metrics, and with metrics and traces sent; interleaved rounds.

python tests/bench/telemetry.py FOLDER [MIB] [ROUNDS]
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from caller import Vault, seconds
from contenders import Contender, Stable
from measure import MIB, median, peaks_mb, quantile
from uploads import Taken, timed

CALLS = 300


class Discard(BaseHTTPRequestHandler):
    """A collector that takes everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def main(folder: Path, size: int, rounds: int) -> None:
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Discard)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    listen = "127.0.0.1:19{}64"
    file = folder / "body"
    file.write_bytes(bytes(MIB) * (size // MIB))
    stable = Stable(folder)
    try:
        contenders = {
            "unwatched": stable.casevault("casevault-off", quiet=False),
            "metrics": stable.casevault(
                "casevault-metrics", quiet=False, CASEVAULT_METRICS_LISTEN=listen.format(4)
            ),
            "metrics, traces": stable.casevault(
                "casevault-traces", quiet=False, CASEVAULT_METRICS_LISTEN=listen.format(5), **sent
            ),
        }
        vaults = {name: Vault(contender) for name, contender in contenders.items()}
        taken = {name: Taken() for name in contenders}
        calls: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                _round(
                    contender,
                    vaults[name],
                    file,
                    taken[name] if turn else Taken(),
                    calls[name] if turn else [],
                )
        for name, contender in contenders.items():
            peak = max(peaks_mb(contender.process.pid).values())
            print(
                f"{name:16} {taken[name].rate(size):6.0f} MB/s {taken[name].per_gb(size):5.2f} s/GB"
                f"  small request {median(calls[name]) * 1000:5.2f} / {quantile(calls[name], 0.99) * 1000:5.2f} ms"
                f"  largest process {peak:4.0f} MB"
            )
    finally:
        stable.stop_all()


def _round(contender: Contender, vault: Vault, file: Path, into: Taken, calls: list[float]) -> None:
    timed(contender, lambda: seconds(vault.put(file)), into)
    who = vault.bearer("Stamp")
    calls += [vault.line.timed("/bundles", who) for _ in range(CALLS)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:3] or ["512"])[0]) * MIB, int((sys.argv[3:4] or ["5"])[0]))
