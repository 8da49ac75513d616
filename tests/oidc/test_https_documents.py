"""Documents had over https from servers of every temper: nothing but a bounded JSON object comes through."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from intake_api.identity import HttpsDocuments
from intake_api.identity.jwks import LARGEST, DocumentUnavailable

BODIES = {
    "/object": b'{"a": 1}',
    "/list": b"[1]",
    "/text": b"<html>",
    "/nothing": b"",
    "/not-utf-8": b'{"a": "\xff"}',
    "/deep": b"[" * 100_000,
    "/largest": b'{"a": "' + b"x" * (LARGEST - 9) + b'"}',
    "/one-byte-more": b'{"a": "' + b"x" * (LARGEST - 8) + b'"}',
    "/compressed": gzip.compress(b'{"a": 1}'),
}


class Answers(BaseHTTPRequestHandler):
    over = threading.Event()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in BODIES:
            self.answer(200, BODIES[path], **({"Content-Encoding": "gzip"} if path == "/compressed" else {}))
        elif path == "/elsewhere":
            self.answer(302, b'{"a": 1}', Location="/object")
        elif path == "/missing":
            self.answer(404, b'{"a": 1}')
        elif path == "/cut":
            self.answer(200, b'{"a": ', **{"Content-Length": "100"})
        else:
            self.drip({"/endless": b"x" * 65536, "/slow": b" ", "/stalled": b""}[path])

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, piece: bytes) -> None:
        """Without an end, until the reader leaves or the test is over."""
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.over.wait(0 if len(piece) > 1 else 0.01):
                self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@dataclass
class Server:
    address: str
    authorities: Path

    def get(self, path: str) -> object:
        return HttpsDocuments(self.authorities).get(self.address + path)

    def refused(self, path: str, seconds: float = 20) -> str:
        with pytest.raises(DocumentUnavailable) as caught:
            HttpsDocuments(self.authorities, seconds).get(self.address + path)
        return str(caught.value)


@pytest.fixture
def server(certificates: tuple[Path, Path, Path]) -> Iterator[Server]:
    authorities, certificate, key = certificates
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    listening.handle_error = lambda *_: None  # type: ignore[method-assign] # readers leave early here
    Answers.over.clear()
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Server(f"https://localhost:{listening.server_port}", authorities)
    Answers.over.set()
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_an_object_is_had(server: Server) -> None:
    assert server.get("/object") == {"a": 1}


@pytest.mark.parametrize("path", ["/list", "/text", "/nothing", "/not-utf-8", "/deep", "/cut", "/compressed"])
def test_what_is_no_plain_json_object_is_not_had(server: Server, path: str) -> None:
    server.refused(path)


def test_the_largest_document_is_had_and_one_byte_more_is_not(server: Server) -> None:
    assert server.get("/largest")
    assert "longer than" in server.refused("/one-byte-more")


def test_a_document_without_an_end_is_given_up(server: Server) -> None:
    assert "longer than" in server.refused("/endless")


def test_a_server_that_drips_is_given_up(server: Server) -> None:
    assert "took longer than 0.5 seconds" in server.refused("/slow", 0.5)


def test_a_server_that_stalls_is_given_up(server: Server) -> None:
    assert "took longer than 0.5 seconds" in server.refused("/stalled", 0.5)


def test_no_redirect_is_followed(server: Server) -> None:
    assert "responded with status 302" in server.refused("/elsewhere")


def test_an_error_is_no_document_even_with_one_in_it(server: Server) -> None:
    assert "responded with status 404" in server.refused("/missing")


def test_a_server_that_no_authority_vouches_for_is_not_believed(server: Server) -> None:
    with pytest.raises(DocumentUnavailable, match="SSLCertVerificationError"):
        HttpsDocuments().get(f"{server.address}/object")


def test_plain_http_is_not_spoken(server: Server) -> None:
    with pytest.raises(DocumentUnavailable, match="not an https address"):
        HttpsDocuments(server.authorities).get(server.address.replace("https", "http") + "/object")


@pytest.mark.parametrize(
    "address", ["", "file:///etc/passwd", "https://", "https://[::1", "https://a b/", "ftp://a"]
)
def test_an_address_that_leads_nowhere_is_unavailable(address: str) -> None:
    with pytest.raises(DocumentUnavailable):
        HttpsDocuments().get(address)


def test_nobody_there_is_unavailable(server: Server) -> None:
    with pytest.raises(DocumentUnavailable, match="ConnectionRefusedError"):
        HttpsDocuments(server.authorities).get("https://127.0.0.1:1/object")


def test_an_environment_that_names_a_proxy_is_not_heeded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert server.get("/object") == {"a": 1}


def test_no_query_reaches_an_error_text(server: Server) -> None:
    assert "secret" not in server.refused("/text?code=secret")
