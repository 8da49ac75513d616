"""The customer has data destroyed, and holds the proof (P5, P7, P8)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.journeys.served import CASE_SYSTEM, Sent, Served

OLGA = "operator:olga@contoso"


def test_a_bundle_is_erased_on_demand_and_the_receipt_proves_it_offline(
    served: Served, sent: Sent, keys: Path, tmp_path: Path
) -> None:
    bundle, receipt = sent.bundle, tmp_path / "erased.json"
    erasure = served.do("erase", "--bundle", bundle, "--yes", "--receipt", receipt, "--keys", keys, who=OLGA)
    assert erasure["state"] == "proven"
    held = served.cli("receipts", "verify", receipt, "--keys", keys)
    assert held.code == 0 and bundle in held.out and erasure["confirmation"] in held.out
    gone = served.cli("fetch", bundle, "-o", tmp_path / "x", who="auditor:ada")
    assert gone.code == 1 and not (tmp_path / "x").exists()
    again = served.do("erase", "--bundle", bundle, "--yes", who=OLGA)
    assert again["confirmation"] == erasure["confirmation"]
    shown = served.do("receipts", "show", erasure["confirmation"], "--keys", keys, who=OLGA)
    assert shown["receipt"] == json.loads(receipt.read_text())["receipt"]


def test_what_was_erased_is_not_taken_again_by_itself(
    served: Served, sent: Sent, case: str, tmp_path: Path
) -> None:
    erasure = served.do("erase", "--bundle", sent.bundle, "--yes", who=OLGA)
    words = ("--case", case, "--no-wait")
    again = served.cli("send", sent.file, *words, who="stamp:rack-1@contoso")
    assert again.code == 3 and "erased-lately" in again.error
    assert erasure["resend_until"] in again.error
    renamed = tmp_path / "meant.zip"
    renamed.write_bytes(sent.file.read_bytes())
    assert served.cli("send", renamed, *words, who="stamp:rack-1@contoso").code == 0


def test_a_case_is_erased_with_all_it_holds_and_stays_open(
    served: Served, sent: Sent, case: str, keys: Path
) -> None:
    served.do("erase", "--case", case, "--yes", "--wait", "--keys", keys, who=OLGA)
    states = {one["state"] for one in served.do("collections", "--case", case, who=OLGA)}
    assert states == {"erased"}
    assert served.do("cases", "show", case, who=OLGA)["state"] == "open"


def test_nobody_erases_without_being_asked_or_saying_yes(served: Served, sent: Sent) -> None:
    bundle = sent.bundle
    ran = served.cli("erase", "--bundle", bundle, who=OLGA)
    assert ran.code == 1 and "--yes" in ran.error
    (kept,) = [one for one in served.do("collections", "--limit", "0", who=OLGA) if one["id"] == bundle]
    assert kept["state"] == "complete"


def test_an_engineer_erases_for_the_customer_and_says_why(served: Served, sent: Sent, case: str) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    words = ("erase", "--case", case, "--yes")
    assert served.cli(*words, who="engineer:alice").code != 0
    ran = served.do(*words, "--reason", "asked for by phone, ticket 4711", who="engineer:alice")
    assert ran["cause"] == "engineer-for-customer"


@pytest.mark.parametrize("change", ["sha256", "note", "proof", "leaf"])
def test_a_receipt_that_was_touched_does_not_hold(
    served: Served, sent: Sent, keys: Path, tmp_path: Path, change: str
) -> None:
    receipt = tmp_path / "intake.json"
    bundle = sent.bundle
    assert served.cli("receipts", "show", bundle, "-o", receipt, "--keys", keys, who=OLGA).code == 0
    document = json.loads(receipt.read_text())
    assert served.cli("receipts", "verify", receipt, "--keys", keys, "--against", sent.file).code == 0
    if change == "sha256":
        document["receipt"]["sha256"] = "0" * 64
    else:
        middle = len(document[change]) // 2
        other = "A" if document[change][middle] != "A" else "B"
        document[change] = document[change][:middle] + other + document[change][middle + 1 :]
    receipt.write_text(json.dumps(document))
    ran = served.cli("receipts", "verify", receipt, "--keys", keys)
    assert ran.code == 1 and "is not genuine" in ran.error


def test_a_receipt_is_not_about_another_file(served: Served, sent: Sent, keys: Path, tmp_path: Path) -> None:
    receipt, other = tmp_path / "intake.json", tmp_path / "other.zip"
    served.cli("receipts", "show", sent.bundle, "-o", receipt, "--keys", keys, who=OLGA)
    other.write_bytes(sent.file.read_bytes()[:-1] + b"\1")
    ran = served.cli("receipts", "verify", receipt, "--keys", keys, "--against", other)
    assert ran.code == 1 and "not for" in ran.error


def test_who_answers_no_is_told_that_nothing_was_erased(
    served: Served, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Answers("n\n"))
    ran = served.cli("erase", "--bundle", sent.bundle, who=OLGA)
    assert ran.code == 1 and ran.err.endswith("casevault: nothing was erased\n")
    assert (
        served.do("audit", "entries", "--bundle", sent.bundle, "--action", "bundle.erasing", who=OLGA) == []
    )


class Answers(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True
