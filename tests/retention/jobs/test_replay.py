"""After a restore: what customers chose and answered, what auditors said and whose sessions ended, as the log has it.

The service's clock may tick, and its callers act, before the restored records know of the log's tail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from retention.assembly import Services
from retention.custody.access import manage_approvals
from retention.custody.access.altered_records import find_altered
from retention.domain.approval import WAITS
from retention.jobs.reconcile import Reconciliation, reconcile
from retention.jobs.sweep import erase_due
from tests.retention.custody.access.test_approvals import ask, decline, give, ready, withdraw
from tests.retention.custody.world import HOUR, World
from tests.retention.restoring import Installation, publish


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def again(services: Services, world: World) -> Reconciliation:
    return reconcile(world.custody, services.log_signer.verifier, services.witness)


def altered(world: World) -> list[str]:
    return list(find_altered(world.custody.records, world.custody.binding, world.clock.now()))


@pytest.mark.parametrize("answer", [give, decline, withdraw])
def test_no_request_lapses_whose_answer_the_restored_database_has_lost(
    installation: Installation, answer: object
) -> None:
    with installation.service() as (services, world):
        ready(world)
        approval = ask(world, duration=HOUR)
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        assert callable(answer)
        answer(world, approval, *([world.engineer] if answer is withdraw else []))
        publish(services)
    installation.restore()
    installation.clock.move(WAITS)
    with installation.service() as (services, world):
        erase_due(world.custody)
        again(services, world)
        erase_due(world.custody)
        publish(services)
        acts = [leaf["action"] for leaf in world.leaves() if leaf.get("subject") == approval]
        assert len(acts) == 2 and "approval.lapsed" not in acts
        row = manage_approvals.get_approval(world.custody, world.operator, approval)
        assert (row.state, acts[1]) == (acts[1].removeprefix("approval."), f"approval.{row.state}")
        assert altered(world) == []
