"""The client for others' servers, held against servers of every temper: it is done in time, and with few bytes."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from audit.http_client import HEAD_BYTES, HttpClient, OutsideError, Reply
from tests.servers.scripted import Script, answer, drip, flood, say_nothing, scripted

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
HTTP = HttpClient(seconds=20, most_bytes=1000)
HASTY = HttpClient(seconds=0.5, most_bytes=1000)


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (OK + b"Content-Length: 2\r\n\r\nhi, and more than was said", Reply(200, "text/plain", b"hi")),
        (OK + b"\r\nto the end", Reply(200, "text/plain", b"to the end")),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Reply(200, "text/plain", b"hi")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\nhi", Reply(200, "text/plain", b"hi")),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n5\n", Reply(409, "", b"5\n")),
        (OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, Reply(200, "text/plain", b"x" * 1000)),
    ],
)
def test_a_response_is_had_whole(raw: bytes, reply: Reply) -> None:
    with scripted(answer(raw)) as server:
        assert HTTP.post(server.url, b"body") == HTTP.get(server.url) == reply


@pytest.mark.parametrize(
    "script",
    [
        say_nothing,
        drip(b""),
        drip(b"HTTP/1.1 200 OK\r\n"),
        drip(OK + b"X-Dripping: "),
        drip(OK + b"\r\n"),
        drip(OK + b"Content-Length: 900\r\n\r\n"),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n384\r\n"),
    ],
)
def test_a_server_that_hangs_or_drips_anywhere_is_given_up_when_the_time_is_over(script: Script) -> None:
    with scripted(script) as server, pytest.raises(OutsideError, match=r"^took longer than 0.5 seconds$"):
        HASTY.post(server.url, b"body")


def test_a_server_that_takes_no_request_is_given_up() -> None:
    with scripted(say_nothing, reads=False) as server, pytest.raises(OutsideError, match="took longer"):
        HASTY.post(server.url, bytes(64 << 20))


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    with scripted(say_nothing, reads=False) as server, pytest.raises(OutsideError, match="took longer"):
        HASTY.get(server.url.replace("http:", "https:"))


def test_a_name_look_up_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: go_on.wait())
    with pytest.raises(OutsideError, match="took longer"):
        HASTY.get("http://witness.example/")
    go_on.set()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (answer(OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001), "longer than 1000 bytes"),
        (flood(OK + b"\r\n", b"x" * 65536), "longer than 1000 bytes"),
        (flood(OK + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", b"x" * 65536), "longer than 1000 bytes"),
        (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "longer than the limit for a response"),
        (flood(OK, b"X: " + b"x" * 60_000 + b"\r\n"), "longer than the limit for a response"),
        (answer(OK + b"Content-Length: 100\r\n\r\nhi"), "ended 98 bytes before its end"),
        (answer(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nhi"), "IncompleteRead"),
        (answer(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "BadStatusLine"),
        (answer(b""), "RemoteDisconnected"),
    ],
)
def test_what_is_no_whole_response_of_a_bearable_length_is_none(script: Script, told: str) -> None:
    with scripted(script) as server, pytest.raises(OutsideError, match=told):
        HTTP.get(server.url)


def test_no_more_is_read_than_head_and_body_may_have() -> None:
    sent = 0

    def endless(line: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while not over.is_set():
            sent += line.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with scripted(endless) as server, pytest.raises(OutsideError):
        HTTP.get(server.url)
    assert sent < 10 * (HEAD_BYTES + 1000), "what the two sockets hold comes on top"


def test_no_redirect_is_followed() -> None:
    with scripted(answer(b"HTTP/1.1 200 OK\r\n\r\nelsewhere")) as elsewhere:
        moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        with scripted(answer(moved.encode())) as server:
            assert HTTP.post(server.url, b"body").status == 307
        assert elsewhere.heads == []


def test_neither_proxies_nor_netrc_nor_a_key_log_of_the_environment_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with scripted(answer(OK + b"\r\nproxy")) as proxy, scripted(answer(OK + b"\r\nserver")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert HTTP.post(server.url, b"body").body == b"server"
        with pytest.raises(OutsideError):  # it speaks no TLS; the proxy was not asked to connect either
            HASTY.get(server.url.replace("http:", "https:"))
        assert proxy.heads == []
        assert b"authorization" not in server.heads[0].lower()
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "http://", "ftp://a/", "http://[::1", "http://a b/", "http://user@127.0.0.1/"],
)
def test_an_address_that_leads_nowhere_gives_no_response(url: str) -> None:
    with pytest.raises(OutsideError):
        HTTP.get(url)


def test_nobody_there_is_said_as_it_is() -> None:
    with pytest.raises(OutsideError, match=r"^ConnectionRefusedError$"):
        HTTP.get("http://127.0.0.1:9/")
