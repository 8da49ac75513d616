"""Workers on the deployed tree. The worker library declares a newer Python: it is installed by a step of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functions.deployment import deploy
from tests.functions.state import Past, in_folder, make_past
from tests.functions.worker.client import StartWorker, Worker

INSTALL = "pip install --no-deps --ignore-requires-python azure-functions-runtime==1.3.0"


@pytest.fixture(scope="session")
def worker_library() -> None:
    """Microsoft's worker library is there; in CI its absence is a failure, elsewhere these tests are left out."""
    if importlib.util.find_spec("azure_functions_runtime") is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"Microsoft's Functions worker library is not installed; run: {INSTALL}")


@pytest.fixture(scope="session")
def app_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployed tree, away from the repository."""
    return deploy(tmp_path_factory.mktemp("deployment") / "wwwroot")


@pytest.fixture
def start_worker(worker_library: None) -> Iterator[StartWorker]:
    """Starts workers; they end with the test."""
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(Worker(*args))


@pytest.fixture(scope="session")
def original_past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Made once; tests take copies."""
    return make_past(tmp_path_factory.mktemp("past") / "state")


@pytest.fixture
def copy_past(original_past: Past, tmp_path: Path) -> Callable[[], Past]:
    """Makes a fresh copy of the state folder at every call."""
    numbers = iter(range(1_000_000))

    def copy() -> Past:
        folder = tmp_path / f"state-{next(numbers)}"
        shutil.copytree(original_past.folder, folder)
        return replace(original_past, app_settings=in_folder(folder))

    return copy


@pytest.fixture
def past(copy_past: Callable[[], Past]) -> Past:
    """A state folder in which the deadline has just come."""
    return copy_past()


@pytest.fixture
def worker(start_worker: StartWorker, app_root: Path, past: Past) -> Worker:
    """The deployed app, indexed, on `past`."""
    started = start_worker(app_root, past.app_settings)
    assert started.index() == ""
    return started
