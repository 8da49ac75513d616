"""What the host reads before any code runs: host.json, schedules, requirements, the deployed files, the entry."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from croniter import croniter
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from functions.config import DEFAULTS
from tests.functions.deployment import ROOT, is_ignored

DEPLOYED = {"audit", "functions", "retention", "function_app.py", "host.json", "requirements.txt"}


def _span(text: object) -> timedelta:
    """A time span in the host's notation, hh:mm:ss."""
    found = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)", text) if isinstance(text, str) else None
    if found is None:
        return timedelta.max
    hours, minutes, seconds = map(int, found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _one_of(*allowed: object) -> Callable[[object], bool]:
    return lambda value: value in allowed


LEVEL = _one_of("Trace", "Debug", "Information", "Warning", "Error", "Critical", "None")
TELEMETRY = {"Dependency", "Event", "Exception", "PageView", "Request", "Trace"}
# Every key that our host.json may have, and what its value must be; after the host's reference and our own reasons.
HOST_KEYS: dict[str, Callable[[Any], bool]] = {
    "version": _one_of("2.0"),
    "telemetryMode": _one_of("OpenTelemetry", "ApplicationInsights"),
    # Ten minutes is the most that a Consumption plan allows.
    "functionTimeout": lambda v: timedelta(minutes=1) <= _span(v) <= timedelta(minutes=10),
    "extensionBundle.id": _one_of("Microsoft.Azure.Functions.ExtensionBundle"),
    "extensionBundle.version": _one_of("[4.0.0, 5.0.0)"),
    "extensions.queues.batchSize": _whole(1, 32),
    "extensions.queues.newBatchThreshold": _whole(0, 1000),
    "extensions.queues.maxDequeueCount": _one_of(5),
    # The delay before a failed message comes again: at 0 a short outage would burn all deliveries.
    "extensions.queues.visibilityTimeout": lambda v: (
        timedelta(seconds=30) <= _span(v) <= timedelta(seconds=60)
    ),
    "extensions.queues.maxPollingInterval": lambda v: (
        timedelta(seconds=1) <= _span(v) <= timedelta(minutes=1)
    ),
    "extensions.queues.messageEncoding": _one_of("none"),
    "logging.fileLoggingMode": _one_of("debugOnly", "never"),
    "logging.logLevel.default": LEVEL,
    # At Information the storage client logs requests; bodies must not come near a log.
    "logging.logLevel.Azure.Core": _one_of("Warning", "Error", "Critical", "None"),
    "logging.applicationInsights.samplingSettings.isEnabled": lambda v: type(v) is bool,
    "logging.applicationInsights.samplingSettings.excludedTypes": lambda v: set(v.split(";")) <= TELEMETRY,
}


def _leaves(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for key, inner in value.items():
        found |= _leaves(inner, f"{path}.{key}" if path else key)
    return found


def _wrong(host: dict[str, Any]) -> list[str]:
    """The keys of `host` that are unknown, missing or have a value that will not do."""
    leaves = _leaves(host)
    bad = [key for key, value in leaves.items() if key not in HOST_KEYS or not HOST_KEYS[key](value)]
    return sorted([*bad, *(HOST_KEYS.keys() - leaves.keys())])


def _host() -> dict[str, Any]:
    return json.loads((ROOT / "host.json").read_text())


def test_host_json_has_the_known_keys_with_values_that_will_do() -> None:
    assert _wrong(_host()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("extensions.queues.visibilityTimeout", "00:00:00"),
        ("extensions.queues.visibilityTimeOut", "00:00:45"),
        ("extensions.queues.maxDequeueCount", "5"),
        ("extensions.queues.messageEncoding", "base64"),
        ("extensionBundle.version", "[3.*, 4.0.0)"),
        ("functionTimeout", "600"),
        ("functionTimeout", "01:00:00"),
        ("retry.strategy", "fixedDelay"),
    ],
)
def test_the_table_of_host_json_catches_a_mistake(path: str, value: object) -> None:
    host = _host()
    *folders, key = path.split(".")
    place = host
    for folder in folders:
        place = place.setdefault(folder, {})
    place[key] = value
    assert path in _wrong(host)


def test_an_erasure_message_outlives_a_short_outage() -> None:
    queues = _host()["extensions"]["queues"]
    endured = _span(queues["visibilityTimeout"]) * (queues["maxDequeueCount"] - 1)
    assert endured >= timedelta(minutes=2)


def _longest_wait(schedule: str, span: timedelta) -> timedelta:
    start = datetime(2026, 11, 20, tzinfo=UTC)
    ticks, longest, last = croniter(schedule, start, second_at_beginning=True), timedelta(0), start
    while last < start + span:
        tick = ticks.get_next(datetime)
        longest, last = max(longest, tick - last), tick
    return longest


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("CASEVAULT_SWEEP_SCHEDULE", timedelta(hours=1)),
        ("CASEVAULT_READ_BACK_SCHEDULE", timedelta(minutes=1)),
        ("CASEVAULT_SEQUENCE_SCHEDULE", timedelta(seconds=15)),
        ("CASEVAULT_WITNESS_SCHEDULE", timedelta(minutes=1)),
        ("CASEVAULT_COSIGN_SCHEDULE", timedelta(minutes=2)),
        ("CASEVAULT_NOTICES_SCHEDULE", timedelta(minutes=1)),
    ],
)
def test_every_timer_ticks_often_enough_for_its_promise(name: str, most: timedelta) -> None:
    assert len(DEFAULTS[name].split()) == 6
    assert _longest_wait(DEFAULTS[name], timedelta(hours=2)) <= most


def test_a_daily_sweep_would_be_caught() -> None:
    assert _longest_wait("0 0 3 * * *", timedelta(days=2)) > timedelta(hours=1)


def _direct() -> list[str]:
    """What requirements.txt is made from: the pins of what the deployed code imports itself."""
    return (ROOT / "docs/deploy/functions.in").read_text().splitlines()


def _locked(text: str) -> dict[str, str]:
    """Names and versions of a lock, as an installer writes them."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", text, flags=re.M))


REQUIREMENTS = (ROOT / "requirements.txt").read_text()


def test_every_requirement_is_the_pin_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _direct()
    assert set(_direct()) <= set(project["dependencies"])


def test_what_is_installed_in_azure_is_locked_by_hash_with_all_that_it_pulls_in() -> None:
    """After a change of pins: run again what stands at the top of the file."""
    entries = re.split(r"^(?=[\w.-]+(?:\[[\w,]+\])?==)", REQUIREMENTS, flags=re.M)[1:]
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    locked, pulled = _locked(REQUIREMENTS), [Requirement(line) for line in _direct()]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pulled:
        wanted = pulled.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        assert name in locked, f"{wanted} is not locked"
        assert wanted.specifier.contains(locked[name], prereleases=True), wanted
        for line in metadata.requires(name) or []:
            more = Requirement(line)
            if more.marker is None or any(
                more.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)
            ):
                pulled.append(more)
    assert {name for name, _ in seen} == set(locked), "nothing is locked that nothing needs"


def test_both_doors_run_the_same_versions() -> None:
    api = _locked((ROOT / "docs/deploy/requirements.lock").read_text())
    clock = _locked(REQUIREMENTS)
    assert {name: api.get(name) for name in clock} == clock


IN_PYTHON_FROM = {"backports.zstd": (3, 14)}
"""What the standard library has from some Python on, and is installed for older ones only."""


def test_each_python_that_the_project_names_gets_each_package_in_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pythons = [name.rpartition(" ")[2] for name in project["classifiers"]]
    assert {"3.11", "3.13", "3.14"} <= set(pythons)
    told = [Requirement(line) for line in project["dependencies"]]
    for python in pythons:
        here = {"python_version": python}
        wanted = [one.name for one in told if one.marker is None or one.marker.evaluate(here)]
        version = tuple(map(int, python.split(".")))
        needed = {one.name for one in told if version < IN_PYTHON_FROM.get(one.name, (4,))}
        assert sorted(wanted) == sorted(needed)


def _imported() -> set[str]:
    """The distributions that the deployed code imports, the standard library and our own packages left out."""
    files = [ROOT / "function_app.py"]
    for package in ("audit", "functions", "retention"):
        files += (ROOT / package).rglob("*.py")
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    ours = {"audit", "functions", "retention", "_typeshed"}  # the last exists for type checkers only
    ours.add("compression")  # the standard library's from Python 3.14 on
    outside = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names | ours}
    return {_distribution(name) for name in outside}


# Those that are not named after their module; the longest prefix first.
DISTRIBUTIONS = {
    "backports.zstd": "backports.zstd",
    "backports": "backports.zstd",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.exporter.prometheus": "opentelemetry-exporter-prometheus",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry": "opentelemetry-api",
    "prometheus_client": "prometheus-client",
    "re2": "google-re2",
}


def _distribution(module: str) -> str:
    """Azure's namespace packages are named after the first two parts; where a second one is a namespace, three."""
    for prefix, name in DISTRIBUTIONS.items():
        if module.startswith(prefix):
            return name
    parts = module.split(".")
    depth = 1 if parts[0] != "azure" else 3 if parts[1] in ("keyvault", "storage") else 2
    return "-".join(parts[:depth])


def test_the_requirements_are_what_the_deployed_code_imports() -> None:
    assert {line.partition("==")[0].partition("[")[0] for line in _direct()} == _imported()


def test_what_is_deployed_is_what_is_needed_and_nothing_else() -> None:
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path.name)} == DEPLOYED


@pytest.mark.parametrize(
    "name", ["casevault-state", "local.settings.json", ".git", ".env", "tests", "intake_api"]
)
def test_state_secrets_and_the_other_door_are_not_deployed(name: str) -> None:
    assert is_ignored(name)


def test_function_app_only_imports_the_app_under_one_name() -> None:
    tree = ast.parse((ROOT / "function_app.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert [(node.module, [(a.name, a.asname) for a in node.names]) for node in imports] == [
        ("functions.app", [("app", None)])
    ]
    rest = [node for node in tree.body if node not in imports]
    assert [type(node) for node in rest] == [ast.Expr, ast.Assign]
    assert ast.unparse(rest[1]) == "__all__ = ['app']"


def test_only_the_settings_module_reads_the_environment() -> None:
    readers = {
        f.name for f in Path(ROOT / "functions").glob("*.py") if re.search(r"environ\b|getenv", f.read_text())
    }
    assert readers == {"config.py"}


def test_the_docs_name_every_setting_with_its_default() -> None:
    rows = (ROOT / "docs" / "functions.md").read_text().splitlines()
    for name, default in DEFAULTS.items():
        (row,) = (row for row in rows if row.startswith(f"| `{name}` |"))
        assert row.endswith(f"| `{default}` |")
