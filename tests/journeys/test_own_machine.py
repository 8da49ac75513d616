"""On the service's own machine: sweep, rotate, doctor; and the service's start and stop."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tests.journeys.served import CASE_SYSTEM, Sent, Served


def test_the_key_is_rotated_beside_the_running_service_and_reads_go_on(
    served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("grant", case, "--reason", "before and after a rotation", who="engineer:alice")
    words = ("fetch", sent.bundle, "Storage/node-1.log", "-o", "-")
    before = served.cli(*words, who="engineer:alice")
    rotated = served.do("keys", "rotate", "--state", served.state)
    assert rotated["rewrapped"] >= 1
    after = served.cli(*words, who="engineer:alice")
    assert (after.code, after.raw) == (0, before.raw)
    entries = served.do("audit", "entries", "--action", "key.rotated", who="auditor:ada")
    assert {entry["actor_kind"] for entry in entries} == {"administrator"}
    steps = [entry["details"]["step"] for entry in entries]
    assert steps == ["rewrapped", "switched", "switching"], "newest first"
    assert served.do("keys", "rotate", "--state", served.state)["key"] != rotated["key"]


def test_a_sweep_beside_the_running_service_changes_nothing_but_time(served: Served, sent: Sent) -> None:
    report = served.do("sweep", "--state", served.state)
    assert report["failed"] == report["erased"] == report["begun"] == 0


def test_the_doctor_finds_all_well_and_then_says_what_is_not(served: Served) -> None:
    words = ("doctor", "--state", served.state, "--development")
    well = served.cli(*words, who="auditor:ada")
    assert well.code == 0, well.out
    assert (
        "BAD" not in well.out
        and "is ready, over trusted TLS" in well.out
        and "accepts your token" in well.out
    )
    key = served.state / "key-encryption-key.json"
    mode = key.stat().st_mode
    os.chmod(key, 0o644)  # noqa: PTH101
    try:
        ill = served.cli(*words, "--json")
    finally:
        key.chmod(mode)
    assert ill.code == 1
    (bad,) = [check for check in ill.json if not check["good"] and check["check"] != "service"]
    assert bad["check"] == "key" and "chmod 600" in bad["what"]


def test_a_folder_without_a_service_is_not_taken_for_one(served: Served, tmp_path: Path) -> None:
    for words in (("sweep",), ("keys", "rotate")):
        ran = served.cli(*words, "--state", tmp_path)
        assert ran.code == 1 and "casevault init" in ran.error
    assert list(tmp_path.iterdir()) == []


def test_a_second_service_on_the_same_folder_is_refused(served: Served) -> None:
    words = ("serve", "--development", "--state", served.state, "--listen", "127.0.0.1:1")
    ran = dataclasses.replace(served, settings={"CASEVAULT_STOP_SECONDS": "1"}).cli(*words)
    assert ran.code == 1 and "another casevault serves" in ran.error


def test_without_an_issuer_nothing_is_served(served: Served, tmp_path: Path) -> None:
    ran = served.cli("serve", "--state", tmp_path / "fresh")
    assert ran.code == 1 and "CASEVAULT_ISSUER" in ran.error
    assert not (tmp_path / "fresh").exists()


def test_a_file_without_a_certificate_is_not_taken_for_a_broken_line(served: Served, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    ran = served.cli("cases", "list", "--ca", tmp_path / "ca.pem", who=CASE_SYSTEM)
    assert ran.code == 1 and "holds no certificate" in ran.error
