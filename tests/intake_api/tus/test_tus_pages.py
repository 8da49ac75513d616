"""A page of another origin sends by tus (CORS): only from the origins that the deployment lists, and only uploads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from intake_api.http.cross_origin import EXPOSED, read_origins
from tests.service import AUDITOR, OFFSET_BYTES, STAMP, Persona, Service, collection, tus

V = {"Tus-Resumable": "1.0.0"}
PORTAL = "https://portal.example.com"


@pytest.fixture
def paged(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path, upload_origins=frozenset({PORTAL})) as service:
        service.set_up()
        yield service


def preflight(service: Service, path: str, origin: str = PORTAL, method: str = "PATCH") -> TestResponse:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset",
    }
    return service.call("OPTIONS", path, headers=asked)


def cors(response: TestResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers if name.startswith("Access-Control-")}


def listed(header: str) -> set[str]:
    return {one.strip().lower() for one in header.split(",")}


def test_options_needs_no_token(service: Service) -> None:
    for path in ("/uploads", "/uploads/bun_whatever"):
        response = service.call("OPTIONS", path)
        assert (response.status_code, response.headers["Tus-Version"]) == (204, "1.0.0")
        assert cors(response) == {}


def test_a_listed_page_may_send_what_tus_needs_and_read_what_comes_back(paged: Service) -> None:
    for path in ("/uploads", "/uploads/bun_whatever"):
        told = cors(preflight(paged, path))
        assert told["Access-Control-Allow-Origin"] == PORTAL
        assert {"post", "head", "patch", "delete"} == listed(told["Access-Control-Allow-Methods"])
        wanted = {
            *("authorization", "content-type", "tus-resumable", "upload-length", "upload-metadata"),
            *("upload-offset", "upload-defer-length", "upload-concat", "upload-checksum"),
            *("x-http-method-override", "x-request-id"),
        }
        assert wanted == listed(told["Access-Control-Allow-Headers"])
        assert "Access-Control-Allow-Credentials" not in told


def test_every_response_to_a_listed_page_can_be_read_by_it_refusals_too(paged: Service) -> None:
    created = paged.call("POST", "/uploads", STAMP, headers={**tus(4, collection()), "Origin": PORTAL})
    location = created.headers["Location"]
    sent = {**V, "Content-Type": OFFSET_BYTES, "Origin": PORTAL}
    calls: list[tuple[str, str, Persona | None, dict[str, str], int]] = [
        ("HEAD", location, STAMP, {}, 200),
        ("PATCH", location, STAMP, {"Upload-Offset": "3"}, 409),
        ("PATCH", location, STAMP, {"Upload-Offset": "0"}, 204),
        ("HEAD", "/uploads/bun_none", STAMP, {}, 404),
        ("HEAD", location, None, {}, 401),
        ("HEAD", location, AUDITOR, {}, 403),
        ("POST", "/uploads", STAMP, {"Upload-Length": "x"}, 400),
        ("HEAD", location, STAMP, {"Tus-Resumable": "0.2.2"}, 412),
    ]
    for method, path, who, headers, status in calls:
        response = paged.call(
            method, path, who, headers={**sent, **headers}, data=b"0123"[: method == "PATCH" and 4]
        )
        assert response.status_code == status, response.data
        assert response.headers["Access-Control-Allow-Origin"] == PORTAL
        assert set(EXPOSED) == set(response.headers["Access-Control-Expose-Headers"].split(", "))
        assert "Origin" in response.headers["Vary"]


def test_what_uploads_answer_with_is_exposed(paged: Service) -> None:
    created = paged.call("POST", "/uploads", STAMP, headers={**tus(4, collection()), "Origin": PORTAL})
    head = paged.call("HEAD", created.headers["Location"], STAMP, headers=V)
    options = paged.call("OPTIONS", "/uploads")
    own = {name for response in (created, head, options) for name, _ in response.headers}
    own = {name for name in own if name.startswith(("Tus-", "Upload-", "Location", "X-Request"))}
    assert own <= set(EXPOSED)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "https://portal.example.com.evil.example",
        "https://portal.example.com:8443",
        "http://portal.example.com",
        "https://PORTAL.example.com",
        "https://portal.example.com/",
        "null",
        "*",
        "",
    ],
)
def test_any_other_page_is_told_nothing(paged: Service, origin: str) -> None:
    response = preflight(paged, "/uploads/bun_whatever", origin)
    assert (response.status_code, cors(response)) == (204, {})
    assert "Origin" in response.headers["Vary"]
    sent = paged.call("HEAD", "/uploads/bun_none", STAMP, headers={**V, "Origin": origin})
    assert cors(sent) == {}


def test_a_preflight_tells_nothing_of_what_there_is(paged: Service) -> None:
    there = paged.call("POST", "/uploads", STAMP, headers=tus(4, collection())).headers["Location"]
    told = [preflight(paged, path) for path in (there, "/uploads/bun_none")]
    one, other = ({k: v for k, v in r.headers if k != "X-Request-Id"} for r in told)
    assert one == other
    assert paged.entries(action="caller.refused") == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/bundles"),
        ("GET", "/cases"),
        ("GET", "/audit/entries"),
        ("GET", "/openapi.json"),
        ("POST", "/development/token"),
    ],
)
def test_only_uploads_are_open_to_pages(paged: Service, method: str, path: str) -> None:
    assert cors(paged.call(method, path, STAMP, headers={"Origin": PORTAL})) == {}
    assert preflight(paged, path, method=method).status_code in (403, 405)


def test_a_page_may_ask_first_whether_an_upload_would_be_accepted(paged: Service) -> None:
    assert (
        cors(preflight(paged, "/uploads/preflight", method="POST"))["Access-Control-Allow-Origin"] == PORTAL
    )
    body = {**collection(), "size": 4}
    asked = paged.call("POST", "/uploads/preflight", STAMP, headers={"Origin": PORTAL}, json=body)
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, PORTAL)


def test_the_origins_are_written_as_browsers_send_them() -> None:
    assert read_origins("") == frozenset()
    text = (
        "https://a.example, https://b.example:8443 ,http://localhost:3000,http://127.0.0.1:1,http://[::1]:2"
    )
    assert read_origins(text) == frozenset(one.strip() for one in text.split(","))


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "https://*.example.com",
        "https://a.example/",
        "https://a.example/path",
        "https://A.example",
        "https://a.example:443",
        "https://user@a.example",
        "http://a.example",
        "http://127.0.0.1.example",
        "a.example",
        "https://a.example?x",
        "https://a.example#x",
        "https://a.example:x",
        "https://ä.example",
        "https://a.example,,https://b.example",
        "https://",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        read_origins(text)
