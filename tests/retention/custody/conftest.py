"""A world for each test: its records in SQLite or in PostgreSQL, its bundles on strict fakes or in local folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.retention.custody.world import World, local_world, postgres_doors, strict_world


@contextmanager
def _on_postgres() -> Iterator[World]:
    """Every verb with the rights that the API's role has, and no others."""
    with postgres_doors() as (api, clock), strict_world(api, clock) as world:
        yield world


def _made(kind: str, folder: Path) -> AbstractContextManager[World]:
    makers = {"sqlite": strict_world, "postgres": _on_postgres, "local": lambda: local_world(folder)}
    return makers[kind]()


@pytest.fixture(params=["sqlite", "postgres"])
def strict(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with _made(request.param, tmp_path) as world:
        yield world


@pytest.fixture
def local(tmp_path: Path) -> Iterator[World]:
    with local_world(tmp_path) as world:
        yield world


@pytest.fixture(params=["sqlite", "postgres", "local"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with _made(request.param, tmp_path) as world:
        yield world
