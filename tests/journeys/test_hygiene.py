"""Bad lines, saved bundles carried to another machine, misfiled bundles, and data that should not have come."""

from __future__ import annotations

import dataclasses
import random
import signal
from pathlib import Path

import pytest

from tests.journeys.served import CASE_SYSTEM, Line, Sent, Served
from tests.shaped import ShapedLine

RACK, OLGA, ALICE = "stamp:rack-1@contoso", "operator:olga@contoso", "engineer:alice"
REASON = ("--reason", "the logs are of the other incident")
pytestmark = pytest.mark.usefixtures("stamp")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    file = tmp_path / "logs.bin"
    file.write_bytes(random.Random(11).randbytes(1_500_000))
    return file


def state_of(served: Served, bundle: str) -> str:
    listed = served.do("collections", "--limit", "0", who=OLGA)
    return str(next(one["state"] for one in listed if one["id"] == bundle))


def test_a_slow_far_line_that_is_reset_all_the_time_delivers(served: Served, case: str, logs: Path) -> None:
    line = ShapedLine(served.server, rate=250_000, round_trip=0.1, resets=0.4, seed=3)
    ran = served.cli("send", logs, "--case", case, "--json", who=RACK, server=line.server)
    line.close()
    assert ran.code == 0, ran.err
    assert "holds" in ran.json["checked"]
    assert line.resets >= 2


def test_a_rate_can_be_kept_over_any_line(served: Served, case: str, logs: Path) -> None:
    words = ("send", logs, "--case", case, "--limit-rate", "3M", "--json")
    assert served.cli(*words, who=RACK).code == 0
    assert served.cli("send", logs, "--case", case, "--limit-rate", "fast", who=RACK).code == 2


def test_a_saved_bundle_is_sent_later_from_another_machine(
    served: Served, case: str, stamp: str, logs: Path, tmp_path: Path
) -> None:
    saved = served.do("save", logs, "-o", tmp_path / "usb.zip", "--case", case, "--collected", "-1h")
    sent = served.do("send", saved["bundle"], "--stamp", stamp, who=OLGA)
    assert (sent["sha256"], sent["size"]) == (saved["sha256"], 1_500_000)
    (shown,) = served.do("collections", "--case", case, who=OLGA)
    assert (shown["file_name"], shown["time_collected"]) == (
        "logs.bin",
        saved["collection"]["time_collected"],
    )
    again = served.cli("send", saved["manifest"], "--stamp", stamp, "--json", who=OLGA)
    assert again.code == 0 and again.json["bundle"] == sent["bundle"]
    assert "the service has all of it already" in again.err
    assert len(served.do("collections", "--case", case, who=OLGA)) == 1


def test_what_one_machine_began_of_a_saved_bundle_another_one_ends(
    served: Served, case: str, stamp: str, logs: Path, tmp_path: Path
) -> None:
    saved = served.do("save", logs, "-o", tmp_path / "usb.zip", "--case", case)
    line = Line(served.server, [None, 900_000], sending=True, silent=True)
    crashed = served.process("send", saved["bundle"], "--as", RACK, "--server", line.server)
    assert line.broke.wait(60)
    crashed.send_signal(signal.SIGKILL)
    crashed.wait()
    crashed.communicate()
    line.close()
    elsewhere = dataclasses.replace(served, home=tmp_path / "another machine")
    ran = elsewhere.cli("send", saved["bundle"], "--json", who=RACK)
    assert ran.code == 0, ran.err
    assert "resuming bun_" in ran.err and "of 1.4 MiB already" in ran.err
    assert [one["state"] for one in served.do("collections", "--case", case, who=OLGA)] == ["complete"]


def test_the_service_is_asked_before_a_byte_moves(served: Served, logs: Path) -> None:
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "contoso", who=CASE_SYSTEM)
    served.do("cases", "close", number, who=CASE_SYSTEM)
    assert (
        served.cli("send", logs, "--case", number, "--json", who=RACK).code == 0
    )  # closed: it shares the deadline
    ran = served.cli("send", logs, "--case", "999999999999999", who=RACK)
    assert ran.code == 3 and "there is no case" in ran.error


def test_an_engineer_moves_a_misfiled_bundle(served: Served, sent: Sent, case: str) -> None:
    right = served.case_number()
    served.do("cases", "open", right, "--directory", "contoso", who=CASE_SYSTEM)
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    refused = served.cli("move", sent.bundle, "--case", right, *REASON, who=ALICE)
    assert refused.code == 3
    served.cli("cases", "assign", right, "alice", who=CASE_SYSTEM)
    assert served.do("move", sent.bundle, "--case", right, *REASON, who=ALICE)["case"] == right


def test_sensitive_data_is_reported_and_its_erasure_proven(
    served: Served, sent: Sent, case: str, keys: Path, tmp_path: Path
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    words = ("report", "--bundle", sent.bundle, "--reason", "holds a file of passwords")
    asked = served.cli(*words, who=ALICE)
    assert asked.code == 1 and "add --yes" in asked.error
    kept = tmp_path / "erased.json"
    erasure = served.do(*words, "--yes", "--receipt", kept, "--keys", keys, who=ALICE)
    assert (erasure["cause"], erasure["state"]) == ("sensitive-data", "proven")
    assert served.cli("receipts", "verify", kept, "--keys", keys).code == 0
    assert state_of(served, sent.bundle) == "erased"
    whole = served.do("report", "--case", case, "--reason", "holds a file of passwords", "--yes", who=ALICE)
    assert whole["scope"] == "case"
