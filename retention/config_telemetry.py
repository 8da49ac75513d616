"""The settings of telemetry by OTLP: OpenTelemetry's standard variables.

| variable | meaning | default |
|---|---|---|
| OTEL_EXPORTER_OTLP_ENDPOINT | collector that traces and metrics are sent to (OTLP over HTTP) | none: nothing is sent |
| OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT | the same for one of the two | the above |
| OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER | otlp or none | otlp |
| OTEL_SDK_DISABLED | true: nothing is sent | false |

These say whether telemetry is sent; the other OTEL_* variables, which the OpenTelemetry SDK reads itself, say how
(headers, intervals, sampling, resource attributes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """The signals to send."""

    traces: bool = False
    metrics: bool = False


def telemetry_from_environment(environ: Mapping[str, str]) -> TelemetrySettings:
    """Read the settings from `environ`; ValueError names the wrong variable."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return TelemetrySettings()
    return TelemetrySettings(traces=_sends(environ, "TRACES"), metrics=_sends(environ, "METRICS"))


def _sends(environ: Mapping[str, str], signal: str) -> bool:
    name = f"OTEL_{signal}_EXPORTER"
    exporter = environ.get(name) or "otlp"
    if exporter not in ("otlp", "none"):
        raise ValueError(f"{name} must be otlp or none, not {exporter!r}: nothing else is built in")
    if exporter == "none":
        return False
    return bool(
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )
