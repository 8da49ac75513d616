"""What a process has only counted is in the log when it stops, is renewed, or is told to stop and then killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from intake_api.serve import worker
from tests.intake_api.serve.serving import Service, free_port, until
from tests.service import Service as Whole

REFUSED = "('caller.refused', 'grant.given', 'upload-link.refused')"


def told(state: Path, where: str) -> int:
    """How many the entries tell of."""
    with closing(sqlite3.connect(state / "records.db")) as database:
        leaves = database.execute(f"SELECT leaf FROM audit_entries WHERE {where}").fetchall()  # noqa: S608
    return sum(json.loads(leaf).get("details", {}).get("count", 1) for (leaf,) in leaves)


def strangers_and_engineers(service: Service, number: int) -> None:
    asked: dict[str, object] = {"reason": "looking into the failed update", "duration_minutes": 60}
    kind = {"Content-Type": "application/json", **service.bearer("alice")}
    for _ in range(number):
        assert service.call("GET", "/stamps").status == 401
        answer = service.call("POST", "/cases/999999999999999/grants", kind, json.dumps(asked).encode())
        assert answer.status == 403


def test_a_stop_enters_what_was_counted(serving):
    service = serving()
    strangers_and_engineers(service, 20)
    assert told(service.state, f"action IN {REFUSED}") == 2
    assert service.stop() == 0
    assert told(service.state, "action = 'caller.refused'") == 20
    assert told(service.state, "action = 'grant.given'") == 20


def test_a_renewed_worker_enters_what_it_had_counted(serving):
    service = serving()
    strangers_and_engineers(service, 10)
    old = service.worker()
    os.kill(service.process.pid, signal.SIGHUP)
    assert until(lambda: service.process.poll() is None and old not in service.children(), 30)
    assert told(service.state, f"action IN {REFUSED}") == 20


def test_it_is_entered_when_a_stop_begins_and_not_only_at_its_end(serving):
    service = serving(stop_seconds=20)
    service.register()
    address, head = service.readable(8 << 20)
    strangers_and_engineers(service, 10)
    with service.line(receive_buffer=4096) as line:  # a download that nobody takes: the stop waits for it
        line.begin("GET", address, head)
        line.receive(1000)
        service.process.send_signal(signal.SIGTERM)
        assert until(lambda: told(service.state, f"action IN {REFUSED} AND outcome = 'refused'") == 20, 15)
        assert service.process.poll() is None, "what is killed now has entered it"
    service.process.wait(30)


def test_the_blob_endpoint_enters_uses_and_refusals_when_it_stops(serving):
    blobs = free_port()
    service = serving(blob_listen=f"127.0.0.1:{blobs}")
    service.register()
    stamp = service.post("/stamps", {"name": "other", "subject": "other", "proactive": True})
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked: dict[str, object] = {"expires_at": expires, "trigger": "Urp.UpdateFailure"}
    url = urlsplit(str(service.post(f"/stamps/{stamp['id']}/upload-links", asked)["url"]))
    for query in (url.query, url.query.replace("sig=", "sig=x"), "comp="):
        for _ in range(5):
            line = HTTPSConnection(url.netloc, timeout=20, context=service.context)
            with closing(line):
                line.request("HEAD", f"{url.path}?{query}&restype=container")
                line.getresponse().read()
    assert service.stop() == 0
    assert told(service.state, "action = 'upload-link.used' OR action = 'upload-link.refused'") == 15


def test_the_timer_enters_a_window_that_is_over_though_nobody_calls_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "COUNTS_BEAT", 0.01)
    service, stopping = Whole(tmp_path), threading.Event()
    for _ in range(5):
        service.call("GET", "/stamps")
    thread = threading.Thread(target=worker.write_counts, args=(service.custody, stopping), daemon=True)
    thread.start()
    try:
        service.advance(timedelta(minutes=1))
        assert until(lambda: told(service.settings.state, "action = 'caller.refused'") == 5)
    finally:
        stopping.set()
