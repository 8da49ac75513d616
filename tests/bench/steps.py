"""The small requests of an upload: a PATCH of 2 KiB, and the HEAD that asks for its offset; on SQLite and PostgreSQL.

    python tests/bench/steps.py [--beside FOLDER] [--rounds N]

`--beside` is another checkout with an environment of its own in `.venv`: its service runs in the same minutes, and the
rounds take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from caller import Vault
from contenders import Stable
from table import Row, render

from tests.servers.postgres import PostgresServer

PIECE = os.urandom(2048)
EACH = 100
"""Requests of a round."""


class Sender:
    """One upload of a service, by one kept-alive connection: as large as all rounds together and one piece more."""

    def __init__(self, vault: Vault, rounds: int) -> None:
        address, self._head = vault.begin_tus((rounds * EACH + 1) * len(PIECE))
        self._line, self._path = vault.line, "/uploads/" + address.rpartition("/")[2]
        self._offset = 0

    def patches(self) -> float:
        """Requests a second."""
        begun = time.perf_counter()
        for _ in range(EACH):
            head = {**self._head, "Upload-Offset": str(self._offset)}
            status, headers, content = self._line.call("PATCH", self._path, head, PIECE)
            if status != 204:
                raise RuntimeError(f"PATCH answered {status} {content!r}")
            self._offset = int(headers["upload-offset"])
        return EACH / (time.perf_counter() - begun)

    def heads(self) -> float:
        """Requests a second."""
        begun = time.perf_counter()
        for _ in range(EACH):
            status, headers, _ = self._line.call("HEAD", self._path, self._head)
            if (status, int(headers["upload-offset"])) != (200, self._offset):
                raise RuntimeError(f"HEAD answered {status} {headers}")
        return EACH / (time.perf_counter() - begun)


def compare(stable: Stable, rounds: int, beside: Path | None = None) -> list[Row]:
    """A row for each request and database; with `beside` how many times as many as that checkout's."""
    server = PostgresServer(durable=True)
    server.start()
    try:
        rows = []
        for database in ("SQLite", "PostgreSQL"):
            senders = [
                _sender(
                    stable, f"{database}-{number}", where, rounds, server if database != "SQLite" else None
                )
                for number, where in enumerate([None, beside] if beside else [None])
            ]
            for what, ask in (("PATCH of 2 KiB", Sender.patches), ("HEAD", Sender.heads)):
                ask_all = [[ask(sender) for sender in senders] for _ in range(rounds)]
                ours = median(each[0] for each in ask_all)
                ratio = median(each[0] / each[-1] for each in ask_all)
                note = f"{ratio:.2f} times the checkout beside it" if beside else ""
                rows.append(Row(f"{what} of an upload, {database}", ours, "requests/s", note=note))
        return rows
    finally:
        server.remove()


def _sender(
    stable: Stable, name: str, checkout: Path | None, rounds: int, server: PostgresServer | None
) -> Sender:
    settings = {"CASEVAULT_DATABASE_URL": server.url(server.new_database())} if server else {}
    return Sender(Vault(stable.casevault(name, quiet=True, checkout=checkout, **settings)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default="/var/tmp")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="casevault-bench-", dir=options.folder) as name:
        Path(name).chmod(0o755)
        stable = Stable(Path(name))
        try:
            print(render(compare(stable, options.rounds, options.beside)))
        finally:
            stable.stop_all()


if __name__ == "__main__":
    main()
