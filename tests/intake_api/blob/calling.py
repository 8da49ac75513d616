"""The endpoint without a network: a service, a link, and requests as any client could write them."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as Tree

from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app
from werkzeug.wrappers import Request

from intake_api.blob.app import BlobEndpoint
from tests.service import CASE, OPERATOR, Persona, Service


def block_id(number: int) -> str:
    return base64.b64encode(f"{number:05}".encode()).decode()


def block_list(*numbers: int, kind: str = "Latest") -> bytes:
    inside = "".join(f"<{kind}>{block_id(number)}</{kind}>" for number in numbers)
    return f"<BlockList>{inside}</BlockList>".encode()


class Sender:
    """Somebody with a link."""

    def __init__(self, service: Service, url: str, *, stall_seconds: float = 5) -> None:
        self.service = service
        self.endpoint = BlobEndpoint(service.custody, service.services.link_keys, stall_seconds)
        self.address, self.sas = urlsplit(url).path, urlsplit(url).query
        self.link = self.address.rsplit("/", 1)[1].replace("-", "_")

    def call(
        self,
        method: str,
        blob: str | None = "a.zip",
        query: str = "",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        sas: str | None = None,
        **environ: Any,
    ) -> TestResponse:
        path = self.address + ("" if blob is None else f"/{quote(blob)}")
        full = "&".join(filter(None, (query, self.sas if sas is None else sas)))
        built = EnvironBuilder(path, method=method, query_string=full, data=data, headers=headers or {})
        made = built.get_environ()
        if data == b"":
            made["CONTENT_LENGTH"] = "0"  # werkzeug leaves it out
        made.update({"wsgi.url_scheme": "https", "REMOTE_ADDR": "192.0.2.7", **environ})
        body, status, told = run_wsgi_app(self.endpoint, made, buffered=True)
        return TestResponse(body, status, told, Request(made))

    def put(self, blob: str = "a.zip", data: bytes = b"logs", **headers: str) -> TestResponse:
        return self.call("PUT", blob, "", data, {"x-ms-blob-type": "BlockBlob", **headers})

    def stage(self, number: int, data: bytes, blob: str = "a.zip", **headers: str) -> TestResponse:
        return self.call("PUT", blob, f"comp=block&blockid={quote(block_id(number))}", data, headers)

    def commit(self, *numbers: int, blob: str = "a.zip", **headers: str) -> TestResponse:
        return self.call("PUT", blob, "comp=blocklist", block_list(*numbers), headers)


def issue(service: Service, who: Persona = OPERATOR, **asked: Any) -> dict[str, Any]:
    """A case's link, as issued."""
    expires = service.clock.now() + timedelta(days=1)
    issued: dict[str, Any] = service.done(
        "POST", f"/cases/{CASE}/upload-links", who, json={"expires_at": expires.isoformat(), **asked}
    )
    return issued


def sender(service: Service, **asked: Any) -> Sender:
    return Sender(service, issue(service, **asked)["url"])


def tree(data: bytes) -> Tree.Element:
    """A document of the endpoint, which is marked as UTF-8."""
    return Tree.fromstring(data.decode("utf-8-sig"))  # noqa: S314 - ours


def code(response: TestResponse) -> tuple[int, str]:
    """An error's status and code; its document and its header agree."""
    told = response.headers["x-ms-error-code"]
    if response.data:
        assert tree(response.data).findtext("Code") == told
    return response.status_code, told
