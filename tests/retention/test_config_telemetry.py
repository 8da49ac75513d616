"""Telemetry is sent when the standard variables name a collector, and not otherwise."""

from __future__ import annotations

import pytest

from retention.config import SettingError, from_environment
from retention.config_telemetry import TelemetrySettings, telemetry_from_environment

AT = "http://collector.example:4318"
BOTH, NEITHER = TelemetrySettings(traces=True, metrics=True), TelemetrySettings()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, NEITHER),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, NEITHER),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": AT}, BOTH),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": AT}, TelemetrySettings(traces=True)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": AT}, TelemetrySettings(metrics=True)),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_TRACES_EXPORTER": "none"},
            TelemetrySettings(metrics=True),
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_METRICS_EXPORTER": "none"},
            TelemetrySettings(traces=True),
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": AT, "OTEL_SDK_DISABLED": "TRUE"}, NEITHER),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], expected: TelemetrySettings) -> None:
    assert telemetry_from_environment(environ) == expected
    assert from_environment(environ).telemetry == expected


def test_an_exporter_that_is_not_built_in_stops_the_start_with_its_name() -> None:
    with pytest.raises(SettingError, match="OTEL_TRACES_EXPORTER must be otlp or none, not 'zipkin'"):
        from_environment({"OTEL_TRACES_EXPORTER": "zipkin"})
