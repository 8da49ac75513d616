"""One endpoint for all tests here; each test has links of its own, and blobs of one link are none of another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blob.endpoint import Endpoint


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    running = Endpoint(Path(tmp_path_factory.mktemp("endpoint")))
    try:
        yield running
    finally:
        running.close()
