"""Webhooks on the line: a real https server, its signature checked by the published library of Standard Webhooks."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from retention.domain.notice import Kind, Message, Target, Undelivered, read_networks, shown_secret
from retention.senders.webhook import WebhookSender
from tests.servers.receiving import Hook, Tls, https_receiver
from tests.servers.scripted import Script, answer, drip, flood, say_nothing, scripted

SECRET = bytes(range(32))
NUMBER = "120260301000001"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls.made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def hook(tls: Tls) -> Iterator[Hook]:
    with https_receiver(tls) as running:
        yield running


def message(id_: str = "ntc_1") -> Message:
    return Message(id_, Kind.GRANTED, datetime.now(UTC), "ent_1", NUMBER, "https://vault.example")


def post(tls: Tls, url: str, **how: Any) -> None:
    sender = WebhookSender(loopback=True, authorities=tls.authority, **how)
    sender.send(message(), Target(url, SECRET), datetime.now(UTC))


def reason(tls: Tls, url: str, **how: Any) -> str:
    with pytest.raises(Undelivered) as failed:
        post(tls, url, **how)
    return failed.value.reason


def test_a_receiver_verifies_it_with_the_secret_it_was_given(tls: Tls, hook: Hook) -> None:
    post(tls, hook.url)
    ((headers, body),) = hook.got
    event = Webhook(shown_secret(SECRET)).verify(body, headers)
    assert (event["type"], event["id"], event["data"]["case"]) == (
        "casevault.access.granted",
        "ntc_1",
        NUMBER,
    )
    assert headers["webhook-id"] == "ntc_1"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert hook.paths == ["/hook?for=contoso"]
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(bytes(32))).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(SECRET)).verify(body.replace(b"0001", b"0002"), headers)
    assert json.loads(body) == event


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_confirms_it(tls: Tls, hook: Hook, status: int) -> None:
    hook.status = status
    post(tls, hook.url)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_any_other_response_is_a_failure_that_is_named_by_its_status(
    tls: Tls, hook: Hook, status: int
) -> None:
    hook.status = status
    assert reason(tls, hook.url) == f"http-{status}"


def test_no_redirect_is_followed(tls: Tls, hook: Hook) -> None:
    hook.status, hook.location = 307, hook.url
    assert reason(tls, hook.url) == "http-307"
    assert len(hook.got) == 1


def test_a_certificate_of_somebody_elses_authority_is_refused(tls: Tls, hook: Hook, tmp_path: Path) -> None:
    other = Tls.made(tmp_path)
    assert reason(other, hook.url) == "tls"
    assert hook.got == []


def test_without_leave_this_machine_and_its_network_are_not_connected_to(tls: Tls, hook: Hook) -> None:
    sender = WebhookSender(authorities=tls.authority)
    for name in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
        with pytest.raises(Undelivered, match="address-not-public"):
            sender.send(message(), Target(f"https://{name}:{hook.port}/", SECRET), datetime.now(UTC))
    assert hook.got == []
    allowed = WebhookSender(read_networks("127.0.0.0/8"), authorities=tls.authority)
    allowed.send(message(), Target(hook.url, SECRET), datetime.now(UTC))
    assert len(hook.got) == 1


def test_a_public_name_that_leads_inside_is_not_connected_to(
    tls: Tls, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was judged is the one that is connected to: the name is looked up once."""
    asked = []

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    addresses = ["127.0.0.1", "169.254.169.254", "10.0.0.1"]
    sender = WebhookSender(authorities=tls.authority, seconds=2)
    with pytest.raises(Undelivered, match="address-not-public"):
        sender.send(message(), Target(f"https://hooks.example:{hook.port}/", SECRET), datetime.now(UTC))
    assert (asked, hook.got) == (["hooks.example"], [])


def test_plain_http_leaves_this_machine_for_nobody(tls: Tls) -> None:
    with scripted(answer(b"HTTP/1.1 200 OK\r\n\r\n")) as server:
        with pytest.raises(Undelivered, match="address-not-https"):
            WebhookSender().send(message(), Target(server.url, SECRET), datetime.now(UTC))
        assert server.heads == []
        post(tls, server.url)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (say_nothing, "too-slow"),
        (drip(b"HTTP/1.1 200 OK\r\nX-Dripping: "), "too-slow"),
        (flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), "unreachable"),
        (answer(b"nonsense\r\n\r\n"), "unreachable"),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut"), "unreachable"),
    ],
)
def test_a_receiver_of_bad_temper_costs_bounded_time_and_bytes(tls: Tls, script: Script, why: str) -> None:
    with scripted(script) as server:
        assert reason(tls, server.url, seconds=0.5) == why


def test_nobody_there_and_no_such_name(tls: Tls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert reason(tls, f"https://127.0.0.1:{port}/") == "unreachable"
    assert reason(tls, "https://no-such-name.invalid/") == "no-such-host"
