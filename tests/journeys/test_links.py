"""An operator hands out a link, sees it, checks what was pasted, and ends it: from the command line alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Served, free_port, start

OLGA = "operator:olga@contoso"
TRIGGER = "Microsoft.Health.FaultType.StorageError"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = start(tmp_path_factory.mktemp("links"), CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
    service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    service.do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
    yield service
    service.stop()


@pytest.fixture
def case(served: Served) -> str:
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "contoso", who=CASE_SYSTEM)
    return number


def test_a_link_is_issued_used_listed_and_revoked(served: Served, case: str, tmp_path: Path) -> None:
    made = served.do("links", "issue", "--case", case, "--days", "2", who=OLGA)
    assert made["permissions"] == "rcwl" and made["case"] == case
    logs = tmp_path / "logs.bin"
    logs.write_bytes(bytes(100_000))
    assert served.do("send", logs, "--link", made["url"])["size"] == 100_000
    assert served.cli("links", "check", "--link", made["url"], who=OLGA).code == 0
    renewed = served.do("links", "renew", made["id"], "--days", "3", who=OLGA)
    assert renewed["expires_at"] > made["expires_at"] and renewed["url"] != made["url"]
    assert served.cli("links", "check", "--link", renewed["url"], who=OLGA).code == 0
    assert served.do("links", "revoke", made["id"], who=OLGA)["revoked_at"]
    refused = served.cli("links", "renew", made["id"], "--days", "9", who=OLGA)
    assert refused.code == 1 and "was revoked for good" in refused.error
    (listed,) = served.do("links", "list", "--case", case, who=OLGA)
    assert listed["id"] == made["id"] and listed["revoked_at"] and "url" not in listed
    gone = served.cli("links", "check", "--link", made["url"], who=OLGA)
    assert gone.code == 1 and "was revoked" in gone.error and "(revoked)" in gone.error
    assert "sig=" not in gone.error


def test_a_stamps_own_link_names_its_trigger(served: Served) -> None:
    (stamp,) = served.do("stamps", "list", who=OLGA)
    made = served.do(
        "links", "issue", "--stamp", stamp["id"], "--trigger", TRIGGER, "--ip", "127.0.0.1", who=OLGA
    )
    assert (made["case"], made["trigger"], made["type"]) == (None, TRIGGER, "proactive")
    without = served.cli("links", "issue", "--stamp", stamp["id"], who=OLGA)
    assert without.code != 0 and "trigger" in without.error


def test_what_cannot_be_a_link_is_one_line(served: Served, case: str) -> None:
    for words, said in (
        (("issue",), "exactly one of --case and --stamp"),
        (("issue", "--case", case, "--permissions", "wr"), "in this order"),
        (("issue", "--case", case, "--days", "731"), "731"),
        (("check", "--link", "https://elsewhere.example/x"), "(host)"),
    ):
        ran = served.cli("links", *words, who=OLGA)
        assert ran.code != 0 and said in ran.error, (words, ran.error)
