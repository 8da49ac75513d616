"""The operator: stamps, consent, saved bundles, and what others do with the customer's data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.served import CASE_SYSTEM, Sent, Served

OLGA, FABIAN = "operator:olga@contoso", "operator:fabian@fabrikam"
TRIGGER = "Microsoft.Health.FaultType.StorageError"


def test_a_saved_bundle_is_sent_in_the_name_of_a_stamp(
    served: Served, stamp: str, case: str, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.zip"
    saved.write_bytes(b"a bundle saved locally" * 1000)
    words = ("send", saved, "--case", case, "--stamp", stamp, "--collected", "-2h", "--logs-start", "-6h")
    answer = served.do(*words, "--receipt", tmp_path / "intake.json", who=OLGA)
    assert answer["size"] == saved.stat().st_size
    assert "holds" in answer["checked"]
    (shown,) = served.do("collections", "--case", case, who=OLGA)
    assert (shown["id"], shown["type"], shown["status"]) == (answer["bundle"], "on-demand", "complete")
    assert (tmp_path / "intake.json").exists()


def test_consent_to_proactive_collection_is_given_and_revoked_with_history(
    served: Served, tmp_path: Path
) -> None:
    stamp = served.do("stamps", "register", "Rack 2", "--subject", "rack-2", who=OLGA)["id"]
    bundle = tmp_path / "proactive.zip"
    bundle.write_bytes(b"alert")
    send = ("send", bundle, "--trigger", TRIGGER)
    refused = served.cli(*send, who="stamp:rack-2@contoso")
    assert refused.code == 3 and "no-proactive-consent" in refused.error
    assert served.do("stamps", "consent", stamp, "on", who=OLGA)["proactive"] is True
    assert served.cli(*send, who="stamp:rack-2@contoso").code == 0
    served.do("stamps", "consent", stamp, "off", who=OLGA)
    assert served.cli("send", bundle, "--trigger", TRIGGER, "--no-wait", who="stamp:rack-2@contoso").code == 3
    history = served.do("stamps", "consent", stamp, who=OLGA)
    assert [set_["enabled"] for set_ in history] == [False, True, False]
    (kept,) = served.do("collections", "--stamp", stamp, who=OLGA)
    assert kept["state"] == "complete"  # revoking leaves what was collected as it is


def test_an_unknown_trigger_is_refused_with_the_list_of_known_ones(
    served: Served, stamp: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"x")
    ran = served.cli("send", bundle, "--trigger", "No.Such.Fault", who="stamp:rack-1@contoso")
    assert ran.code == 1 and TRIGGER in ran.error


def test_a_deregistered_stamp_sends_nothing_more(served: Served, case: str, tmp_path: Path) -> None:
    stamp = served.do("stamps", "register", "Rack 3", "--subject", "rack-3", who=OLGA)["id"]
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"x")
    assert served.do("stamps", "deregister", stamp, who=OLGA)["deregistered_at"]
    assert served.cli("send", bundle, "--case", case, who="stamp:rack-3@contoso").code == 3


def test_another_customer_sees_nothing_of_it(served: Served, stamp: str, case: str) -> None:
    assert served.do("stamps", "list", who=FABIAN) == []
    assert served.do("cases", "list", who=FABIAN) == []
    for words in (
        ("cases", "show", case),
        ("stamps", "consent", stamp, "on"),
        ("stamps", "deregister", stamp),
    ):
        ran = served.cli(*words, who=FABIAN)
        assert ran.code == 3 and "there is no" in ran.error, words


def test_the_customer_sees_who_read_what_and_takes_a_grant_away(
    served: Served, sent: Sent, case: str
) -> None:
    bundle = sent.bundle
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    grant = served.do("grant", case, "--reason", "volume offline on node 2", who="engineer:alice")
    assert served.cli("fetch", bundle, "Storage/node-1.log", "-o", "-", who="engineer:alice").code == 0
    (listed,) = served.do("grants", case, who=OLGA)
    assert (listed["id"], listed["reason"], listed["live"]) == (grant["id"], "volume offline on node 2", True)
    seen = served.do("audit", "entries", "--case", case, "--action", "bundle.opened", who=OLGA)
    assert [entry["bundle"] for entry in seen] == [bundle]
    assert served.do("revoke", grant["id"], who=OLGA)["end_cause"] == "revoked"
    refused = served.cli("fetch", bundle, "Storage/node-1.log", "-o", "-", who="engineer:alice")
    assert refused.code == 3 and "no-grant" in refused.error


@pytest.mark.parametrize("who", ["engineer:alice", "stamp:rack-1@contoso", "auditor:ada"])
def test_only_an_operator_registers_stamps(served: Served, stamp: str, who: str) -> None:
    ran = served.cli("stamps", "register", "Mine", "--subject", "mine", who=who)
    assert ran.code == 3 and "role-missing" in ran.error
