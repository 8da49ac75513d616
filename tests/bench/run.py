"""Measures casevault against its yardsticks on this machine and prints the table: `python tests/bench/run.py`.

--quick    256 MiB bodies and fewer rounds
--sweep    also the sweep over a million records (minutes)
--only     one section: uploads, background, memory, parallel, blob, small, steps, downloads, appends, postgres, azure
It needs curl, nginx, PostgreSQL and node with npm; it writes below --folder, which should lie on a disk, not in memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import azure_upload
import blob
import downloads
import postgres
import records
import steps
import sweeping
import uploads
from contenders import Stable
from measure import MIB, machine
from table import Row, render


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="casevault-bench-", dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "body"
        with file.open("wb") as out:
            for _ in range(options.size):
                out.write(os.urandom(MIB))
        rows: list[Row] = []
        for section, measure in _sections(file, options).items():
            if options.only in (None, section) and (section != "sweep" or options.sweep):
                print(f"measuring: {section}", file=sys.stderr)
                rows += _in_a_stable(folder / section, measure)
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {machine()}, {options.size} MiB bodies, {options.rounds} rounds\n"
    )
    print(render(rows))


def _sections(file: Path, options: argparse.Namespace) -> dict[str, Callable[[Stable], list[Row]]]:
    rounds = options.rounds
    return {
        "uploads": lambda stable: uploads.compare(stable, file, rounds),
        "background": lambda stable: uploads.beside_background(stable, file, max(2, rounds // 2)),
        "memory": lambda stable: uploads.memory(stable, file),
        "parallel": lambda stable: uploads.at_once(stable, file, max(2, rounds // 2)),
        "blob": lambda stable: blob.put_blocks(stable, file, rounds),
        "small": lambda stable: uploads.small_requests(stable, file, rounds),
        "steps": lambda stable: steps.compare(stable, rounds),
        "downloads": lambda stable: downloads.compare(stable, file, rounds, 2000),
        "appends": lambda stable: records.appends(stable.folder, 1),
        "postgres": lambda stable: [each.row() for each in postgres.compare(stable.folder, 3)],
        "azure": lambda _: azure_upload.compare(options.size * MIB, max(2, rounds // 2)),
        "sweep": lambda stable: sweeping.sweep(stable.folder, 20),
    }


def _in_a_stable(folder: Path, measure: Callable[[Stable], list[Row]]) -> list[Row]:
    folder.mkdir(mode=0o755)
    stable = Stable(folder)
    try:
        return measure(stable)
    finally:
        stable.stop_all()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--folder", default="/var/tmp")
    parser.add_argument("--size", type=int, help="MiB of the body")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    options.size = options.size or (256 if options.quick else 1024)
    options.rounds = options.rounds or (3 if options.quick else 7)
    return options


if __name__ == "__main__":
    main()
