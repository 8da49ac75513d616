"""A patient for the doctor: a service's settings and state on this machine, and nothing running."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from intake_api.cli.main import run
from retention.assembly import assemble, initialise
from retention.config import from_environment
from tests.azurite.conftest import azurite_port as azurite_port
from tests.azurite.conftest import container as container
from tests.azurite.conftest import node_modules as node_modules
from tests.azurite.conftest import service as service
from tests.fakes.buckets import buckets as buckets
from tests.intake_api.cli.conftest import start as start
from tests.keyvault.conftest import certificate as certificate
from tests.keyvault.conftest import make_vault as make_vault
from tests.servers.schema import copied_schema

Lines = dict[str, dict[str, Any]]
NOWHERE = "https://127.0.0.1:9"


class Patient:
    """`told` are the environment variables beside those that every patient has."""

    def __init__(
        self, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.state = state
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.told: dict[str, str] = {"CASEVAULT_DEVELOPMENT": "1"}

    def make(self) -> None:
        """As `casevault serve` or `casevault init` makes it; with a first entry in the log."""
        settings = from_environment({"CASEVAULT_STATE": str(self.state), **self.told})
        with copied_schema():
            initialise(settings)
        services = assemble(settings)
        services.sequencer.run_once()
        services.close()

    def examine(self, *words: str, **more: str) -> Lines:
        """What `casevault doctor` says, by check; its exit code must agree."""
        with self._monkeypatch.context() as patch:
            for name, value in {"CASEVAULT_STATE": str(self.state), **self.told, **more}.items():
                patch.setenv(name, value)
            self._capsys.readouterr()
            code = run(["doctor", "--json", "--server", NOWHERE, *words])
        lines = json.loads(self._capsys.readouterr().out)
        assert code == 1  # nothing serves
        return {line["check"]: line for line in lines}


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Patient:
    for name in [name for name in os.environ if name.startswith("CASEVAULT_")]:
        monkeypatch.delenv(name)
    return Patient(tmp_path / "state", monkeypatch, capsys)


def bad(lines: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The checks that found something; that nothing serves is known."""
    return {
        name: line["what"]
        for name, line in lines.items()
        if not line["good"] and name not in ("service", "line")
    }


def timed(work: Callable[[], Lines]) -> tuple[Lines, float]:
    begun = time.monotonic()
    return work(), time.monotonic() - begun
