"""Starting and stopping: gracefully, by force, and when a part of the service dies."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from retention.assembly import initialise
from retention.config import Settings
from tests.intake_api.serve.serving import START, Service, family, free_port, until
from tests.servers.schema import copied_schema

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
    assert offset == 3 * MIB
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


def test_a_new_service_waits_until_the_last_ones_children_have_ended(serving):
    service = serving(stall_seconds=60)
    service.register()
    upload, children = service.upload(4 * MIB), service.children()
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, 4 * MIB))
        line.send(bytes(3 * MIB))
        time.sleep(0.5)
        service.process.kill()
        again = serving(state=service.state)
    assert not any(_runs(child) for child in children)
    assert again.offset(upload) >= 2 * MIB


def test_a_request_that_hangs_in_the_blobs_process_outlives_no_stop(serving):
    blobs = free_port()
    service = serving(blob_listen=f"127.0.0.1:{blobs}", clock="functions", stop_seconds=5)
    link = _upload_link(service)
    processes = family(service.process.pid)
    with closing(sqlite3.connect(service.state / "records.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # nobody else writes until this is over
        putting = threading.Thread(target=_put_blob, args=(service, link), daemon=True)
        putting.start()
        time.sleep(1)
        assert service.stop() == 0
        assert not any(_runs(pid) for pid in processes)
    putting.join(20)
    assert not putting.is_alive()


def _upload_link(service: Service) -> str:
    service.register()
    stamp = service.post("/stamps", {"name": "other", "subject": "other", "proactive": True})
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked: dict[str, object] = {"expires_at": expires, "trigger": "Urp.UpdateFailure"}
    return str(service.post(f"/stamps/{stamp['id']}/upload-links", asked)["url"])


def _put_blob(service: Service, link: str) -> None:
    url = urlsplit(link)
    line = HTTPSConnection(url.netloc, timeout=20, context=service.context)
    with closing(line), suppress(OSError, HTTPException):  # it is cut
        line.request("PUT", f"{url.path}/a.zip?{url.query}", b"a log", {"x-ms-blob-type": "BlockBlob"})
        line.getresponse()


def test_a_second_service_on_the_same_state_or_address_is_refused_in_a_sentence(serving, tmp_path):
    service = serving()
    same_state = _refused(
        CASEVAULT_STATE=str(service.state), CASEVAULT_LISTEN="127.0.0.1:1", CASEVAULT_STOP_SECONDS="1800"
    )
    assert not any("waiting" in line for line in same_state)  # one that serves on is not waited for
    assert "another casevault serves" in same_state[-1]
    kept = (service.state / "serving.lock").read_text()
    assert kept == f"https://127.0.0.1:{service.port}"
    same_address = _refused(
        CASEVAULT_STATE=str(tmp_path / "other"), CASEVAULT_LISTEN=f"127.0.0.1:{service.port}"
    )
    assert "something already listens there" in same_address[-1]


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


def _refused(**settings: str) -> list[str]:
    environ = {**os.environ, "CASEVAULT_DEVELOPMENT": "1", "PYTHONPATH": str(Path.cwd()), **settings}
    done = subprocess.run(
        [sys.executable, "-c", START], env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode != 0
    return done.stderr.splitlines()


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("key-encryption-key.json", Path.unlink, "key-encryption-key.json"),
        ("log-signing-key", lambda path: path.chmod(0o644), "chmod 600"),
        ("records.db", lambda path: path.write_bytes(b"no database" * 1000), "not a database"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(tmp_path, name, harm, said):
    state = tmp_path / "state"
    with copied_schema():
        initialise(Settings(state=state, development=True))
    for log in state.glob("records.db-*"):
        log.unlink()
    harm(state / name)
    assert said in _refusal(state)


def test_a_certificate_that_is_none_is_named(tmp_path):
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls-key.pem"
    certificate.write_text("no certificate")
    key.touch(0o600)
    told = _refusal(tmp_path, CASEVAULT_TLS_CERTIFICATE=str(certificate), CASEVAULT_TLS_KEY=str(key))
    assert f"{certificate} does not hold a certificate in PEM" in told


def _refusal(state: Path, **settings: str) -> str:
    """The one line that `casevault serve` ends with."""
    environ = {**os.environ, "CASEVAULT_DEVELOPMENT": "1", "CASEVAULT_STATE": str(state), **settings}
    words = [sys.executable, "-m", "intake_api.cli", "serve", "--listen", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_it_serves_and_stops_where_children_are_no_copies_by_default(serving):
    """As from Python 3.14 on (multiprocessing's forkserver)."""
    service = serving(before="import multiprocessing\nmultiprocessing.set_start_method('forkserver')\n")
    assert service.call("GET", "/healthz").status == 200
    assert service.stop() == 0
