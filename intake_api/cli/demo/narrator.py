"""The demo's output (each step, its checks, its time), its cast, and what its steps share.

A check that fails ends the demo: nothing after it would mean anything.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from audit.tlog.checkpoint import Verifier
from intake_api.cli.cli_errors import CliError, ServiceProblem, plain
from intake_api.cli.client import Client
from intake_api.cli.demo.collecting import Collected
from intake_api.cli.demo.rehearsal import Stage

CASE = "123456789012345"
ADMINISTRATOR, OPERATOR, STAMP = "administrator:adam", "operator:olga@contoso", "stamp:rack-1@contoso"
CASE_SYSTEM, ENGINEER, AUDITOR = "case-system:crm", "engineer:alice", "auditor:ada"
REASON = "Storage volume offline since 02:10, looking at the node's logs"


@dataclass(slots=True)
class Life:
    """What the steps share."""

    stage: Stage
    narrator: Narrator
    collected: Collected
    size: int = 0
    sha256: str = ""
    bundle: str = ""
    stamp: str = ""
    keys: tuple[Verifier, Verifier] = field(init=False)
    checkpoint: str = ""
    deadline: datetime = field(init=False)
    confirmation: str = ""

    def client(self, who: str) -> Client:
        """Make a client for a person, with a fresh token: one from before the clock moved has expired."""
        return self.stage.client(who)


def refusal(
    narrator: Narrator, what: str, status: int, reason: str | None, act: Callable[[], object]
) -> ServiceProblem:
    """Check that `act` is refused with this status and reason; return what the service said."""
    try:
        act()
    except ServiceProblem as problem:
        as_expected = problem.status == status and reason in (None, problem.reason)
        narrator.check(as_expected, f"{what}: {problem.status}, “{problem}”")
        return problem
    narrator.check(False, f"{what}: nothing refused it")
    raise AssertionError("a failed check raises")


def search(folder: Path, marker: bytes) -> bool:
    """Search every file below `folder` for `marker`."""
    return any(_holds(path, marker) for path in folder.rglob("*") if path.is_file())


def _holds(path: Path, marker: bytes) -> bool:
    tail = b""
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 22):
                if marker in tail + piece:
                    return True
                tail = piece[-len(marker) :]
    except FileNotFoundError:  # a temporary file of the service's
        return False
    return False


_INDENT = "    "
_WIDEST, _PIPED = 110, 100
_TIME = 10
"""Room at the end of a line for how long the step took."""


class CheckFailed(CliError):
    """A failed check of the demo."""


@dataclass(slots=True)
class Step:
    """One step, as it is printed and as --json shows it."""

    title: str
    said: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Narrator:
    """A printer of the steps on stdout, or their keeper for --json."""

    def __init__(self, quiet: bool) -> None:
        self.steps: list[Step] = []
        self._quiet = quiet
        self._held = ""
        width = shutil.get_terminal_size((_PIPED, 24)).columns if sys.stdout.isatty() else _PIPED
        self._width = max(40, min(width, _WIDEST)) - _TIME
        fancy = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        self._good, self._bad = ("✓", "✗") if fancy else ("ok", "NO")

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Open a step and time its block."""
        step = Step(title)
        self.steps.append(step)
        self._wrapped(title, f"{len(self.steps):>2}  ", _INDENT)
        self._release()
        begun = time.monotonic()
        try:
            yield step
        finally:
            step.seconds = round(time.monotonic() - begun, 2)
            self._print(f"{self._held}  ({step.seconds:.2f} s)")
            self._held = ""

    def say(self, text: str) -> None:
        """Print what was done."""
        self.steps[-1].said.append(text)
        self._wrapped(text, _INDENT, _INDENT)

    def check(self, holds: bool, text: str) -> None:
        """Print what was checked; CheckFailed if it does not hold."""
        mark = self._good if holds else self._bad
        self._wrapped(text, f"{_INDENT}{mark} ", _INDENT + " " * (len(mark) + 1))
        if not holds:
            raise CheckFailed(f"step {len(self.steps)}: this check failed: {text}")
        self.steps[-1].checked.append(text)

    def tell(self, text: str) -> None:
        """Print a line outside any step."""
        self._wrapped(text, "", "")
        self._release()

    def _wrapped(self, text: str, first: str, later: str) -> None:
        # Ids, paths and digests stay whole: people copy them.
        lines = textwrap.wrap(
            plain(text),
            self._width,
            initial_indent=first,
            subsequent_indent=later,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._release()
        self._held = "\n".join(lines)

    def _release(self) -> None:
        """Print the held line; a step's last line waits for its time."""
        if self._held:
            self._print(self._held)
        self._held = ""

    def _print(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)
