"""Notices over HTTP, from an act to a receiver that checks the signature."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from retention.config import Settings
from retention.config_notices import MailServer, NoticeSettings
from retention.domain.notice import Kind, Message
from retention.jobs.send_notices import Sent, send_notices
from retention.senders.mail import written
from tests.servers.receiving import Hook, Mailbox, Tls, https_receiver, mail_server
from tests.service import AUDITOR, CASE, ENGINEER, OPERATOR, OTHER_OPERATOR, Service

PAGE = (Path(__file__).parents[3] / "docs/notices.md").read_text()
HOOK = {"way": "webhook", "address": "https://hooks.example/x"}


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[Service, Hook, Mailbox]]:
    """A service whose notices may arrive on this machine."""
    tls = Tls.made(tmp_path / "tls")
    with https_receiver(tls) as receiver, mail_server(tls) as box:
        mail = MailServer(
            host="localhost", port=box.port, sender="casevault@vault.example", authorities=tls.authority
        )
        told = NoticeSettings(origin="https://vault.example", authorities=tls.authority, mail=mail)
        settings = Settings(state=tmp_path / "state", development=True, notices=told)
        with Service(tmp_path, settings=settings, now=datetime.now(UTC)) as service:
            service.set_up()
            yield service, receiver, box


def send(service: Service) -> Sent:
    return send_notices(service.custody, service.services.senders)


def test_an_act_arrives_signed_and_as_mail(hook: tuple[Service, Hook, Mailbox]) -> None:
    service, receiver, box = hook
    added = service.done(
        "POST", "/notice-receivers", OPERATOR, json={"way": "webhook", "address": receiver.url}
    )
    body = {"way": "mail", "address": "security@contoso.example"}
    assert service.done("POST", "/notice-receivers", OPERATOR, json=body)["secret"] is None
    grant = service.grant()
    assert send(service).delivered == 5
    events = [Webhook(added["secret"]).verify(body, headers) for headers, body in receiver.got]
    assert [event["type"] for event in events] == [
        "casevault.receivers.changed",
        "casevault.receivers.changed",
        "casevault.access.granted",
    ]
    assert events[-1]["data"]["case"] == CASE
    assert events[-1]["data"]["link"] == f"https://vault.example/portal/cases/{CASE}"
    (entry,) = service.entries(action="grant.given")
    assert events[-1]["data"]["entry"] == entry["id"]
    assert [mail["Subject"] for mail in box.got][-1] == f"casevault: access was given (case {CASE})"
    everything = json.dumps(events) + "".join(mail.as_string() for mail in box.got)
    for word in (grant, "looking into", entry["actor"]):
        assert word not in everything


def test_receivers_are_listed_with_how_sending_goes_tested_and_removed(
    hook: tuple[Service, Hook, Mailbox],
) -> None:
    service, receiver, _ = hook
    added = service.done(
        "POST", "/notice-receivers", OPERATOR, json={"way": "webhook", "address": receiver.url}
    )
    assert added["secret"].startswith("whsec_")
    receiver.status = 503
    assert send(service).failed == 1
    (listed,) = service.done("GET", "/notice-receivers", OPERATOR)["items"]
    assert "secret" not in listed
    assert (listed["state"], listed["failure"], listed["waiting"]) == ("failing", "http-503", 1)
    path = f"/notice-receivers/{added['id']}"
    tested = service.call("POST", f"{path}/test", OPERATOR, json={})
    assert tested.status_code == 202 and tested.json is not None and tested.json["waiting"] == 1
    again = service.call("POST", f"{path}/test", OPERATOR, json={})
    assert again.status_code == 409 and again.json is not None and again.json["reason"] == "tested-just-now"
    shown = service.done("GET", f"{path}/notices", AUDITOR)["items"]
    assert [(one["kind"], one["state"]) for one in shown] == [
        ("test", "waiting"),
        ("receivers.changed", "waiting"),
    ]
    assert shown[-1]["tries"] == 1
    assert service.done("DELETE", path, OPERATOR)["state"] == "removed"
    assert service.done("GET", "/notice-receivers", OPERATOR)["items"] == []
    assert service.call("GET", f"{path}/notices", OPERATOR).status_code == 404


def test_an_engineer_adds_their_own_and_nobody_sees_anothers(service: Service) -> None:
    theirs = service.done("POST", "/notice-receivers", OPERATOR, json=HOOK)
    mine = {"way": "mail", "address": "erin@support.example", "mine": True}
    own = service.done("POST", "/notice-receivers", ENGINEER, json=mine)
    assert own["mine"] is True and theirs["mine"] is False
    refused = service.call("POST", "/notice-receivers", ENGINEER, json={**mine, "mine": False})
    assert (
        refused.status_code == 403 and refused.json is not None and refused.json["reason"] == "role-missing"
    )
    for who, seen in ((OPERATOR, [theirs["id"]]), (ENGINEER, [own["id"]]), (OTHER_OPERATOR, [])):
        assert [one["id"] for one in service.done("GET", "/notice-receivers", who)["items"]] == seen
    assert service.call("DELETE", f"/notice-receivers/{theirs['id']}", OTHER_OPERATOR).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"way": "webhook", "address": "http://hooks.example/"},
        {"way": "webhook", "address": "https://user@hooks.example/"},
        {"way": "mail", "address": "nobody"},
        {"way": "pigeon", "address": "https://hooks.example/"},
        {"way": "mail", "address": "a@example.com\r\nBcc: b@example.com"},
        {"way": "mail"},
        {},
    ],
)
def test_an_address_that_cannot_be_is_refused_with_what_is_needed(
    service: Service, body: dict[str, str]
) -> None:
    refused = service.call("POST", "/notice-receivers", OPERATOR, json=body)
    assert refused.status_code == 422 and refused.json is not None
    assert set(refused.json["errors"]) <= {"address", "way"}
    assert service.done("GET", "/notice-receivers", OPERATOR)["items"] == []


def test_the_page_shows_the_messages_as_they_are_sent() -> None:
    message = Message(
        "ntc_svq2xthhrafh5kfgdvbajpnbpr",
        Kind.GRANTED,
        datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        "ent_7d5zq4vhkv3zj2b6ylmcw2uu5a",
        "120260301000001",
        "https://vault.example",
    )
    event = message.cloud_event().decode()
    assert event in re.sub(r"(?<=,)\n +(?=\")", "", PAGE)
    now = datetime(2026, 3, 1, 9, 31, tzinfo=UTC)
    mail = written(message, "casevault@vault.example", "security@example.com", now)
    for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"):
        assert f"    {name}: {mail[name]}\n" in PAGE
    text = "\n".join(f"    {line}" if line else "" for line in mail.get_content().splitlines())
    assert text in PAGE
    secret, signature = re.findall(r"whsec_[\w/+=]{20,}|v1,[\w/+=]+", PAGE)[::-1][:2]
    at = datetime.fromtimestamp(int(re.findall(r"webhook-timestamp: (\d+)", PAGE)[0]), UTC)
    assert at == now
    assert Webhook(secret).sign(message.id, at, event) == signature
    told = set(re.findall(r"`([a-z]+\.[a-z]+)`", PAGE)) | {"test"}
    assert {kind.value for kind in Kind} <= told
