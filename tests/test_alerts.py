"""The alerts: each is explained, and asks only for what a running service exports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from audit.entry import Action
from retention.config_telemetry import TelemetrySettings
from retention.custody.backlog import MOST
from retention.telemetry.opentelemetry import STATE, Telemetry

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "operations.md").read_text()
GROUPS = yaml.safe_load((DOCS / "deploy/alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
LABELS = {
    "method",
    "route",
    "status",
    "action",
    "outcome",
    "reason",
    "how",
    "part",
    "operation",
    "error",
    "beat",
}
_NAME = re.compile(r"\bcasevault_[a-z_]+\b")
_MATCHER = re.compile(r"\{([^}]*)\}")


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Names of the samples of a service in which everything has happened once."""
    telemetry = Telemetry("test", TelemetrySettings(), scraped=True, readers=[InMemoryMetricReader()])
    telemetry.watch_state(lambda: dict.fromkeys(STATE, 1.0))
    for instrument in vars(telemetry).values():
        for method in ("add", "record"):
            if hasattr(instrument, method):
                getattr(instrument, method)(1)
    page = telemetry.exposition().decode()
    return {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported(rule: dict[str, Any], exported: set[str]) -> None:
    names = set(_NAME.findall(rule["expr"]))
    assert names
    assert names <= exported
    for matcher in _MATCHER.findall(rule["expr"]):
        for label, value in re.findall(r"(\w+)[!=~]+\"([^\"]*)\"", matcher):
            assert label in LABELS
            assert label != "action" or set(value.split("|")) <= set(Action)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_explained_on_the_page(rule: dict[str, Any]) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{rule['alert']}` |"))
    assert row.count("|") == 5 and all(cell.strip() for cell in row.split("|")[1:-1])
    assert {"severity"} == rule["labels"].keys() and rule["annotations"]["summary"]


def test_the_page_explains_no_alert_that_there_is_not() -> None:
    assert set(re.findall(r"^\| `(Casevault\w+)` \|", PAGE, flags=re.M)) == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        ("casevault_bundles_overdue", 0),
        ("casevault_log_oldest_unsequenced_seconds", 60),
        ("casevault_witness_lag_seconds", 300),
    ],
)
def test_the_promises_have_their_alerts(metric: str, limit: int) -> None:
    assert f"max({metric}) > {limit}" in {rule["expr"] for rule in RULES}


def test_the_page_has_every_metric(exported: set[str]) -> None:
    named = set(_NAME.findall(PAGE))
    told = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    assert told <= named
    assert f"{MOST:,}" in PAGE


def test_a_name_that_is_not_exported_would_be_caught(exported: set[str]) -> None:
    assert not {"casevault_bundles_late", "casevault_entries"} & exported
