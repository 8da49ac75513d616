"""Mail on the line: a real SMTP server, with TLS unless it is on this machine and said to do without."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retention.config import SettingError, from_environment
from retention.config_notices import MailServer
from retention.domain.notice import Kind, Message, Target, Undelivered
from retention.senders.mail import MailSender
from tests.servers.receiving import Mailbox, Tls, mail_server
from tests.servers.scripted import drip, say_nothing, scripted

NUMBER = "120260301000001"
TO = "security@contoso.example"
NOW = datetime(2026, 3, 1, 9, 31, tzinfo=UTC)
MESSAGE = Message(
    "ntc_1", Kind.GRANTED, datetime(2026, 3, 1, 9, 30, tzinfo=UTC), "ent_1", NUMBER, "https://vault.example"
)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls.made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def box(tls: Tls) -> Iterator[Mailbox]:
    with mail_server(tls) as running:
        yield running


def server(tls: Tls | None, port: int, **how: Any) -> MailServer:
    told = {"host": "localhost", "port": port, "sender": "casevault@vault.example", **how}
    return MailServer(**told, authorities=tls.authority if tls else None)


def send(to: MailServer | None, message: Message = MESSAGE, **how: Any) -> None:
    MailSender(to, **how).send(message, Target(TO), NOW)


def reason(to: MailServer | None, **how: Any) -> str:
    with pytest.raises(Undelivered) as failed:
        send(to, **how)
    return failed.value.reason


def test_a_mail_says_what_when_and_where_over_starttls(tls: Tls, box: Mailbox) -> None:
    send(server(tls, box.port))
    ((sender, receivers),) = box.envelopes
    assert (sender, receivers, box.encrypted) == ("casevault@vault.example", [TO], [True])
    (mail,) = box.got
    assert mail["Subject"] == f"casevault: access was given (case {NUMBER})"
    assert mail["Message-ID"] == "<ntc_1@vault.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert (mail["From"], mail["To"]) == ("casevault@vault.example", TO)
    assert mail.get_payload().replace("\r\n", "\n") == (
        f"An engineer has access to case {NUMBER}, read-only and for a limited time.\n\n"
        "When: 2026-03-01 09:30:00 UTC\n"
        "Entry in the log: ent_1\n"
        f"More, after signing in: https://vault.example/portal/cases/{NUMBER}\n"
    )


def test_the_id_is_the_same_at_every_try(tls: Tls, box: Mailbox) -> None:
    for _ in range(2):
        send(server(tls, box.port))
    assert [mail["Message-ID"] for mail in box.got] == ["<ntc_1@vault.example>"] * 2


def test_tls_from_the_first_byte_with_a_user_and_a_password(tls: Tls) -> None:
    with mail_server(tls, implicit=True, login=("relay", "s3cret")) as box:
        told = {"security": "tls", "user": "relay"}
        send(server(tls, box.port, **told, password="s3cret"))
        assert (len(box.got), box.encrypted) == (1, [True])
        assert reason(server(tls, box.port, **told, password="wrong")) == "smtp-535"


def test_no_mail_goes_to_a_server_without_starttls(tls: Tls) -> None:
    with mail_server(None) as box:
        assert reason(server(tls, box.port)) == "no-starttls"
        assert box.got == []
        send(server(None, box.port, security="none"))
        assert box.encrypted == [False], "on this machine, where it was said so"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_no_mail_goes_to_a_server_whose_certificate_is_not_known(
    tls: Tls, tmp_path: Path, security: str
) -> None:
    with mail_server(tls, implicit=security == "tls") as box:
        assert reason(server(Tls.made(tmp_path), box.port, security=security)) == "tls"
        assert box.got == []


@pytest.mark.parametrize("said", ["550 no such user", "452 full"])
def test_a_refused_recipient_is_a_failure_that_is_named_by_its_status(
    tls: Tls, box: Mailbox, said: str
) -> None:
    box.refuses = said
    assert reason(server(tls, box.port)) == f"smtp-{said[:3]}"


def test_without_a_server_that_is_what_is_said() -> None:
    assert reason(None) == "mail-not-set-up"


def test_a_server_that_drips_is_cut_off_when_the_time_is_over(tls: Tls) -> None:
    with scripted(drip(b"220-"), reads=False) as slow:
        assert reason(server(tls, slow.port), seconds=0.5) == "too-slow"


def test_nobody_there(tls: Tls) -> None:
    with scripted(say_nothing) as gone:
        port = gone.port
    assert reason(server(tls, port)) == "unreachable"


HOST = {"CASEVAULT_SMTP_HOST": "mail.example", "CASEVAULT_SMTP_FROM": "casevault@vault.example"}


def test_the_settings_are_read() -> None:
    mail = from_environment(HOST).notices.mail
    assert mail == MailServer(host="mail.example", port=587, sender="casevault@vault.example")
    told = {"CASEVAULT_SMTP_SECURITY": "tls", "CASEVAULT_SMTP_USER": "u", "CASEVAULT_SMTP_PASSWORD": "s3cret"}
    other = from_environment({**HOST, **told}).notices.mail
    assert other is not None
    assert (other.port, other.security, other.user, other.password) == (465, "tls", "u", "s3cret")
    assert "s3cret" not in repr(other)
    assert from_environment({}).notices.mail is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"CASEVAULT_SMTP_FROM": ""},
        {"CASEVAULT_SMTP_FROM": "casevault"},
        {"CASEVAULT_SMTP_HOST": "mail.example:587"},
        {"CASEVAULT_SMTP_PORT": "0"},
        {"CASEVAULT_SMTP_SECURITY": "ssl"},
        {"CASEVAULT_SMTP_SECURITY": "none"},
        {"CASEVAULT_SMTP_USER": "somebody"},
        {"CASEVAULT_WEBHOOK_NETWORKS": "10.0.0.0/99"},
        {"CASEVAULT_ORIGIN": "vault.example"},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        from_environment({**HOST, **wrong})
