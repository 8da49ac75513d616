"""`casevault demo`, run as a new user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.journeys.served import ROOT


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")}
    return subprocess.run(
        [sys.executable, "-m", "intake_api.cli", "demo", *words],
        cwd=ROOT,
        env={**clean, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_the_whole_life_is_told_and_every_check_holds(record_property: object) -> None:
    began = time.monotonic()
    ran = run_demo()
    record_property("seconds", round(time.monotonic() - began, 1))  # type: ignore[operator]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = ran.stdout
    for promise in (
        "less than one part",
        "not-assigned",
        "the auditor rebuilt the whole log",
        "day 90 minus one second",
        "nobody had to ask",
        "verified offline",
        "410",
        "the marker is nowhere in the state folder",
        "nothing is overdue",
        "reads had a grant and an assignment",
        "checks hold",
    ):
        assert promise in told
    assert "✗" not in told
    assert max(map(len, told.splitlines())) <= 120


def test_a_kept_service_answers_until_it_is_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ran = run_demo("--keep", "--json", "--state", str(state), "--bytes", str(4 << 20))
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    kept = told["kept"]
    try:
        answer = requests.get(f"{kept['server']}/readyz", verify=str(state / "tls" / "ca.pem"), timeout=30)
        assert answer.ok
    finally:
        os.kill(kept["process"], signal.SIGTERM)
    assert all(step["checked"] for step in told["steps"])


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    ran = run_demo("--state", str(tmp_path))
    assert ran.returncode == 1
    assert ran.stderr.strip() == f"casevault: {tmp_path} is not empty: the demo needs a new or empty folder"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")}
    demo = subprocess.Popen(
        [sys.executable, "-m", "intake_api.cli", "demo"],
        cwd=ROOT,
        env={**clean, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert demo.stdout is not None
    address = next(line for line in demo.stdout if "https://127.0.0.1:" in line).split(",")[0].strip()
    demo.send_signal(number)
    _, said = demo.communicate(timeout=120)
    assert demo.returncode == 130 and said.strip().startswith("casevault: stopped")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(address, timeout=5)
