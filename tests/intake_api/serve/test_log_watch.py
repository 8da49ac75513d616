"""A process that serves follows its openings into the signed tree, also while it ends."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from intake_api.serve.worker import wait_until_signed
from tests.retention.custody.world import World, strict_world

CONTENT = b"PLAINTEXT-MARKER"


def _read_once(world: World) -> Any:
    world.open_case()
    bundle = world.upload(CONTENT)
    world.assign(world.engineer)
    world.grant()
    world.read(bundle)
    return SimpleNamespace(custody=world.custody, log_key=world.log_signer.verifier)


def test_a_process_that_ends_waits_until_its_openings_are_signed() -> None:
    with strict_world() as world:
        services = _read_once(world)
        sequencer = threading.Thread(target=world.sequence)
        sequencer.start()
        wait_until_signed(services, 60)
        sequencer.join()
        assert len(world.custody.openings) == 0


def test_openings_that_nobody_follows_any_more_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with strict_world() as world, caplog.at_level(logging.WARNING):
        services = _read_once(world)
        wait_until_signed(services, 0)
        assert "1 openings are in the log but not signed yet" in caplog.text
