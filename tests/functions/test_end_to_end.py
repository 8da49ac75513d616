"""The deployed app on Microsoft's worker library, over a service whose deadline has come (P4, P5).

Each test twice: over the embedded default, and over PostgreSQL, Blob Storage and two vaults, with no folder shared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audit.entry import Action
from retention.domain.bundle import BundleState
from tests.azurite.conftest import azurite_port, node_modules
from tests.functions.state import (
    CLOSED,
    OPEN,
    Past,
    count,
    erased,
    make_past_in_azure,
    overdue_bundles,
    remains,
    services_on,
    states,
    unproven,
    verdict,
)
from tests.functions.worker.client import StartWorker, Worker
from tests.servers.azure import local_azure
from tests.servers.postgres import shared_server

__all__ = ["azurite_port", "node_modules"]


@pytest.fixture(params=["embedded", "azure"])
def past(request: pytest.FixtureRequest) -> Past:
    found: Past = request.getfixturevalue("past_in_azure" if request.param == "azure" else "past_in_folder")
    return found


@pytest.fixture
def past_in_folder(copy_past: Callable[[], Past]) -> Past:
    return copy_past()


@pytest.fixture
def past_in_azure(azurite_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    with local_azure(tmp_path, azurite_port, shared_server()) as azure:
        for name, value in azure.environment.items():  # this process looks at the same service
            monkeypatch.setenv(name, value)
        past = make_past_in_azure({**azure.environment, "CASEVAULT_STATE": str(tmp_path / "state")})
        assert not past.folder.exists()
        yield past
        assert {path.name for path in past.folder.glob("*")} <= {"witness"}


def _messages(worker: Worker) -> list[str]:
    swept = worker.run_timer("sweep")
    assert swept.ok, swept.error
    messages: list[str] = swept.outputs.get("erase", [])
    return messages


def test_a_case_closed_90_days_ago_is_erased_by_duplicated_messages_in_reverse_order(
    worker: Worker, past: Past
) -> None:
    messages = _messages(worker)
    assert {json.loads(message)["bundle"] for message in messages} == past.going
    with services_on(past.app_settings) as services:  # begun before the first message is delivered
        assert {id_ for id_, state in states(services).items() if state == BundleState.ERASING} == past.going

    for message in reversed(messages):
        for _copy in range(2):
            answer = worker.deliver("erase", message)
            assert answer.ok, answer.error
    sequenced = worker.run_timer("sequence")
    assert sequenced.ok, sequenced.error

    with services_on(past.app_settings) as services:
        assert erased(services) == past.going
        assert unproven(services) == []
        assert not any(remains(services, bundle_id) for bundle_id in past.going)
        assert remains(services, past.kept)
        assert states(services)[past.kept] == BundleState.COMPLETE
        assert count(services, Action.BUNDLE_ERASED) == len(past.going)
        assert count(services, Action.ERASURE_PROVEN) == count(services, Action.ERASURE_REQUESTED)
        assert overdue_bundles(services) == []
        walked = verdict(services)
        assert walked.good, walked.problems
        assert walked.leaves > 0 and walked.checkpoints > 0
    assert "azure.core" not in worker.log()  # no line for each request to Azure
    said = {"contoso", "stamp one", "stamp-one", "logs.zip", CLOSED, OPEN, "AccountKey", "sig=", "Bearer"}
    assert {word for word in said if word.lower() in worker.log().lower()} == set(), (
        "no particular, no secret"
    )


def test_a_sweep_after_the_work_is_done_sends_nothing(worker: Worker) -> None:
    for message in _messages(worker):
        worker.deliver("erase", message)
    assert _messages(worker) == []


def test_messages_that_are_lost_are_sent_again_by_the_next_sweep(worker: Worker, past: Past) -> None:
    first = _messages(worker)
    worker.deliver("erase", first[0])
    again = _messages(worker)
    assert sorted(again) == sorted(first[1:])


def test_a_worker_that_is_killed_half_way_leaves_work_that_another_finishes(
    worker: Worker, start_worker: StartWorker, app_root: Path, past: Past
) -> None:
    messages = _messages(worker)
    worker.deliver("erase", messages[0])
    worker.kill()

    second = start_worker(app_root, past.app_settings)
    assert second.index() == ""
    for message in _messages(second):
        assert second.deliver("erase", message).ok
    with services_on(past.app_settings) as services:
        assert erased(services) == past.going
        assert unproven(services) == []


def test_two_workers_that_share_the_state_erase_each_bundle_once(
    worker: Worker, start_worker: StartWorker, app_root: Path, past: Past
) -> None:
    other = start_worker(app_root, past.app_settings)
    assert other.index() == ""
    for message in _messages(worker) + _messages(other):
        assert other.deliver("erase", message).ok
        assert worker.deliver("erase", message).ok
    with services_on(past.app_settings) as services:
        assert erased(services) == past.going
        assert count(services, Action.BUNDLE_ERASED) == len(past.going)
