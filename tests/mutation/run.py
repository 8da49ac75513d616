"""Which changes of the core code does no test see? A seeded draw of mutants, each tried against the tests.

    pip install '.[test,mutation]'
    python -m tests.mutation.run --seed 1 --count 100
    python -m tests.mutation.run --mutant "retention/domain/grants.py:141 AddNot #2"

- Not part of the suite: it takes hours.
- Each mutant gets a copy of the tree. Tests nearest to the module run first; the first one that fails, and fails
  again when it is run alone, kills the mutant.
- What was looked at and changes nothing is listed in `unchanged.txt`, with the reason, and does not count.
- A mutant whose tests take four times as long as without it counts as killed: it hangs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.mutation.mutants import Mutant, draw, mutants_of, mutated

ROOT = Path(__file__).parents[2]
HANGS = "its time: the tests hang"
UNCHANGED = Path(__file__).with_name("unchanged.txt")


@dataclass(frozen=True, slots=True)
class Area:
    """Modules by glob, and the tests that hold them, nearest first."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {
    "rules": Area(("retention/domain/*.py",), ("tests/retention/domain", "tests/retention/custody")),
    "custody": Area(
        ("retention/custody/**/*.py", "retention/jobs/sweep.py", "retention/jobs/reconcile.py"),
        (
            *("tests/retention/custody", "tests/retention/jobs", "tests/retention/attacks"),
            *("tests/retention/concurrency", "tests/faults", "tests/intake_api/api", "tests/intake_api/tus"),
        ),
    ),
    "envelope": Area(
        ("retention/envelope/*.py",),
        ("tests/retention/envelope", "tests/contracts", "tests/retention/custody", "tests/keyvault"),
    ),
    "audit": Area(("audit/**/*.py",), ("tests/audit", "tests/retention/custody")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, try, and print; 1 when a mutant lives that changes something."""
    options = _options(arguments)
    shown = {
        line.partition("  ")[0] for line in UNCHANGED.read_text().splitlines() if line[:1] not in ("", "#")
    }
    lived: list[Mutant] = []
    tried = 0
    for name in options.area or AREAS:
        area = AREAS[name]
        tests = _found(area.tests)
        if options.mutant:
            drawn = _named(_found(area.modules), options.mutant)
        else:
            drawn = draw(ROOT, _found(area.modules), options.seed, options.count)
            drawn = [mutant for mutant in drawn if str(mutant) not in shown]
        if not drawn:
            continue
        limit = 4 * _time_of(tests) + 60
        with ThreadPoolExecutor(options.jobs) as pool:
            found = pool.map(partial(_killer, tests, limit), drawn)
            for mutant, killer in zip(drawn, found, strict=True):
                tried += 1
                print(f"{name}: {mutant}: {'LIVES' if killer is None else 'killed by ' + killer}", flush=True)
                if killer is None:
                    lived.append(mutant)
    if tried < len(options.mutant):
        sys.exit(
            f"{len(options.mutant)} mutants were named, {tried} are in these areas: name them as printed"
        )
    chosen = "as named" if options.mutant else f"seed {options.seed}"
    print(f"{tried - len(lived)} of {tried} killed ({(tried - len(lived)) / max(tried, 1):.1%}), {chosen}")
    return 1 if lived else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=25, help="mutants an area")
    parser.add_argument(
        "--mutant",
        action="append",
        default=[],
        help="this one, as it was printed, in place of a draw; repeat for more",
    )
    parser.add_argument("--area", action="append", choices=AREAS, help="only this one; repeat for more")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(arguments)


def _named(modules: Sequence[str], wanted: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these modules that are printed so."""
    paths = {text.partition(":")[0] for text in wanted}
    every = (
        mutant for path in modules if path in paths for mutant in mutants_of(path, (ROOT / path).read_text())
    )
    return [mutant for mutant in every if str(mutant) in wanted]


def _found(patterns: Sequence[str]) -> list[str]:
    found = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    if not all(found):
        sys.exit(f"one of {', '.join(patterns)} finds nothing: the layout has changed")
    return [str(path.relative_to(ROOT)) for some in found for path in some if path.name != "__init__.py"]


def _time_of(tests: Sequence[str]) -> float:
    """How long the tests take as they are; they must pass."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        _copy(Path(folder))
        if failed := _first_failure(Path(folder), tests, None):
            sys.exit(f"this test fails without any mutant: {failed}")
    return time.monotonic() - began


def _killer(tests: Sequence[str], limit: float, mutant: Mutant) -> str | None:
    """Return the test that fails with the mutant, and fails again when it is run alone; None if it lives."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        module = folder / mutant.path
        module.write_text(mutated(mutant, module.read_text()))
        left = sorted(tests, key=lambda test: Path(test).name != f"test_{module.stem}.py")
        spared: list[str] = []
        while (failed := _first_failure(folder, left, limit, spared)) is not None:
            if failed == HANGS or _first_failure(folder, [failed], limit) is not None:
                return failed
            spared.append(failed)  # the machine's fault, not the mutant's
        return None


def _copy(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def _first_failure(
    folder: Path, tests: Sequence[str], limit: float | None, spared: Sequence[str] = ()
) -> str | None:
    """Run the tests in the copy, SQLite alone: the rules are the same on both databases."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", *tests]
    command += ["-k", "not postgres"] if "::" not in tests[0] else []
    command += [f"--deselect={test}" for test in spared]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=limit, check=False, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return HANGS
    if done.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return named[1] if named else done.stdout[-300:]


if __name__ == "__main__":
    sys.exit(main())
