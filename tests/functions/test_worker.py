"""Each function on Microsoft's worker library: what the host is told, and how triggers are answered."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from audit.cosigning.cosignature import Cosigner
from audit.entry import Action, Outcome
from functions.queues import write_message
from retention.domain.bundle import BundleState
from retention.domain.ids import Kind, new_id
from tests.functions.state import Past, count, erased, move_clock, services_on, states
from tests.functions.worker.client import StartWorker, Worker
from tests.servers.scripted import answer, scripted

TIMERS = {"sweep", "sequence", "witness", "cosign", "read_back", "scrub", "index", "notices", "tidy"}
QUEUES = {
    "erase": "casevault-erase",
    "erase_poison": "casevault-erase-poison",
    "read_back_one": "casevault-read-back",
    "read_back_poison": "casevault-read-back-poison",
}
SECRET = "hunter2-do-not-log"
BAD = {
    "not JSON": f"{{'bundle': {SECRET}",
    "not an object": f'["{SECRET}"]',
    "another field": f'{{"bundles": "{SECRET}"}}',
    "a field too many": f'{{"bundle": "bun_{"a" * 26}", "force": "{SECRET}"}}',
    "not a bundle id": f'{{"bundle": "{SECRET}"}}',
    "a number": '{"bundle": 5}',
    "empty": "",
    "too long": '{"bundle": "bun_' + "a" * 400 + '"}',
    "nested": "[" * 200,
}


def test_the_host_is_told_of_all_functions_with_their_triggers(worker: Worker) -> None:
    assert set(worker.functions) == TIMERS | set(QUEUES)
    for name in TIMERS:
        trigger = next(b for b in worker.functions[name]["bindings"] if b["type"] == "timerTrigger")
        assert trigger["runOnStartup"] is False
        assert len(trigger["schedule"].split()) == 6
    for name, queue in QUEUES.items():
        (trigger,) = worker.functions[name]["bindings"]
        assert (trigger["type"], trigger["queueName"]) == ("queueTrigger", queue)
        assert trigger["connection"] == "AzureWebJobsStorage"


def test_only_timers_have_a_retry_policy_because_queues_count_deliveries(worker: Worker) -> None:
    policies = {name: function["retry"] for name, function in worker.functions.items()}
    expected = {"strategy": "fixed_delay", "times": 3, "delay": 20}
    assert policies == {name: expected if name in TIMERS else None for name in policies}


def test_the_sweep_sends_to_the_queue_that_erase_listens_to(worker: Worker) -> None:
    (output,) = (b for b in worker.functions["sweep"]["bindings"] if b["direction"] == "OUT")
    assert output["type"] == "queue"
    assert output["queueName"] == QUEUES["erase"]
    assert QUEUES["erase_poison"] == output["queueName"] + "-poison"


def test_the_read_back_sends_to_the_queue_that_read_back_one_listens_to(worker: Worker) -> None:
    (output,) = (b for b in worker.functions["read_back"]["bindings"] if b["direction"] == "OUT")
    assert (output["type"], output["queueName"]) == ("queue", QUEUES["read_back_one"])
    assert QUEUES["read_back_poison"] == output["queueName"] + "-poison"


def test_app_settings_are_named_in_the_triggers_for_the_host_to_resolve(
    start_worker: StartWorker, app_root: Path, past: Past
) -> None:
    given = {"CASEVAULT_SWEEP_SCHEDULE": "0 */2 * * * *", "CASEVAULT_ERASE_QUEUE": "erase-2"}
    worker = start_worker(app_root, past.app_settings | given)
    assert worker.index() == ""
    sweep = {b["type"]: b for b in worker.functions["sweep"]["bindings"]}
    assert sweep["timerTrigger"]["schedule"] == "%CASEVAULT_SWEEP_SCHEDULE%"
    assert sweep["queue"]["queueName"] == "%CASEVAULT_ERASE_QUEUE%"
    assert worker.functions["erase"]["bindings"][0]["queueName"] == "%CASEVAULT_ERASE_QUEUE%"
    assert worker.functions["erase_poison"]["bindings"][0]["queueName"] == "%CASEVAULT_ERASE_QUEUE%-poison"


def test_a_wrong_app_setting_is_named_when_the_app_is_indexed(
    start_worker: StartWorker, app_root: Path
) -> None:
    error = start_worker(app_root, {"CASEVAULT_ERASE_QUEUE": "Not_A_Queue"}).index()
    assert "CASEVAULT_ERASE_QUEUE" in error


def test_the_app_runs_from_the_deployed_files_alone_and_brings_no_other_door(
    worker: Worker, app_root: Path
) -> None:
    files = {name: file for name, file in worker.loaded.items() if file is not None}
    assert {"audit.log.append", "functions.app", "retention.assembly", "function_app"} <= files.keys()
    assert all(Path(file).is_relative_to(app_root) for file in files.values())
    assert not any(name.split(".")[0] == "intake_api" for name in worker.loaded)


def test_indexing_needs_no_state_and_the_first_invocation_says_what_is_missing(
    start_worker: StartWorker, app_root: Path, tmp_path: Path
) -> None:
    worker = start_worker(app_root, {"CASEVAULT_STATE": str(tmp_path / "none")})
    assert worker.index() == ""
    answer = worker.run_timer("sequence")
    assert not answer.ok
    assert "key-encryption-key.json is missing" in answer.error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", sorted(TIMERS))
def test_a_timer_that_is_past_due_does_the_same_and_says_so(worker: Worker, name: str) -> None:
    answer = worker.run_timer(name, past_due=True)
    assert answer.ok, answer.error
    assert "is running late" in worker.log()


def test_only_the_timer_for_it_speaks_to_witnesses_that_others_run(
    start_worker: StartWorker, app_root: Path, past: Past
) -> None:
    key = Cosigner("w1.test/w", bytes(32)).verifier.key
    with scripted(answer(b""), reads=False) as server:
        asked = {"CASEVAULT_COSIGNERS": f"{key} {server.url.replace('http:', 'https:')}"}
        worker = start_worker(app_root, {**past.app_settings, **asked})
        assert worker.index() == ""
        for timer in sorted(TIMERS - {"cosign"}):
            assert worker.run_timer(timer).ok
        assert server.heads == []
        assert worker.run_timer("cosign").ok
        assert len(server.heads) == 1
    assert "no cosignature by w1.test/w" in worker.log()


def test_a_good_message_as_bytes_is_taken_as_well(worker: Worker, past: Past) -> None:
    worker.run_timer("sweep")
    assert worker.deliver("erase", write_message(past.due[0]).encode()).ok
    with services_on(past.app_settings) as services:
        assert erased(services) == {past.due[0]}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_refused_so_that_the_host_gives_it_up_and_its_text_is_written_nowhere(
    worker: Worker, past: Past, body: str
) -> None:
    answer = worker.deliver("erase", body)
    assert not answer.ok
    assert answer.error.startswith("BadMessage")
    given_up = worker.deliver("erase_poison", body)
    assert given_up.ok, given_up.error
    assert SECRET not in worker.log() + answer.error + answer.trace
    with services_on(past.app_settings) as services:
        assert count(services, Action.CALLER_REFUSED, Outcome.REFUSED) == 1
        assert erased(services) == set()


def test_a_message_for_an_unknown_bundle_is_harmless(worker: Worker, past: Past) -> None:
    with services_on(past.app_settings) as services:
        before = states(services)
    assert worker.deliver("erase", write_message(new_id(Kind.BUNDLE))).ok
    assert worker.deliver("erase_poison", write_message(new_id(Kind.BUNDLE))).ok
    with services_on(past.app_settings) as services:
        assert states(services) == before


def test_a_message_cannot_make_custody_erase_what_is_not_due(worker: Worker, past: Past) -> None:
    for name in QUEUES:
        assert worker.deliver(name, write_message(past.kept)).ok
    with services_on(past.app_settings) as services:
        assert states(services)[past.kept] == BundleState.COMPLETE
        assert count(services, Action.BUNDLE_ERASED) == 0


def test_an_erasure_that_fails_is_left_to_the_queue_and_entered_when_the_queue_gives_it_up(
    worker: Worker, past: Past
) -> None:
    """The store is made to fail: a folder stands where the bundle's data key should lie."""
    worker.run_timer("sweep")
    bundle_id, message = past.due[0], write_message(past.due[0])
    (key,) = (past.folder / "data-keys").rglob(f"*{bundle_id}*")
    key.unlink()
    (key / "in-the-way").mkdir(parents=True)

    for delivery in range(5):
        assert not worker.deliver("erase", message, dequeue_count=delivery + 1).ok
    assert worker.deliver("erase_poison", message).ok
    with services_on(past.app_settings) as services:
        assert count(services, Action.BUNDLE_ERASED, Outcome.FAILED) == 1
        assert states(services)[bundle_id] == BundleState.ERASING
    assert "the queue gave up" in worker.log()

    (key / "in-the-way").rmdir()
    key.rmdir()
    with services_on(past.app_settings) as services:
        move_clock(services, timedelta(minutes=15))  # its next try has come
    assert message in worker.run_timer("sweep").outputs["erase"]  # the work is not lost
    assert worker.deliver("erase", message).ok
    with services_on(past.app_settings) as services:
        assert erased(services) == {bundle_id}
