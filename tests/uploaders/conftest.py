"""The real service for real clients: unmodified, as their registries hand them out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake_api.serve.serving import Service
from tests.servers.installing import npm_packages
from tests.uploaders.starting import started

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node_modules() -> None:
    npm_packages(HERE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with started(tmp_path_factory.mktemp("service")) as one:
        yield one
