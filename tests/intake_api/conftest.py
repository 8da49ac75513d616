"""A service for each test: empty, or set up with two customers and a case each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


@pytest.fixture
def service(empty: Service) -> Service:
    empty.set_up()
    return empty
