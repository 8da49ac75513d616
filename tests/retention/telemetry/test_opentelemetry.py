"""What is counted and traced, over the real parts; what is exported is looked at, not what was called."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from retention.config_telemetry import TelemetrySettings
from retention.domain.faults import NotFound, Unavailable
from retention.telemetry.opentelemetry import Telemetry, code
from tests.service import CASE, COLLEAGUE, ENGINEER, OPERATOR, Service

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
Labels = frozenset[tuple[str, object]]


@dataclass
class Seen:
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        processors = [SimpleSpanProcessor(self.spans)]
        self.telemetry = Telemetry("test", TelemetrySettings(), readers=[self.reader], processors=processors)

    def points(self, metric: str) -> dict[Labels, float]:
        """The value of each set of labels; of a histogram, how many."""
        data = self.reader.get_metrics_data()
        return {
            frozenset(point.attributes.items()): getattr(point, "value", getattr(point, "count", 0))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
        }

    def value(self, metric: str, **labels: object) -> float:
        return sum(
            value for held, value in self.points(metric).items() if labels.items() <= dict(held).items()
        )


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def service(tmp_path: Path, seen: Seen) -> Iterator[Service]:
    with Service(tmp_path, observer=seen.telemetry) as made:
        made.set_up()
        yield made


def test_acts_are_counted_as_the_log_has_them(service: Service, seen: Seen) -> None:
    content = b"log " * 5000
    bundle = service.complete(content)
    service.grant()
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER).data == content
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    counted = {  # before the look that it is compared with, which is an entry too
        (dict(labels)["action"], dict(labels)["outcome"]): value
        for labels, value in seen.points("casevault_entries").items()
    }
    logged: dict[tuple[str, str], int] = {}
    for entry in service.entries():
        kind = (entry["action"], entry["outcome"])
        logged[kind] = logged.get(kind, 0) + 1
    assert counted == logged
    assert seen.value("casevault_received_bytes") == len(content)
    assert seen.value("casevault_delivered_bytes") == len(content)


def test_a_refusal_is_counted_under_its_reason(service: Service, seen: Seen) -> None:
    asked = {"reason": "looking into the failed update", "duration_minutes": 60}
    assert service.call("POST", f"/cases/{CASE}/grants", COLLEAGUE, json=asked).status_code >= 400
    (labels,) = (dict(found) for found in seen.points("casevault_refusals"))
    assert (
        labels == {"action": "grant.given", "reason": "not-assigned"}
        or labels["reason"] == "case-not-visible"
    )


def test_refusals_that_one_entry_counts_together_are_all_counted(service: Service, seen: Seen) -> None:
    for _ in range(5):
        assert service.call("GET", "/bundles").status_code == 401
    assert seen.value("casevault_refusals", reason="missing") == 1, "the first is an entry at once"
    service.advance(timedelta(minutes=2))
    service.call("GET", "/bundles")
    assert seen.value("casevault_refusals", reason="missing") == 6


def test_requests_are_counted_by_route_and_status(service: Service, seen: Seen) -> None:
    service.call("GET", "/bundles/bun_unknown", ENGINEER)
    service.call("BREW", "/coffee/for/alice")
    labels = {"method": "GET", "route": "/bundles/<bundle>", "status": "404"}
    assert seen.value("casevault_request_duration_seconds", **labels) == 1
    odd = {"method": "other", "route": "none"}
    assert seen.value("casevault_request_duration_seconds", **odd) == 1


def test_a_part_that_fails_is_counted_and_its_text_is_told_to_nobody(
    service: Service, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("the vault of Contoso says no", reason="disabled")

    monkeypatch.setattr(type(service.services.key_wrapper._part), "wrap", fail)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError):
        service.send()
    assert (
        seen.value("casevault_part_failures", part="key-wrapper", operation="wrap", error="Unavailable") == 1
    )
    assert "Contoso" not in "".join(span.to_json() for span in seen.spans.get_finished_spans())


def test_an_answer_of_a_part_is_no_failure(service: Service, seen: Seen) -> None:
    with pytest.raises(NotFound), seen.telemetry.call("records", "write"):
        raise NotFound("no such thing")
    service.complete()  # it asks for a key that is not there yet
    assert seen.points("casevault_part_failures") == {}
    assert (
        seen.value("casevault_part_duration_seconds", part="objects", operation="commit") == 2
    )  # the part, and the manifest


def test_a_request_goes_on_with_its_callers_trace_and_its_parts_are_within(
    service: Service, seen: Seen
) -> None:
    seen.spans.clear()
    service.call("GET", f"/cases/{CASE}", ENGINEER, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    spans = {span.name: span for span in seen.spans.get_finished_spans()}
    request = spans["GET /cases/<number>"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == SPAN
    assert all(f"{span.context.trace_id:032x}" == TRACE for span in spans.values())
    assert dict(request.attributes) == {
        "http.request.method": "GET",
        "http.route": "/cases/<number>",
        "http.response.status_code": 200,
    }


def test_what_no_caller_waits_for_is_traced_by_itself_and_an_idle_round_is_not(
    service: Service, seen: Seen
) -> None:
    service.send()
    seen.spans.clear()
    service.tick()
    spans = seen.spans.get_finished_spans()
    (root,) = (span for span in spans if span.parent is None)
    assert root.name == "read-back"
    assert {"objects.open_part", "keys.get"} <= {span.name for span in spans}
    seen.spans.clear()
    service.tick()
    assert seen.spans.get_finished_spans() == ()


@pytest.mark.parametrize("text", [None, 7, "", "two words", "x" * 65, "Ümlaut", "a/b", "bundle\n"])
def test_a_label_that_looks_like_no_code_of_ours_is_other(text: object) -> None:
    assert code(text) == "other"


def test_off_nothing_is_loaded() -> None:
    text = (
        "import sys; from retention.adapters import Adapters; from retention.config import Settings;"
        "from retention.telemetry.observer import NOTHING; from pathlib import Path;"
        "import intake_api.serve.worker, intake_api.serve.clock_process, intake_api.serve.blob_worker, functions.app;"
        "assert Adapters(Settings(state=Path('.'))).observer('api') is NOTHING;"
        "sys.exit(any(name.startswith(('opentelemetry', 'prometheus')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
