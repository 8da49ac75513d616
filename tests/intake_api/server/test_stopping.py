"""Starting and stopping: gracefully, by force, and when a part of the service dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.intake_api.server.serving import START, until

MIB = 1 << 20


def test_a_graceful_stop_keeps_what_arrived_and_the_next_start_goes_on(serving):
    service = serving(stall_seconds=60)
    service.register()
    content = os.urandom(4 * MIB)
    upload = service.upload(len(content))
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, len(content)))
        line.send(content[: 3 * MIB])
        time.sleep(0.5)
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 9  # its bound is 10 seconds; a silent client does not make it wait
    again = serving(state=service.state, stall_seconds=60)
    offset = again.offset(upload)
    assert 2 * MIB <= offset <= 3 * MIB
    rest = content[offset:]
    assert again.call("PATCH", upload, again.patch_head(offset, len(rest)), rest).status == 204


def test_a_stop_closes_connections_that_are_kept_alive(serving):
    service = serving(stall_seconds=60)
    with service.line() as line:
        line.begin("GET", "/healthz", {})
        assert line.answer().status == 200
        assert service.stop(signal.SIGINT) == 0
        assert line.is_closed()


def test_the_service_ends_with_its_worker(serving):
    service = serving()
    clock = service.clock()
    os.kill(service.worker(), signal.SIGKILL)
    assert service.process.wait(20) == 1
    assert until(lambda: not _runs(clock))


def test_the_service_ends_with_its_clock(serving):
    service = serving()
    os.kill(service.clock(), signal.SIGKILL)
    assert service.process.wait(20) == 1
    assert any("clock process ended" in str(line["message"]) for line in service.lines())


def test_without_an_embedded_clock_the_service_serves_and_stops_all_the_same(serving):
    service = serving(clock="functions")
    service.register()
    upload = service.upload(3)
    assert service.call("PATCH", upload, service.patch_head(0, 3), b"log").status == 204
    assert service.children() == [service.worker()]
    assert service.stop() == 0


def test_no_child_outlives_its_parent(serving):
    service = serving()
    children = [service.worker(), service.clock()]
    service.process.kill()
    assert until(lambda: not any(_runs(child) for child in children), 15)


def test_a_second_service_on_the_same_state_or_address_is_refused_in_a_sentence(serving, tmp_path):
    service = serving()
    same_state = _refused(CASEVAULT_STATE=str(service.state), CASEVAULT_LISTEN="127.0.0.1:1")
    assert "another casevault serves" in same_state
    same_address = _refused(
        CASEVAULT_STATE=str(tmp_path / "other"), CASEVAULT_LISTEN=f"127.0.0.1:{service.port}"
    )
    assert "something listens there already" in same_address


def test_requests_are_logged_without_query_token_or_path(serving):
    service = serving()
    service.register()
    token = str(service.bearer("stamp")["Authorization"]).removeprefix("Bearer ")
    service.call("GET", "/bundles/secret-name?signature=secret", service.bearer("stamp"))
    assert service.stop() == 0
    text = service.log.read_text()
    assert "secret" not in text
    assert token not in text
    logged = [line for line in service.lines() if line["from"] == "casevault.requests"]
    assert {"method", "status", "route", "request_id", "ms"} <= logged[-1].keys()
    assert logged[-1]["route"] == "/bundles/<bundle>"


def _refused(**settings: str) -> str:
    environ = {**os.environ, "CASEVAULT_DEVELOPMENT": "1", "PYTHONPATH": str(Path.cwd()), **settings}
    done = subprocess.run(
        [sys.executable, "-c", START], env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    return done.stderr.splitlines()[-1]


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
