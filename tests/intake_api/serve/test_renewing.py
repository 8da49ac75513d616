"""SIGHUP: new workers, a new certificate, and nobody notices. SIGTERM: told before it begins."""

from __future__ import annotations

import os
import signal
import sqlite3
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from audit.entry import parse_leaf
from intake_api.serve.certificates import local_certificate
from retention.clock import SystemClock
from tests.intake_api.serve.serving import Service, until

MIB = 1 << 20
SIZE = 24 * MIB
PAUSE = 0.005
"""Between two calls of a caller, in seconds: a longer gap in which nobody can connect is still met by one."""


def renew(service: Service) -> int:
    """SIGHUP, and the new worker once the old one has begun to stop."""
    before = said(service, "renewed")
    service.process.send_signal(signal.SIGHUP)
    assert until(lambda: said(service, "renewed") > before), service.log.read_text()
    assert until(lambda: len(service.workers()) == 1), service.log.read_text()
    return service.worker()


def said(service: Service, what: str) -> int:
    return sum(what in str(line["message"]) for line in service.lines())


def serial(service: Service) -> int:
    with service.line() as line:
        found = line.certificate()
    return int(str(found["serialNumber"]), 16)


@contextmanager
def callers(service: Service, number: int = 3) -> Iterator[Counter[str]]:
    """Callers that open a new connection for each request, all the time; what became of their requests."""
    outcomes: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            try:
                outcomes[str(service.call("GET", "/readyz").status)] += 1
            except (OSError, ssl.SSLError) as error:
                outcomes[type(error).__name__] += 1
            over.wait(PAUSE)

    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_no_connection_is_refused_and_no_request_lost_while_workers_are_renewed(serving):
    service = serving()
    first = service.worker()
    with callers(service) as outcomes:
        for _ in range(4):
            renew(service)
    assert set(outcomes) == {"200"}, outcomes
    assert outcomes["200"] > 50
    assert service.worker() != first
    assert service.stop() == 0


def test_an_upload_under_way_is_kept_by_the_old_worker_and_goes_on_at_the_new_one(serving):
    service = serving(stall_seconds=60)
    service.register()
    content = os.urandom(4 * MIB)
    upload = service.upload(len(content))
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, len(content)))
        line.send(content[: 3 * MIB])
        time.sleep(0.5)
        renew(service)
        offset = service.offset(upload)
        assert 2 * MIB <= offset <= 3 * MIB
        rest = content[offset:]
        assert service.call("PATCH", upload, service.patch_head(offset, len(rest)), rest).status == 204


def test_the_certificate_is_read_anew(serving):
    service = serving()
    before = serial(service)
    (service.state / "tls/server.pem").unlink()  # so that another is made
    renew(service)
    assert serial(service) != before


def test_a_certificate_that_cannot_be_used_changes_nothing(serving, tmp_path: Path):
    files = local_certificate(tmp_path / "state/tls", SystemClock().now())
    service = serving(
        state=tmp_path / "state", tls_certificate=files.certificate, tls_key=files.key, stop_seconds=10
    )
    before, good, worker = serial(service), files.certificate.read_bytes(), service.worker()
    files.certificate.write_text("no certificate")
    service.process.send_signal(signal.SIGHUP)
    assert until(lambda: said(service, "not renewed, the certificate cannot be used") == 1)
    assert (serial(service), service.worker()) == (before, worker)
    files.certificate.write_bytes(good)
    assert renew(service) != worker
    assert service.stop() == 0


def test_a_worker_that_does_not_come_up_changes_nothing(serving):
    service = serving()
    worker, key = service.worker(), service.state / "log-signing-key"
    kept = key.read_bytes()
    key.unlink()
    service.process.send_signal(signal.SIGHUP)
    assert until(lambda: said(service, "the new worker did not come up") == 1)
    assert service.call("GET", "/readyz").status == 200
    assert service.workers() == [worker]
    key.write_bytes(kept)
    key.chmod(0o600)
    assert renew(service) != worker
    assert service.stop() == 0


def test_a_stop_in_the_middle_of_a_renewal_stops_both(serving):
    service = serving()
    service.process.send_signal(signal.SIGHUP)
    assert until(lambda: len(service.workers()) == 2)
    assert service.stop() == 0


def test_a_stop_is_told_by_readiness_before_it_begins(serving):
    service = serving(drain_seconds=30)
    service.process.send_signal(signal.SIGTERM)
    assert until(lambda: service.call("GET", "/readyz").status == 503, 5)
    assert service.call("GET", "/readyz").json() == {"status": "draining"}
    assert service.call("GET", "/healthz").status == 200, "callers that come all the same are served"
    begun = time.monotonic()
    assert service.stop() == 0, "a second signal ends the waiting"
    assert time.monotonic() - begun < 15


def test_the_waiting_ends_by_itself(serving):
    service = serving(drain_seconds=1)
    begun = time.monotonic()
    assert service.stop() == 0
    assert 1 <= time.monotonic() - begun < 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_download_under_way_goes_on_to_its_end(serving, number: int):
    service = serving(stall_seconds=30)
    service.register()
    address, reader = service.readable(SIZE)
    with service.line(receive_buffer=64 * 1024) as line:
        line.begin("GET", address, {**reader, "Connection": "close"})
        line.receive(MIB)
        service.process.send_signal(number)
        assert MIB + line.receive_slowly(seconds=3) > SIZE
    assert until(lambda: service.process.poll() == 0 if number == signal.SIGTERM else service.is_ready())
    assert ended_reads(service) == [("success", SIZE)]


def test_a_download_that_outlasts_the_stop_is_cut_and_its_entry_says_so(serving):
    service = serving(stall_seconds=30, stop_seconds=4)
    service.register()
    address, reader = service.readable(SIZE)
    with service.line(receive_buffer=64 * 1024) as line:
        line.begin("GET", address, reader)
        line.receive(MIB)
        service.process.send_signal(signal.SIGTERM)
        line.receive_slowly(seconds=60)
    assert service.process.wait(30) == 0
    ((outcome, delivered),) = ended_reads(service)
    assert outcome == "failed"
    assert MIB <= delivered < SIZE


def ended_reads(service: Service) -> list[tuple[str, int]]:
    """Outcome and bytes of each read that has ended, as the log has them."""
    statement = "SELECT outcome, leaf FROM audit_entries WHERE action = 'bundle.read-ended'"
    with closing(sqlite3.connect(service.state / "records.db")) as records:
        return [
            (outcome, parse_leaf(leaf)["details"]["bytes"]) for outcome, leaf in records.execute(statement)
        ]
