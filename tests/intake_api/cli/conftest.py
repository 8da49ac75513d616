"""Scripted HTTPS servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intake_api.cli.client import Client
from tests.intake_api.cli.serving import Answer, Asked, Served

Start = Callable[[Callable[[Asked], Answer]], Served]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    running: list[Served] = []

    def begin(script: Callable[[Asked], Answer]) -> Served:
        server = Served(tmp_path_factory.mktemp("tls"), script)
        running.append(server)
        return server

    yield begin
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def connect(start: Start) -> Callable[[Callable[[Asked], Answer]], tuple[Client, Served]]:
    """A client of a server that answers by a script, and the server."""

    def begin(script: Callable[[Asked], Answer]) -> tuple[Client, Served]:
        server = start(script)
        return Client(server.url, server.ca, sleep=lambda _: None), server

    return begin


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with no settings of the user's."""

    for name in [name for name in os.environ if name.startswith("CASEVAULT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
