"""The walks through the whole log, `verify`, `overdue` and `unaccounted`, and its exports: processor time and memory.

    python -m tests.bench.walks STATE [--beside CHECKOUT] [--rounds N]

STATE is a service's folder, as `tests.bench.fill` makes it. `--beside` is another checkout with an environment of its
own in `.venv`, which reads the same files: rounds take turns, so that whatever else the machine does falls on both.
Each walk is a process; its processor time (user and system) is counted from the first row or tile on, its memory is the
process's largest. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[2]
WALKS = ("verify", "export jsonl", "export csv", "export ocsf", "overdue", "unaccounted")
Figures = dict[str, float]


def _any(*names: str) -> Any:
    """Import the first of these that there is: checkouts differ in where they keep things."""
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names[0])


class _Opened:
    """A log, opened read-only with what this checkout has for it."""

    def __init__(self, state: Path) -> None:
        from sqlalchemy import create_engine

        environment = {**os.environ, "CASEVAULT_STATE": str(state), "CASEVAULT_DEVELOPMENT": "1"}
        settings = _any("retention.config", "retention.settings").from_environment(environment)
        self.engine = create_engine(f"sqlite:///file:{settings.records_file}?mode=ro&uri=true")
        self.tiles = _any("audit.tlog.tile_store", "audit.tiles").LocalTileStore(settings.log_folder)
        origin = self.tiles.get("checkpoint").decode().partition("\n")[0]
        signing = _any("retention.keys.signing", "retention.signing")
        self.key = signing.load_signing_key(settings.log_key_file, origin).verifier

    def verify(self) -> None:
        with self.engine.connect() as connection:
            verdict = _any("audit.log.verify", "audit.verify").verify_database(
                connection, self.key, self.tiles
            )
        if not verdict.good:
            raise RuntimeError(f"the log is not sound: {verdict.problems[0]}")

    def export(self, form: str) -> None:
        export, query = _any("audit.log.export", "audit.export"), _any("audit.log.query", "audit.query")
        for _ in export.EXPORTS[form](query.iterate(self.engine.connect, query.Filter())):
            pass


def walk(state: Path, name: str) -> Figures:
    """Take one walk in this process, by this checkout's code."""
    what, _, form = name.partition(" ")
    if what in ("overdue", "unaccounted"):
        casevault = _any("intake_api.cli.main").casevault
        words = ["audit", what, "--state", str(state)]
        taken: Callable[[], object] = lambda: casevault.main(words, standalone_mode=False)  # noqa: E731
    else:
        opened = _Opened(state)
        taken = opened.verify if what == "verify" else lambda: opened.export(form)
    before = _processor()
    taken()
    return {"seconds": _processor() - before, "megabytes": _usage().ru_maxrss / 1024}


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


def _processor() -> float:
    used = _usage()
    return used.ru_utime + used.ru_stime


def _in_a_process(checkout: Path, state: Path, name: str) -> Figures | None:
    """Take the walk in a process of a checkout's own; None where its version has no such walk, or not of this log."""
    command = [str(checkout / ".venv/bin/python"), __file__, str(state), "--walk", name]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    last = done.stdout.rstrip().rpartition("\n")[2]
    try:
        figures: Figures = json.loads(last)
    except ValueError:
        return None
    return figures


def main() -> None:
    """Measure what the options say, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("state", type=Path)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--walk", choices=WALKS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.walk is not None:
        print(json.dumps(walk(wanted.state.resolve(), wanted.walk)))
        return
    checkouts = [HERE, *([] if wanted.beside is None else [wanted.beside.resolve()])]
    with _Opened(wanted.state.resolve()).engine.connect() as connection:
        entries = connection.exec_driver_sql("SELECT count(*) FROM audit_entries").scalar_one()
    print(
        f"{entries:,} entries\n\n| | entries/s of processor | peak MB | beside: entries/s | peak MB | times |"
    )
    print("|---|---|---|---|---|---|")
    for name in WALKS:
        rounds = [
            [_in_a_process(checkout, wanted.state.resolve(), name) for checkout in checkouts]
            for _ in range(wanted.rounds)
        ]
        print(_row(name, entries, [list(each) for each in zip(*rounds, strict=True)]), flush=True)


def _row(name: str, entries: int, found: list[list[Figures | None]]) -> str:
    cells, rates = [name], []
    for figures in found:
        known = [each for each in figures if each is not None]
        if not known:
            cells += ["", ""]
            continue
        rates.append(entries / median(each["seconds"] for each in known))
        cells += [f"{rates[-1]:,.0f}", f"{median(each['megabytes'] for each in known):.0f}"]
    times = f"{rates[0] / rates[1]:.1f}" if len(rates) == 2 else ""
    return f"| {' | '.join([*cells, times])} |"


if __name__ == "__main__":
    if "--walk" not in sys.argv:
        sys.path.insert(0, str(HERE))
    main()
