"""Approval of access by the command line, against the real service: an engineer asks, the customer answers."""

from __future__ import annotations

from tests.journeys.served import CASE_SYSTEM, Sent, Served

ALICE, OLGA = "engineer:alice", "operator:olga@contoso"
REASON = "Volume offline on node 2 since 02:10"


def test_an_engineer_asks_the_customer_gives_and_withdraws(served: Served, sent: Sent, case: str) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    assert served.do("approvals", "policy", "--case", case, "--rule", "ask", who=OLGA)["of"] == "case"
    assert served.do("approvals", "policy", "--case", case, who=ALICE)["asks"] == "always"
    done = served.cli("grant", case, "--reason", REASON, "--hours", "2", who=ALICE)
    assert done.code == 0 and "nothing is granted yet" in done.err
    (asked,) = served.do("approvals", "list", "--case", case, "--state", "asked", who=OLGA)
    assert served.cli("fetch", sent.bundle, "-o", "-", who=ALICE).code != 0
    given = served.do("approvals", "give", asked["id"], "--note", "until tonight", who=OLGA)
    assert given["live"] is True
    assert served.cli("fetch", sent.bundle, "-o", "-", who=ALICE).code == 0
    assert served.do("approvals", "show", asked["id"], who=ALICE)["note"] == "until tonight"
    assert served.do("approvals", "withdraw", asked["id"], who=OLGA)["state"] == "withdrawn"
    assert served.cli("fetch", sent.bundle, "-o", "-", who=ALICE).code != 0
    served.until_sequenced()
    found = served.do("audit", "unaccounted", who="auditor:ada")
    assert [one for one in found if one["kind"] != "unused-grant"] == []


def test_a_choice_that_is_none_is_told_before_anything_is_sent(served: Served, case: str) -> None:
    for words, said in (
        (("--long-hours", "4"), "--rule own-cases"),
        (("--rule", "own-cases", "--long-hours", "25"), "0.25"),
        (("--rule", "never"), "not one of"),
    ):
        done = served.cli("approvals", "policy", "--case", case, *words, who=OLGA)
        assert done.code == 2 and said in done.err, done
