"""A worker that does not respond is replaced; one whose descriptors run out gets over it."""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from intake_api.config import ServerSettings
from intake_api.http.seats import SeatPlan
from intake_api.processes import keep_running
from intake_api.serve import descriptors
from intake_api.serve.worker_health import PATIENCE, WorkerHealth
from retention.config import SettingError, Settings
from tests.intake_api.serve.serving import until


class Worker:
    def __init__(self) -> None:
        self.responds, self.settled, self.replaced = True, True, 0

    def replace(self) -> None:
        self.replaced += 1


def test_only_failures_in_a_row_have_a_worker_replaced() -> None:
    worker = Worker()
    health = WorkerHealth(lambda: worker.responds, lambda: worker.settled, worker.replace)
    for responds in [*[False] * (PATIENCE - 1), True] * 3:
        worker.responds = responds
        health.look()
    assert worker.replaced == 0
    worker.responds, worker.settled = False, False
    for _ in range(3 * PATIENCE):
        health.look()
    assert worker.replaced == 0  # one that comes up is not asked
    worker.settled = True
    for _ in range(PATIENCE):
        health.look()
    assert worker.replaced == 1
    for _ in range(PATIENCE):
        health.look()
    assert worker.replaced == 2


def test_a_thread_that_fails_is_logged_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([LookupError("a secret"), OSError(24, "too many open files"), None])

    def work() -> None:
        if (error := next(outcomes)) is not None:
            raise error

    keep_running("line-watch", work, pause=0)
    assert next(outcomes, "all") == "all"
    said = [record.getMessage() for record in caplog.records]
    assert [("line-watch" in one, "secret" in one) for one in said] == [(True, False)] * 2


def settings_of(**changed: int) -> ServerSettings:
    plan = SeatPlan.by_default(changed.pop("threads", 128))
    return ServerSettings(custody=Settings(state="/nowhere", development=True), seats=plan, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1024, 1 << 20, 1064 + descriptors.HANDSHAKES, 512),
        (4096, 4096, None, 512),
        (1024, 1024, None, 472),
        (900, 1000, 1000, 448),
    ],
)
def test_the_limit_is_raised_where_that_is_allowed_or_connections_are_fewer(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None, connections: int
) -> None:
    limits, set_to = (soft, hard), []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: set_to.append(pair[0]))
    settings = settings_of()
    fitted = descriptors.fit_descriptors(settings)
    assert set_to == ([] if raised is None else [raised])
    assert fitted.connections == connections
    assert descriptors.needed(fitted, connections) <= max(soft, raised or 0)


def test_too_few_descriptors_are_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600, 600))
    with pytest.raises(SettingError, match=r"128 threads need 680 file descriptors.*600.*CASEVAULT_THREADS"):
        descriptors.fit_descriptors(settings_of())


def test_a_worker_that_does_not_respond_is_replaced_and_the_service_goes_on(serving) -> None:
    service = serving(stop_seconds=3, clock="functions", test_health=2)
    first = service.worker()
    os.kill(first, signal.SIGSTOP)
    assert until(lambda: any(pid != first for pid in service.workers()), 60)
    assert until(lambda: not runs(first), 60)  # it could not stop, and was ended by force
    assert until(service.is_ready, 30)
    assert any("does not respond" in str(line["message"]) for line in service.lines())
    assert service.stop() == 0


def test_connections_beyond_the_most_are_no_end_of_anything(serving) -> None:
    """More callers than connections, who ask nothing: the longest idle make room for whoever does."""
    service = serving(threads=16, connections=32, stall_seconds=60, clock="functions")
    callers = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(100)]
    assert until(service.is_ready, 30)
    assert until(lambda: service.connections() <= 32), service.connections()
    assert service.call("GET", "/healthz").status == 200
    for caller in callers:
        caller.close()
    assert service.stop() == 0


def test_when_descriptors_have_run_out_the_service_is_well_again_after_its_callers_left(serving) -> None:
    """The limit is lowered to what is open: nothing can be accepted, opened or listed any more."""
    service = serving(threads=16, connections=64, stop_seconds=3, clock="functions", test_health=5)
    worker = service.worker()
    _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors_of(worker) + 5, hard))
    callers = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
    assert until(lambda: descriptors_of(worker) >= resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] - 1)
    for caller in callers:
        caller.close()
    assert until(service.is_ready, 90)
    with service.line() as line:  # whoever ends idle connections lives
        line.begin("GET", "/healthz", {})
        assert line.answer().status == 200
        assert until(line.is_closed, 20)
    assert service.stop() == 0


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def runs(pid: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False
