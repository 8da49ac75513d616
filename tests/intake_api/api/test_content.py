"""Reading a bundle's bytes through the door: under a grant, by ranges, each read in the log."""

from __future__ import annotations

import logging
from datetime import timedelta
from email import message_from_bytes
from email.policy import HTTP

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from retention.envelope.data_keys import WrappedKey
from tests.service import AUDITOR, COLLEAGUE, ENGINEER, OPERATOR, OTHER_OPERATOR, STAMP, Service, collection

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def bundle(service: Service) -> str:
    return service.complete(CONTENT)


def read(service: Service, bundle: str, **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.call("GET", f"/bundles/{bundle}/content", ENGINEER, headers=sent)


def parts_of(response: TestResponse) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part, read by the standard library."""
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    message = message_from_bytes(head + response.data, policy=HTTP)
    found = []
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((str(part["Content-Range"]), payload))
    return found


def test_the_whole_content_comes_under_a_grant_with_a_safe_name(service: Service, bundle: str) -> None:
    service.grant()
    response = read(service, bundle)
    assert (response.status_code, response.data) == (200, CONTENT)
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Disposition"].startswith('attachment; filename="AzureStackLogs.zip"')
    record = service.done("GET", f"/bundles/{bundle}", OPERATOR)
    assert response.headers["ETag"] == f'"{record["sha256"]}"'


def test_without_a_grant_nothing_is_read_and_the_refusal_is_an_entry(service: Service, bundle: str) -> None:
    response = read(service, bundle)
    assert (response.status_code, response.get_json()["reason"]) == (403, "no-grant")
    (entry,) = service.entries(bundle=bundle, action="bundle.opened")
    assert (entry["outcome"], entry["reason"]) == ("refused", "no-grant")


@pytest.mark.parametrize("who", [OPERATOR, AUDITOR, STAMP])
def test_nobody_but_an_engineer_reads(service: Service, bundle: str, who: object) -> None:
    response = service.call("GET", f"/bundles/{bundle}/content", who)  # type: ignore[arg-type]
    assert (response.status_code, response.get_json()["reason"]) == (403, "not-an-engineer")


@pytest.mark.parametrize("who", [COLLEAGUE, OTHER_OPERATOR])
def test_to_whom_it_is_not_visible_it_does_not_exist(service: Service, bundle: str, who: object) -> None:
    assert service.call("GET", f"/bundles/{bundle}/content", who).status_code == 404  # type: ignore[arg-type]
    assert service.call("HEAD", f"/bundles/{bundle}/content", who).status_code == 404  # type: ignore[arg-type]


def test_every_read_is_two_entries_that_belong_together(service: Service, bundle: str) -> None:
    grant = service.grant()
    read(service, bundle, Range="bytes=10-19")
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert opened["details"] == {"ranges": ["10+10"], "range_count": 1, "asked_bytes": 10}
    assert opened["subject"] == ended["subject"] == grant
    assert (ended["outcome"], ended["details"]) == ("success", {"bytes": 10, "opened": opened["id"]})


def test_a_read_that_the_client_cuts_ends_as_cut(service: Service) -> None:
    bundle = service.complete(b"x" * (3 << 20))
    service.grant()
    response = service.call("GET", f"/bundles/{bundle}/content", ENGINEER, buffered=False)
    handed = next(response.iter_encoded())
    response.close()
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "cut")
    assert ended["details"]["bytes"] == len(handed), (
        "what was handed over, and not a byte of what was opened next"
    )


def test_a_read_that_is_closed_before_its_first_byte_ends_as_cut(service: Service, bundle: str) -> None:
    service.grant()
    unread = service.unread("GET", f"/bundles/{bundle}/content", ENGINEER)
    unread.close()
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert ended["outcome"] == "failed"
    assert ended["details"]["bytes"] == 0, "what was opened and not handed over is not delivered"


def test_a_grant_that_expires_cuts_the_read_and_is_no_error_in_the_services_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = service.complete(b"x" * (4 << 20))
    service.grant(minutes=15)
    response = service.call("GET", f"/bundles/{bundle}/content", ENGINEER, buffered=False)
    pieces = response.iter_encoded()
    next(pieces)
    service.advance(timedelta(minutes=16))
    with caplog.at_level(logging.INFO):
        left = b"".join(pieces)
    response.close()
    assert len(left) < int(response.headers["Content-Length"]) - (1 << 20), "short of what was promised"
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "grant-expired")
    (told,) = [record for record in caplog.records if "cut" in record.getMessage()]
    assert (told.levelname, told.exc_info) == ("INFO", None) and "grant-expired" in told.getMessage()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(CONTENT) - 1), st.integers(0, len(CONTENT)))
def test_one_range_is_answered_with_exactly_its_bytes(service: Service, first: int, length: int) -> None:
    items = service.done("GET", "/bundles", OPERATOR)["items"]
    bundle = items[0]["id"] if items else service.complete(CONTENT)
    if not items:
        service.grant()
    last = first + length
    response = read(service, bundle, Range=f"bytes={first}-{last}")
    end = min(last + 1, len(CONTENT))
    assert (response.status_code, response.data) == (206, CONTENT[first:end])
    assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(CONTENT)}"
    assert response.headers["Content-Length"] == str(end - first)


def test_several_ranges_are_parts_of_one_answer(service: Service, bundle: str) -> None:
    service.grant()
    response = read(service, bundle, Range="bytes=0-3, -5, 100-109")
    size = len(CONTENT)
    assert response.status_code == 206
    assert response.headers["Content-Length"] == str(len(response.data))
    assert parts_of(response) == [
        (f"bytes 0-3/{size}", CONTENT[:4]),
        (f"bytes {size - 5}-{size - 1}/{size}", CONTENT[-5:]),
        (f"bytes 100-109/{size}", CONTENT[100:110]),
    ]
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    assert opened["details"]["ranges"] == ["0+4", f"{size - 5}+5", "100+10"]


def test_too_many_ranges_are_refused_and_nothing_is_opened(service: Service, bundle: str) -> None:
    service.grant()
    many = ",".join(f"{2 * n}-{2 * n}" for n in range(17))
    response = read(service, bundle, Range=f"bytes={many}")
    assert (response.status_code, response.get_json()["reason"]) == (416, "too-many-ranges")
    assert service.entries(bundle=bundle, action="bundle.opened") == []


def test_if_range_decides_between_range_and_whole(service: Service, bundle: str) -> None:
    service.grant()
    etag = read(service, bundle).headers["ETag"]
    assert read(service, bundle, Range="bytes=0-1", If_Range=etag).status_code == 206
    assert read(service, bundle, Range="bytes=0-1", If_Range='"other"').data == CONTENT


def test_what_the_client_has_already_is_not_sent_and_not_opened(service: Service, bundle: str) -> None:
    etag = f'"{service.done("GET", f"/bundles/{bundle}", ENGINEER)["sha256"]}"'
    for known in (etag, f'"x", W/{etag}', "*"):
        response = read(service, bundle, If_None_Match=known)
        assert (response.status_code, response.data) == (304, b"")
    assert service.entries(bundle=bundle, action="bundle.opened") == []
    assert read(service, bundle, If_None_Match='"other"').status_code == 403


def test_a_head_tells_the_headers_and_opens_nothing(service: Service, bundle: str) -> None:
    response = service.call("HEAD", f"/bundles/{bundle}/content", ENGINEER, headers={"Range": "bytes=0-1"})
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert service.entries(bundle=bundle, action="bundle.opened") == []


def test_a_bundle_that_is_not_verified_yet_cannot_be_read(service: Service) -> None:
    bundle = service.send(CONTENT)
    service.grant()
    assert read(service, bundle).get_json()["reason"] == "bundle-received"
    assert service.call("HEAD", f"/bundles/{bundle}/content", ENGINEER).status_code == 409


def test_a_key_that_a_newer_version_wrote_is_no_damage(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.grant()
    wrapped = service.custody.keys.get(bundle)
    newer = b'{"framing":3' + wrapped.to_json().removeprefix(b'{"framing":2')
    monkeypatch.setattr(service.custody.keys, "get", lambda _: WrappedKey.from_json(newer))
    response = read(service, bundle)
    assert (response.status_code, response.get_json()["reason"]) == (503, "newer-framing")
    monkeypatch.undo()
    assert read(service, bundle).data == CONTENT


def test_an_empty_bundle_is_read_as_nothing_and_holds_no_files(service: Service) -> None:
    service.assign(ENGINEER)
    service.grant()
    query = {**collection(), "roles": ""}
    del query["filename"]
    sent = service.call(
        "PUT", "/bundles/empty.log", STAMP, query_string=query, environ_overrides={"CONTENT_LENGTH": "0"}
    )
    assert sent.status_code == 201, sent.data
    service.tick()
    bundle = sent.get_json()["id"]
    for more in ({}, {"Range": "bytes=0-"}):
        whole = read(service, bundle, **more)
        assert (whole.status_code, whole.data, whole.headers["Content-Length"]) == (200, b"", "0")
    outside = read(service, bundle, Range="bytes=5-9")
    assert (outside.status_code, outside.headers["Content-Range"]) == (416, "bytes */0")
    listed = service.call("GET", f"/bundles/{bundle}/files", ENGINEER)
    assert (listed.status_code, listed.get_json()["type"]) == (422, "/problems/not-an-archive")
