"""The observer that counts and traces by OpenTelemetry: the only module that imports it, loaded only when it is on.

Rules:
- Every label is from a closed list; a text that does not look like a code of ours is `other`. A span has a name, the
  same labels and its time: no text of an error, no address, no id but the trace's own.
- One set of providers a process, made after it was forked. Their threads are daemons, and a collector that does not
  respond costs a line in the log.
- A call of a part is a span only within a traced request or work: what the clock asks twice a second is not.

| metric (Prometheus name) | labels | meaning |
|---|---|---|
| casevault_request_duration_seconds | method, route, status | requests to a door: number and time to the last byte |
| casevault_entries_total | action, outcome | entries committed to the audit log: every act there is |
| casevault_refusals_total | action, reason | refusals, including those that an entry counts together |
| casevault_received_bytes_total | | bytes of bundles that were kept |
| casevault_delivered_bytes_total | | bytes of bundles handed to readers, counted when a read ends |
| casevault_uploads_cut_total | how | requests that ended before their body: line, stalled, stopped |
| casevault_part_duration_seconds | part, operation | calls of records, objects, keys, key wrapper: number and time |
| casevault_part_failures_total | part, operation, error | those that failed, by the error's type |
| casevault_beats_total | beat, outcome | rounds of the clock: well, failed |
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, generate_latest

from audit.entry import Action, Outcome, parse_leaf
from audit.log.append import WRITTEN, EntryRow
from retention.config_telemetry import TelemetrySettings
from retention.domain.faults import CustodyError, Unavailable
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing, PartExists, PartMissing
from retention.telemetry.observer import Figures, Watched, trace_of

REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600)
CALL_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ANSWERS = (CustodyError, KeyDestroyed, KeyExists, KeyMissing, PartExists, PartMissing)
"""Errors that are a part's normal responses, not failures."""
_ACTION, _OUTCOME, _REASON, _LEAF = (WRITTEN.index(name) for name in ("action", "outcome", "reason", "leaf"))
_PROPAGATOR = TraceContextTextMapPropagator()


def code(text: object) -> str:
    """Return `text` if it looks like a code of ours, else `other`."""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else "other"


class Telemetry:
    """An Observer. `process` is the role of this process; `scraped`: for Prometheus, by `exposition`."""

    def __init__(
        self,
        process: str,
        settings: TelemetrySettings,
        *,
        scraped: bool = False,
        readers: Sequence[MetricReader] = (),
        processors: Sequence[SpanProcessor] = (),
    ) -> None:
        resource = _resource(process)
        self._registry = CollectorRegistry(auto_describe=False)
        readers = [*readers, *_readers(settings, self._registry, scraped=scraped)]
        processors = [*processors, *_processors(settings)]
        self._meters = MeterProvider(metric_readers=readers, resource=resource) if readers else None
        self._tracers = TracerProvider(resource=resource) if processors else None
        for processor in processors:
            self._tracers.add_span_processor(processor)  # type: ignore[union-attr]
        self._tracer = self._tracers.get_tracer("casevault") if self._tracers else None
        self._make_instruments()

    def _make_instruments(self) -> None:
        meter = (self._meters or MeterProvider()).get_meter("casevault")
        self._meter = meter
        self._requests = meter.create_histogram(
            "casevault_request_duration_seconds",
            description="Requests to a door, to the last byte",
            explicit_bucket_boundaries_advisory=REQUEST_SECONDS,
        )
        self._calls = meter.create_histogram(
            "casevault_part_duration_seconds",
            description="Calls of the parts that custody is made of",
            explicit_bucket_boundaries_advisory=CALL_SECONDS,
        )
        count = meter.create_counter
        self._entries = count("casevault_entries", description="Entries committed to the audit log")
        self._refusals = count("casevault_refusals", description="Refusals, by reason code")
        self._received = count("casevault_received_bytes", description="Bytes of bundles that were kept")
        self._delivered = count("casevault_delivered_bytes", description="Bytes of bundles handed to readers")
        self._cuts = count("casevault_uploads_cut", description="Uploads' requests that ended too early")
        self._failures = count("casevault_part_failures", description="Calls of parts that failed")
        self._jobs = count("casevault_beats", description="Rounds of the clock's work")

    def watch_state(self, figures: Figures) -> None:
        def look(name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
            def observe(_options: CallbackOptions) -> Iterator[Observation]:
                found = figures().get(name)
                if found is not None:
                    yield Observation(found)

            return observe

        for name, description in STATE.items():
            self._meter.create_observable_gauge(name, [look(name)], description=description)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def request(self, traceparent: str | None) -> Watched:
        if self._tracer is None:
            return _Request(self, None, trace_of(traceparent))
        parent = _PROPAGATOR.extract({"traceparent": traceparent or ""}, context.Context())
        span = self._tracer.start_span("request", parent, SpanKind.SERVER)
        return _Request(self, span, f"{span.get_span_context().trace_id:032x}")

    def note_request(self, method: str, route: str | None, status: int, seconds: float) -> dict[str, Any]:
        """Count a request; return its labels."""
        labels = {"method": method if method in METHODS else "other", "route": route or "none"}
        self._requests.record(seconds, {**labels, "status": str(status)})
        return labels

    @contextmanager
    def call(self, part: str, operation: str) -> Iterator[None]:
        begun = time.perf_counter()
        with self._child(f"{part}.{operation}") as span:
            try:
                yield
            except Exception as error:
                if not isinstance(error, _ANSWERS) or isinstance(error, Unavailable):
                    name = code(type(error).__name__)
                    _mark(span, name)
                    self._failures.add(1, {"part": part, "operation": operation, "error": name})
                raise
            finally:
                self._calls.record(time.perf_counter() - begun, {"part": part, "operation": operation})

    def _child(self, name: str) -> AbstractContextManager[Span]:
        if self._tracer is None or not trace.get_current_span().is_recording():
            return trace.use_span(trace.INVALID_SPAN)
        return self._tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        )

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                _mark(span, code(type(error).__name__))
                raise

    def committed(self, rows: Sequence[EntryRow]) -> None:
        for row in rows:
            action, outcome = row[_ACTION], row[_OUTCOME]
            self._entries.add(1, {"action": code(action), "outcome": code(outcome)})
            if outcome == Outcome.REFUSED:
                labels = {"action": code(action), "reason": code(row[_REASON])}
                self._refusals.add(_detail(row, "count") or 1, labels)
            elif action == Action.UPLOAD_CONTINUED:
                self._received.add(_detail(row, "to") - _detail(row, "from"))
            elif action == Action.BUNDLE_READ_ENDED:
                self._delivered.add(_detail(row, "bytes"))

    def cut(self, how: str) -> None:
        self._cuts.add(1, {"how": how})

    def job(self, name: str, *, well: bool) -> None:
        self._jobs.add(1, {"beat": name, "outcome": "well" if well else "failed"})

    def close(self) -> None:
        for provider in (self._tracers, self._meters):
            if provider is not None:
                provider.shutdown()


class _Request:
    def __init__(self, telemetry: Telemetry, span: Span | None, trace_id: str | None) -> None:
        self._telemetry, self._span, self.trace_id = telemetry, span, trace_id

    def within(self) -> AbstractContextManager[object]:
        return trace.use_span(
            self._span or trace.INVALID_SPAN, record_exception=False, set_status_on_exception=False
        )

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        labels = self._telemetry.note_request(method, route, status, seconds)
        if self._span is not None:
            self._span.update_name(f"{labels['method']} {labels['route']}")
            self._span.set_attributes(
                {
                    "http.request.method": labels["method"],
                    "http.route": labels["route"],
                    "http.response.status_code": status,
                }
            )
            if status >= 500:
                self._span.set_status(Status(StatusCode.ERROR))
            self._span.end()


STATE: Mapping[str, str] = {
    "casevault_bundles_due": "Bundles whose deadline has come and whose erasure has not begun",
    "casevault_bundles_overdue": "Bundles that are still there an hour after their deadline",
    "casevault_erasures_pending": "Bundles whose erasure has begun and is not proven",
    "casevault_erasures_failing": "Bundles whose erasure failed and is tried again",
    "casevault_erasure_oldest_pending_seconds": "Age of the oldest erasure that is not proven",
    "casevault_uploads_open": "Uploads begun and not finished",
    "casevault_read_back_waiting": "Received bundles that are not read back yet",
    "casevault_bundles_damaged": "Bundles of which something else is stored than was sealed",
    "casevault_scrub_oldest_seconds": "How long ago the bundle was read back that waits longest for it",
    "casevault_notices_waiting": "Notices that wait to be sent",
    "casevault_notices_oldest_waiting_seconds": "Age of the oldest notice that waits to be sent",
    "casevault_notices_given_up": "Notices of the last 30 days that were given up",
    "casevault_log_oldest_unsequenced_seconds": "Age of the oldest entry that is not in the tree",
    "casevault_log_entries": "Entries in the tree",
    "casevault_time_apart_seconds": "How far the clock that destruction could go by is from what is sure",
    "casevault_clock_skew_seconds": "How far this process's clock is from the database server's",
    "casevault_uploads_room_bytes": "Bytes that uploads can still take before they end",
    "casevault_witness_lag_seconds": "How long the oldest checkpoint waits for the witness",
}
"""The gauges of `retention.custody.work_state`, which the clock process exports, or `watch` in its place; every process
its own clock's skew."""


def _detail(row: EntryRow, name: str) -> int:
    """Read a number from the details of the entry's leaf; 0 if there is none."""
    found = parse_leaf(row[_LEAF]).get("details", {}).get(name)  # type: ignore[arg-type]
    return found if isinstance(found, int) else 0


def _mark(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))


def _resource(process: str) -> Resource:
    found = Resource.create({"casevault.process": process})
    if not str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found  # OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES set it
    return found.merge(Resource({SERVICE_NAME: "casevault"}))


def _readers(
    settings: TelemetrySettings, registry: CollectorRegistry, *, scraped: bool
) -> Iterator[MetricReader]:
    if scraped:
        yield PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    if settings.metrics:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        yield PeriodicExportingMetricReader(OTLPMetricExporter())


def _processors(settings: TelemetrySettings) -> Iterator[SpanProcessor]:
    if settings.traces:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        yield BatchSpanProcessor(OTLPSpanExporter())
