"""Telling people, whole: a served instance whose clock sends, an https receiver and a mail server that take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Served, start
from tests.servers.receiving import Hook, Mailbox, Tls, https_receiver, mail_server

OLGA, ALICE = "operator:olga@contoso", "engineer:alice"


@dataclass
class Told:
    served: Served
    hook: Hook
    box: Mailbox


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    tls = Tls.made(tmp_path_factory.mktemp("tls"))
    with https_receiver(tls) as hook, mail_server(tls, login=("relay", "s3cret")) as box:
        settings = {
            "CASEVAULT_NOTICES_CA": str(tls.authority),
            "CASEVAULT_SMTP_HOST": "localhost",
            "CASEVAULT_SMTP_PORT": str(box.port),
            "CASEVAULT_SMTP_FROM": "casevault@vault.example",
            "CASEVAULT_SMTP_USER": "relay",
            "CASEVAULT_SMTP_PASSWORD": "s3cret",
        }
        service = start(tmp_path_factory.mktemp("told"), **settings)
        service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
        yield Told(service, hook, box)
        service.stop()


def until(holds: Callable[[], bool]) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it does not arrive")


def test_a_customer_is_told_and_an_engineer_gets_the_answer(told: Told) -> None:
    served, hook, box = told.served, told.hook, told.box
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "contoso", who=CASE_SYSTEM)
    served.cli("cases", "assign", number, "alice", who=CASE_SYSTEM)
    added = served.do("notices", "add", "--webhook", hook.url, who=OLGA)
    served.do("notices", "add", "--mail", "alice@support.example", "--mine", who=ALICE)
    served.do("approvals", "policy", "--rule", "ask", who=OLGA)
    asked = served.do("grant", number, "--reason", "volume offline on node 2", who=ALICE)
    served.do("approvals", "give", asked["id"], who=OLGA)
    until(lambda: len(hook.got) >= 3 and bool(box.got))
    events = [Webhook(added["secret"]).verify(body, headers) for headers, body in hook.got]
    assert [event["type"].removeprefix("casevault.") for event in events] == [
        "receivers.changed",
        "access.asked",
        "access.granted",
    ]
    assert {event["data"].get("case") for event in events[1:]} == {number}
    (mail,) = box.got
    assert mail["To"] == "alice@support.example"
    assert mail["Subject"] == f"casevault: your request was approved (case {number})"
    shown = served.do("notices", "list", added["id"], who=OLGA)
    until(
        lambda: {one["state"] for one in served.do("notices", "list", added["id"], who=OLGA)} == {"delivered"}
    )
    assert {one["kind"] for one in shown} == {"receivers.changed", "access.asked", "access.granted"}


def test_a_receiver_that_was_away_is_shown_and_tried_again(told: Told) -> None:
    served, hook = told.served, told.hook
    (receiver,) = served.do("notices", "receivers", who=OLGA)
    hook.status, before = 500, len(hook.got)
    served.do("notices", "test", receiver["id"], who=OLGA)
    until(lambda: served.do("notices", "receivers", who=OLGA)[0]["state"] == "failing")
    assert served.do("notices", "receivers", who=OLGA)[0]["failure"] == "http-500"
    hook.status = 204
    until(lambda: served.do("notices", "receivers", who=OLGA)[0]["state"] == "ok")
    ids = [headers["webhook-id"] for headers, _ in hook.got[before:]]
    assert len(ids) >= 2 and len(set(ids)) == 1, "the same message, under the same id"


def test_a_mistake_is_one_line_that_says_what_is_needed(told: Told, tmp_path: Path) -> None:
    served = told.served
    for words, code, said in (
        (("notices", "add", "--webhook", "http://example.com/"), 1, "https://"),
        (("notices", "add", "--mail", "nobody"), 1, "security@example.com"),
        (("notices", "add"), 2, "exactly one of"),
        (("notices", "remove", "rcv_nothing"), 3, "there is no receiver"),
    ):
        ran = served.cli(*words, who=OLGA)
        assert (ran.code, said in ran.error) == (code, True), ran.err
