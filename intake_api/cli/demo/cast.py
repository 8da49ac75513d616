"""Who is in the demo, what its steps know of each other, and how a refusal is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from audit.checkpoint import Verifier
from intake_api.cli.client import Client
from intake_api.cli.demo.collecting import Collected
from intake_api.cli.demo.narrator import Narrator
from intake_api.cli.demo.rehearsal import Stage
from intake_api.cli.errors import ServiceProblem

CASE = "123456789012345"
ADMINISTRATOR, OPERATOR, STAMP = "administrator:adam", "operator:olga@contoso", "stamp:rack-1@contoso"
CASE_SYSTEM, ENGINEER, AUDITOR = "case-system:crm", "engineer:alice", "auditor:ada"
REASON = "Storage volume offline since 02:10, looking at the node's logs"


@dataclass(slots=True)
class Life:
    """What the steps know of each other."""

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
        """Somebody, with a fresh token: one from before the clock moved is worth nothing after."""
        return self.stage.client(who)


def refusal(
    narrator: Narrator, what: str, status: int, reason: str | None, act: Callable[[], object]
) -> ServiceProblem:
    """`act` must be refused like this; what the service said."""
    try:
        act()
    except ServiceProblem as problem:
        as_expected = problem.status == status and reason in (None, problem.reason)
        narrator.check(as_expected, f"{what}: {problem.status}, “{problem}”")
        return problem
    narrator.check(False, f"{what}: nothing refused it")
    raise AssertionError("a failed check raises")


def search(folder: Path, marker: bytes) -> bool:
    """True when `marker` stands in any file below `folder`."""
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
