"""Checks run side by side: one that fails or hangs hides no other.

Each returns a fact when all is well and raises what a person can mend when not. One that does not respond in time is
reported and left running: its thread ends with the program.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from intake_api.cli.cli_errors import CliError, mendable, one_line, said
from retention.doctor import NotWell


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `needs`: prefixes of the settings it depends on."""

    name: str
    look: Callable[[], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A check's result."""

    check: str
    good: bool
    what: str


@dataclass(slots=True)
class _Running:
    check: Check
    outcome: Result | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.check.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            good, what = True, self.check.look()
        except Exception as error:  # whatever it is: the other lines must be printed
            known = isinstance(error, (CliError, NotWell, *mendable()))
            good, what = False, said(error) if known else f"{type(error).__name__}: {error}"
        self.outcome = Result(self.check.name, good, one_line(what))

    def result(self, until: float, patience: float) -> Result:
        self.thread.join(max(0.0, until - time.monotonic()))
        late = f"no response within {patience:g} seconds: it hangs, or the line to it does"
        return self.outcome or Result(self.check.name, good=False, what=late)


def run_checks(checks: Iterable[Check], wrong: Mapping[str, str], patience: float) -> list[Result]:
    """Run all checks; return the results in their order. A check that depends on a wrong setting is not run."""
    until = time.monotonic() + patience
    begun = [_stopped(check, wrong) or _Running(check) for check in checks]
    return [each if isinstance(each, Result) else each.result(until, patience) for each in begun]


def _stopped(check: Check, wrong: Mapping[str, str]) -> Result | None:
    for name in wrong:
        if check.needs and name.startswith(check.needs):
            return Result(check.name, good=False, what=f"not checked: {name} is wrong")
    return None
