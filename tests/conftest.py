"""Marks what a test needs: `real` parts, a `browser`, or patience (`slow`). What needs none of them is `fast`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import postgres
from tests.servers.statements import compile_once

# Build machines are shared: how long an input takes to be made says nothing about what is tested.
settings.register_profile("casevault", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("casevault")

compile_once()
# The service is started as a process of its own hundreds of times: Python need not compile its modules each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

HERE = Path(__file__).parent

REAL = (
    *("azurite", "blob", "deploy", "doctor", "functions", "journeys", "keyvault", "oidc", "outsider"),
    *("scale", "uploaders"),
    *("retention/records/test_migrations.py", "retention/records/test_rights.py"),
)
"""Files and folders whose tests start servers, databases, or clients that others wrote. So do tests with one of the
fixtures below, with `postgres` in their name, or that say so themselves (`@pytest.mark.real`)."""
REAL_FIXTURES = {"serving", "azurite_port", "node_modules"}
SLOW = (
    *("deploy/test_image.py", "functions", "journeys", "scale", "uploaders"),
    *("intake_api/server", "retention/concurrency", "retention/attacks", "test_style.py"),
    *("retention/custody/test_machine.py", "retention/records/test_plans.py"),
    *("retention/test_failing_work.py", "retention/test_restored_stores.py", "retention/test_timekeeping.py"),
)
"""Files and folders whose tests take more than a few seconds, by their durations."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        where = item.path.relative_to(HERE).as_posix()
        fixtures = set(getattr(item, "fixturenames", ()))
        marks = {
            "real": within(where, REAL)
            or bool(fixtures & REAL_FIXTURES)
            or "postgres" in item.nodeid
            or item.get_closest_marker("real") is not None,
            "slow": within(where, SLOW),
            "browser": "Chromium" in item.nodeid,
        }
        for name in [name for name, holds in marks.items() if holds] or ["fast"]:
            item.add_marker(name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A fast test has no PostgreSQL, not even one that another test started."""
    postgres.refused_to = item.nodeid if item.get_closest_marker("fast") else None


def within(where: str, places: Sequence[str]) -> bool:
    return any(where == place or where.startswith(f"{place}/") for place in places)
