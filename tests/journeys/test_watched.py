"""A whole journey, watched as in production: what is exported and logged tells of everything and names nobody.

The collector is a real HTTP server that reads OTLP as the protocol has it; the metrics are read
by Prometheus' own parser.
"""

from __future__ import annotations

import json
import random
import re
import threading
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, ContainerClient
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from retention.custody.timekeeping import METRIC
from retention.domain.ids import Kind
from retention.telemetry.opentelemetry import STATE
from tests.journeys.served import ADMINISTRATOR, AUDITOR, CASE_SYSTEM, Line, Served, free_port, start

TENANT, DIRECTORY = "Zwetschge Industries", "zwetschge-directory"
OLGA, STAMP, ERIN = (
    "operator:olga.quitte@zwetschge-directory",
    "stamp:rack-mirabelle@zwetschge-directory",
    "engineer:erin.holunder",
)
PAT = "partner:pat.schlehe/quandong-oem"
FILE, INSIDE = "sanddorn-logs.zip", "Hagebutte/secret-path.log"
REASON = "because of Berberitze and her volume"
CASES = iter(range(310000000000001, 320000000000000))
NAMED = re.compile(
    r"zwetschge|quitte|mirabelle|holunder|schlehe|quandong|sanddorn|hagebutte|secret-path|berberitze|3100000000000\d\d",
    re.IGNORECASE,
)
"""Whatever a person or the case system said in this journey."""
SECRET = re.compile(r"eyJ[\w-]{8,}\.|Bearer |sig=|[?&](sv|se|sp|case|type)=|-----BEGIN", re.ASCII)
ID = re.compile(rf"\b({'|'.join(Kind)})_[a-z2-7]{{26}}")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Collector:
    """Takes what is sent by OTLP over HTTP."""

    traces: list[bytes] = field(default_factory=list)
    metrics: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        taken = {"/v1/traces": self.traces, "/v1/metrics": self.metrics}

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taken[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self) -> list[Any]:
        requests_ = [ExportTraceServiceRequest.FromString(body) for body in self.traces]
        return [
            span for r in requests_ for part in r.resource_spans for s in part.scope_spans for span in s.spans
        ]

    def metric_names(self) -> set[str]:
        requests_ = [ExportMetricsServiceRequest.FromString(body) for body in self.metrics]
        return {
            m.name
            for r in requests_
            for part in r.resource_metrics
            for s in part.scope_metrics
            for m in s.metrics
        }


def test_where_a_function_app_is_the_clock_the_page_still_tells_how_the_work_stands(tmp_path: Path) -> None:
    at = f"127.0.0.1:{free_port()}"
    served = start(tmp_path, CASEVAULT_METRICS_LISTEN=at, CASEVAULT_CLOCK="functions")
    try:
        served.do("tenants", "register", TENANT, "--directory", DIRECTORY, who=ADMINISTRATOR)
        page = requests.get(f"http://{at}/metrics", timeout=30).text
    finally:
        served.stop()
    assert 'process="watch"' in page and 'process="clock"' not in page
    for name in ("casevault_bundles_overdue", "casevault_log_oldest_unsequenced_seconds"):
        assert name in page
    assert not (served.state / "log" / "checkpoint").exists()  # it watches, and is no clock


@dataclass(frozen=True)
class Watched:
    page: str
    log: str
    collector: Collector

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """The journey, once; afterwards the service has stopped."""
    folder, collector, at = tmp_path_factory.mktemp("watched"), Collector(), f"127.0.0.1:{free_port()}"
    environment = {
        "CASEVAULT_METRICS_LISTEN": at,
        "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{free_port()}",
        "CASEVAULT_BEAT_MILLISECONDS": "100",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
    }
    served = start(folder, **environment)
    try:
        _journey(served, folder)
        page = requests.get(f"http://{at}/metrics", timeout=30)
        assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert requests.get(f"http://{at}/", timeout=30).status_code == 404
    finally:
        served.stop()
    return Watched(page.text, (folder / "serve.log").read_text(), collector)


def _journey(served: Served, folder: Path) -> None:
    case, logs = str(next(CASES)), _archive(folder)
    served.do("tenants", "register", TENANT, "--directory", DIRECTORY, who=ADMINISTRATOR)
    words = ("stamps", "register", "Rack Mirabelle", "--subject", "rack-mirabelle", "--proactive")
    stamp = served.do(*words, who=OLGA)["id"]
    served.do("cases", "open", case, "--directory", DIRECTORY, who=CASE_SYSTEM)
    for who in ("erin.holunder", "pat.schlehe"):
        served.cli("cases", "assign", case, who, who=CASE_SYSTEM)
    line = Line(served.server, [None, 60_000], sending=True)
    bundle = served.do("send", logs, "--case", case, "--server", line.server, who=STAMP)["bundle"]
    line.close()
    assert served.cli("fetch", bundle, INSIDE, who=ERIN).code == 3  # refused: no grant yet
    served.do("grant", case, "--reason", REASON, who=ERIN)
    assert served.cli("fetch", bundle, INSIDE, "-o", folder / "read", who=ERIN).code == 0
    assert served.cli("grant", case, "--reason", REASON, who=PAT).code == 3
    served.do("consent", case, "--partner", "quandong-oem", "--days", "7", who=OLGA)
    _by_link(served, stamp, logs)
    _strangers(served, bundle)
    served.do("erase", "--bundle", bundle, "--yes", who=OLGA)
    served.cli("audit", "entries", "--case", case, who=AUDITOR)
    served.do("cases", "close", case, who=CASE_SYSTEM)


def _archive(folder: Path) -> Path:
    file = folder / FILE
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(INSIDE, random.Random(5).randbytes(200_000))
    return file


def _by_link(served: Served, stamp: str, logs: Path) -> None:
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    token = served.token({"subject": "olga.quitte", "role": "CaseVault.Operator", "directory": DIRECTORY})
    address = f"{served.server}/stamps/{stamp}/upload-links"
    made = requests.post(
        address,
        json={"expires_at": expires, "trigger": "Urp.UpdateFailure"},
        headers={"Authorization": f"Bearer {token}"},
        verify=str(served.ca),
        timeout=30,
    )
    assert made.status_code == 201, made.text
    url = made.json()["url"]
    with ContainerClient.from_container_url(url, connection_verify=str(served.ca)) as container:
        container.upload_blob(f"Hagebutte/{FILE}", logs.read_bytes())
    forged = url.replace("sig=", "sig=AAAA").replace("?", f"/{FILE}?", 1)
    with (
        BlobClient.from_blob_url(forged, connection_verify=str(served.ca)) as blob,
        pytest.raises(HttpResponseError),
    ):
        blob.upload_blob(b"x", overwrite=True)


def _strangers(served: Served, bundle: str) -> None:
    """Requests that nobody should have made, with what must not be written down in every part of them."""
    for path in (
        f"/bundles/{bundle}/files/{INSIDE}",
        f"/cases/{next(CASES)}",
        f"/Hagebutte?sig=secret&case={FILE}",
    ):
        for headers in ({}, {"Authorization": "Bearer eyJholunder.eyJquitte.sig"}):
            headers = {
                **headers,
                "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
                "User-Agent": "Holunder/1",
            }
            answer = requests.get(served.server + path, headers=headers, verify=str(served.ca), timeout=30)
            assert answer.status_code in (401, 404)


@pytest.mark.parametrize(
    "said", [TENANT, DIRECTORY, OLGA, STAMP, ERIN, PAT, FILE, INSIDE, REASON, "310000000000001"]
)
def test_the_search_would_find_what_was_said(said: str) -> None:
    assert NAMED.search(f"a line with {said} in it")


@pytest.mark.parametrize("said", ["Bearer x", "eyJhbGciOiJS.x", "/blob?sv=1&sig=x", "/bundles?case=7"])
def test_the_search_would_find_a_secret(said: str) -> None:
    assert SECRET.search(said)


def test_no_metric_names_anybody_or_anything(watched: Watched) -> None:
    for pattern in (NAMED, SECRET, ID):
        assert not pattern.search(watched.page), pattern.search(watched.page)
    exported = b"".join(watched.collector.metrics).decode("utf-8", "replace")
    for pattern in (NAMED, SECRET, ID):
        assert not pattern.search(exported), pattern.search(exported)


def test_no_span_names_anybody_or_anything(watched: Watched) -> None:
    exported = b"".join(watched.collector.traces).decode("utf-8", "replace")
    for pattern in (NAMED, SECRET, ID):
        assert not pattern.search(exported), pattern.search(exported)
    assert {attribute.key for span in watched.collector.spans() for attribute in span.attributes} <= {
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "error.type",
    }
    assert not any(span.events for span in watched.collector.spans())


def test_no_line_of_the_log_names_anybody_or_holds_a_secret(watched: Watched) -> None:
    for pattern in (NAMED, SECRET):
        assert not pattern.search(watched.log), pattern.search(watched.log)
    assert len(watched.lines) > 50


def test_callers_addresses_are_not_in_the_log(watched: Watched) -> None:
    own = ("ready", "blob endpoint", "Listening at")  # where the service itself is
    others = [line for line in watched.lines if not str(line["message"]).startswith(own)]
    assert "127.0.0.1" not in json.dumps(others)


_SHOWN = STATE.keys() - {METRIC}
"""With SQLite there is one clock, and nothing to compare."""


def test_every_part_of_the_journey_is_on_one_page(watched: Watched) -> None:
    samples = [s for family in text_string_to_metric_families(watched.page) for s in family.samples]
    assert {s.labels["process"] for s in samples} == {"api", "blobs", "clock"}

    def value(name: str, **labels: str) -> float:
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    acts = "casevault_entries_total"
    assert value(acts, action="upload.created", outcome="success") == 2
    assert value(acts, action="bundle.received") == 2
    assert value(acts, action="grant.given", outcome="success") == 1
    assert value(acts, action="erasure.requested") == 1
    assert value("casevault_refusals_total", action="grant.given", reason="no-consent") == 1
    assert value("casevault_refusals_total", action="upload-link.refused") == 1
    assert value("casevault_received_bytes_total") >= 400_000
    assert value("casevault_delivered_bytes_total") == 200_000
    # The server hears of the cut, or of the request that goes on behind it, whichever comes first.
    assert {s.labels["how"] for s in samples if s.name == "casevault_uploads_cut_total"} <= {
        "line",
        "stopped",
    }
    assert value("casevault_uploads_cut_total") == 1
    assert value("casevault_request_duration_seconds_count", process="blobs", route="blob:put-blob") >= 1
    assert value("casevault_beats_total", outcome="well") > 10
    assert {s.name for s in samples if s.name in STATE} == _SHOWN
    assert value("casevault_log_entries") > 0


def test_traces_and_metrics_reach_the_collector(watched: Watched) -> None:
    spans = watched.collector.spans()
    assert {"GET /bundles/<bundle>/files", "erase", "read-back", "objects.commit"} & {s.name for s in spans}
    assert bytes.fromhex(TRACE) in {span.trace_id for span in spans}
    assert watched.collector.metric_names() >= _SHOWN | {"casevault_entries", "casevault_beats"}


def test_the_lines_of_a_request_carry_its_trace(watched: Watched) -> None:
    requests_ = [line for line in watched.lines if line["from"] == "casevault.requests"]
    assert all(re.fullmatch("[0-9a-f]{32}", str(line["trace_id"])) for line in requests_)
    assert any(line["trace_id"] == TRACE for line in requests_)
    assert {"time", "level", "from", "message", "method", "status", "route", "request_id", "ms"} <= requests_[
        0
    ].keys()
