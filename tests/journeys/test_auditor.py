"""The auditor, who believes nobody: the log rebuilt from outside, exports, and what is overdue (P3, P4)."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from tests.journeys.served import AUDITOR, CASE_SYSTEM, Sent, Served

OLGA = "operator:olga@contoso"


@pytest.fixture
def settled(served: Served, sent: Sent) -> Sent:
    """A bundle whose entries all stand in the tree."""
    for _ in range(100):
        entries = served.do("audit", "entries", "--bundle", sent.bundle, who=OLGA)
        if all(entry["leaf_index"] is not None for entry in entries):
            return sent
        time.sleep(0.1)
    raise AssertionError("the sequencer does not come")


def test_the_whole_log_is_rebuilt_over_https_and_held_to_the_last_visit(
    served: Served, settled: Sent, keys: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "last.txt"
    words = ("audit", "verify", "--keys", keys, "--checkpoint", kept)
    first = served.do(*words, who=AUDITOR)
    assert first["good"] and first["leaves"] > 0
    before = kept.read_text()
    served.do("audit", "entries", who=AUDITOR)  # the log grows by the question itself
    served.until_sequenced()
    second = served.do(*words, who=AUDITOR)
    assert second["good"] and second["leaves"] > first["leaves"] and second["checkpoints"] == 2
    assert kept.read_text() != before


def test_anybody_rebuilds_the_tree_from_hashes_without_a_token(
    served: Served, settled: Sent, keys: Path
) -> None:
    assert served.do("audit", "verify", "--hashes", "--keys", keys)["good"]
    refused = served.cli("audit", "verify", "--keys", keys, who=OLGA)
    assert refused.code == 3  # the leaves are for auditors


def test_another_key_does_not_verify_the_log(
    served: Served, settled: Sent, keys: Path, tmp_path: Path
) -> None:
    pinned = json.loads(keys.read_text())
    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps({"log": pinned["receipts"], "receipts": pinned["log"]}))
    ran = served.cli("audit", "verify", "--keys", foreign, who=AUDITOR)
    assert ran.code == 1 and "does not verify" in ran.error


def test_a_log_that_forgot_the_last_visit_is_found_out(
    served: Served, settled: Sent, keys: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "last.txt"
    assert served.cli("audit", "verify", "--keys", keys, "--checkpoint", kept, who=AUDITOR).code == 0
    origin, size, root, rest = kept.read_text().split("\n", 3)
    kept.write_text("\n".join([origin, str(int(size) + 1), root, rest]))
    ran = served.cli("audit", "verify", "--keys", keys, "--checkpoint", kept, who=AUDITOR)
    assert ran.code == 1 and "does not verify" in ran.error


def test_a_leaf_that_was_changed_in_the_database_is_named(
    served: Served, settled: Sent, keys: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(served.state / "log", copy / "log")
    with sqlite3.connect(served.state / "records.db") as live, sqlite3.connect(copy / "records.db") as mine:
        live.backup(mine)
    assert served.cli("audit", "verify", "--state", copy, "--keys", keys).code == 0
    with sqlite3.connect(copy / "records.db") as mine:
        mine.execute("PRAGMA journal_mode=DELETE")
        (leaf,) = mine.execute("SELECT leaf FROM audit_entries WHERE leaf_index = 2").fetchone()
        changed = leaf.replace(b'"success"', b'"refused"')
        assert changed != leaf
        mine.execute(
            "UPDATE audit_entries SET leaf = ?, outcome = 'refused' WHERE leaf_index = 2", (changed,)
        )
    ran = served.cli("audit", "verify", "--state", copy, "--keys", keys)
    assert ran.code == 1 and "leaf 2" in ran.error


def test_the_exports_are_what_they_say(served: Served, settled: Sent, tmp_path: Path) -> None:
    target = tmp_path / "log.jsonl"
    assert served.cli("audit", "export", "-o", target, who=AUDITOR).code == 0
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["entry"]["action"] for line in lines[:2]] == ["rules.set", "tenant.registered"]
    table = served.cli("audit", "export", "--format", "csv", who=AUDITOR)
    rows = list(csv.DictReader(io.StringIO(table.raw.decode())))
    assert [row["id"] for row in rows[: len(lines)]] == [line["entry"]["id"] for line in lines]
    events = served.cli("audit", "export", "--format", "ocsf", "--outcome", "success", who=AUDITOR)
    assert all("class_uid" in json.loads(line) for line in events.out.splitlines())


def test_entries_are_found_by_what_they_are_about(served: Served, settled: Sent, case: str) -> None:
    bundle = settled.bundle
    found = served.do("audit", "entries", "--case", case, "--bundle", bundle, "--since", "-1h", who=AUDITOR)
    assert {entry["action"] for entry in found} >= {"upload.created", "bundle.received", "bundle.verified"}
    assert served.do("audit", "entries", "--bundle", bundle, "--until", "-1h", who=AUDITOR) == []
    assert served.cli("audit", "entries", who="engineer:alice").code == 3


def test_nothing_is_overdue_and_what_will_be_is_named(
    served: Served, settled: Sent, case: str, keys: Path
) -> None:
    silent = served.cli("audit", "overdue", "--keys", keys, who=AUDITOR)
    assert (silent.code, silent.out) == (0, "")
    served.do("cases", "close", case, who=CASE_SYSTEM)
    served.until_sequenced()
    late = served.cli("audit", "overdue", "--keys", keys, "--at", "+91d", who=AUDITOR)
    assert late.code == 1 and settled.bundle in late.out
    local = served.cli("audit", "overdue", "--state", served.state, "--at", "+91d")
    assert local.code == 1 and settled.bundle in local.out
    assert served.cli("audit", "overdue", "--keys", keys, "--at", "+89d", who=AUDITOR).code == 0


def test_every_read_is_accounted_for_and_a_grant_nobody_used_is_named(
    served: Served, settled: Sent, case: str, keys: Path
) -> None:
    engineer = "engineer:alice"
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    granted = served.do("grant", case, "--reason", "Look at the failed drive of node 4", who=engineer)
    assert served.cli("fetch", settled.bundle, "-o", "-", who=engineer).code == 0
    served.do("release", granted["id"], who=engineer)
    idle = served.do("grant", case, "--reason", "Look at the failed drive again", who=engineer)
    served.do("release", idle["id"], who=engineer)
    served.until_sequenced()
    told = served.cli("audit", "unaccounted", "--keys", keys, "--json", who=AUDITOR)
    assert told.code == 0, told.err
    found = {one["grant"]: one["what"] for one in json.loads(told.out)}
    assert found[idle["id"]] == "unused-grant" and granted["id"] not in found
    local = served.cli("audit", "unaccounted", "--state", served.state)
    assert local.code == 0 and idle["id"] in local.out and "unallowed" not in local.out


def test_an_administrator_redacts_and_the_log_still_verifies(
    served: Served, settled: Sent, case: str, keys: Path
) -> None:
    (created,) = served.do(
        "audit", "entries", "--bundle", settled.bundle, "--action", "upload.created", who=OLGA
    )
    words = ("audit", "redact", created["id"], "--reason", "The file name says who the patient is")
    unsure = served.cli(*words, who="administrator:root")
    assert unsure.code == 1 and "--yes" in unsure.error
    assert served.cli(*words, "--yes", who=AUDITOR).code == 3
    assert served.do(*words, "--yes", who="administrator:root")["entries"] == 1
    (after,) = served.do(
        "audit", "entries", "--bundle", settled.bundle, "--action", "upload.created", who=OLGA
    )
    assert after["particulars"] is None and after["redacted_at"] is not None
    wrong = served.cli(
        "audit", "redact", settled.bundle, "--reason", "Not what it takes", who="administrator:root"
    )
    assert wrong.code == 2 and "ent_" in wrong.error
    assert served.do("audit", "verify", "--keys", keys, who=AUDITOR)["good"]
    local = served.cli("audit", "verify", "--state", served.state, "--keys", keys)
    assert local.code == 0 and "redacted" in local.out


def test_a_checkpoint_that_is_not_there_is_said_to_compare_nothing(
    served: Served, settled: Sent, keys: Path, tmp_path: Path
) -> None:
    ran = served.cli(
        "audit", "verify", "--keys", keys, "--checkpoint", tmp_path / "mistyped.txt", who=AUDITOR
    )
    assert ran.code == 0 and "compared with no earlier checkpoint" in ran.err


def test_pinned_keys_are_not_replaced(served: Served, keys: Path) -> None:
    before = keys.read_bytes()
    ran = served.cli("audit", "keys", "-o", keys)
    assert ran.code == 1 and "another name" in ran.error
    assert keys.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "code", "said"),
    [("--bundle", "logs.zip", 2, "must be a bundle's id"), ("--actor", "alcie", 3, "no actor 'alcie'")],
)
def test_entries_by_a_slip_of_the_pen_are_not_said_to_be_none(
    served: Served, option: str, value: str, code: int, said: str
) -> None:
    ran = served.cli("audit", "entries", option, value, who=AUDITOR)
    assert ran.code == code and said in ran.error


def test_who_read_a_case_and_which_grants_nobody_used_are_a_command_each(
    served: Served, settled: Sent, case: str
) -> None:
    engineer = "engineer:alice"
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    used = served.do("grant", case, "--reason", "Look at the failed drive of node 4", who=engineer)
    assert served.cli("fetch", settled.bundle, "-o", "-", who=engineer).code == 0
    served.do("release", used["id"], who=engineer)
    idle = served.do("grant", case, "--reason", "Look at the failed drive again", who=engineer)
    served.do("release", idle["id"], who=engineer)
    table = served.cli("audit", "readers", case, "--since", "-7d", who=AUDITOR)
    assert table.code == 0 and "alice" in table.out and "Look at the failed drive of node 4" in table.out
    assert used["id"] not in table.out and "act_" not in table.out
    with_ids = served.cli("audit", "readers", case, "--ids", who=OLGA)
    assert used["id"] in with_ids.out and "act_" in with_ids.out
    assert served.do("audit", "readers", case, "--until", "-7d", who=AUDITOR) == []
    (unused,) = served.do("audit", "unused-grants", "--case", case, "--actor", "alice", who=AUDITOR)
    assert (unused["grant"], unused["reason"]) == (idle["id"], "Look at the failed drive again")
    opened = ("audit", "entries", "--case", case, "--actor", "alice", "--action", "bundle.opened")
    line = served.cli(*opened, who=AUDITOR).out
    assert settled.file.name in line and case in line and "Look at the failed drive of node 4" in line
    assert settled.bundle not in line and settled.bundle in served.cli(*opened, "--ids", who=AUDITOR).out


def test_an_export_is_for_its_owner_alone(served: Served, settled: Sent, tmp_path: Path) -> None:
    assert served.cli("audit", "export", "-o", tmp_path / "log.jsonl", who=AUDITOR).code == 0
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600
