"""A world for each test: on strict fakes, on local folders, or one after the other on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.retention.custody.world import World, local_world, strict_world


@pytest.fixture
def strict() -> Iterator[World]:
    with strict_world() as world:
        yield world


@pytest.fixture
def local(tmp_path: Path) -> Iterator[World]:
    with local_world(tmp_path) as world:
        yield world


@pytest.fixture(params=["strict", "local"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made
