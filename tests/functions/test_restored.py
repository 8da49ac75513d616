"""A restored database under the function app: its first `sequence` reconciles before anything is signed (P7)."""

from __future__ import annotations

import shutil
from pathlib import Path

from audit.entry import Action
from retention.domain.bundle import BundleState
from tests.functions.state import Past, count, erased, services_on, states, verdict
from tests.functions.worker.client import StartWorker, Worker


def _started(start_worker: StartWorker, app_root: Path, past: Past) -> Worker:
    worker = start_worker(app_root, past.app_settings)
    assert worker.index() == ""
    return worker


def _sweep_and_erase(worker: Worker) -> None:
    swept = worker.run_timer("sweep")
    assert swept.ok, swept.error
    for message in swept.outputs.get("erase", []):
        assert worker.deliver("erase", message).ok


def _sequence(worker: Worker) -> None:
    sequenced = worker.run_timer("sequence")
    assert sequenced.ok, sequenced.error


def test_what_was_erased_ends_erased_after_a_restore(
    start_worker: StartWorker, app_root: Path, past: Past, tmp_path: Path
) -> None:
    shutil.copytree(past.folder, tmp_path / "backup")
    first = _started(start_worker, app_root, past)
    _sweep_and_erase(first)
    _sequence(first)
    first.kill()
    for tail in ("-wal", "-shm"):
        (past.folder / f"records.db{tail}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup" / "records.db", past.folder / "records.db")
    with services_on(past.app_settings) as services:
        assert erased(services) == set()  # the database has forgotten

    second, third = (_started(start_worker, app_root, past) for _ in range(2))
    for worker in (second, third):  # two workers of one app: the later one finds nothing left to do
        _sequence(worker)
    with services_on(past.app_settings) as services:
        assert count(services, Action.LOG_ADOPTED) == 1
        assert {id_ for id_, state in states(services).items() if state == BundleState.ERASING} == past.going
    _sweep_and_erase(third)
    _sequence(second)
    with services_on(past.app_settings) as services:
        assert erased(services) == past.going
        walked = verdict(services)
        assert walked.good, walked.problems
