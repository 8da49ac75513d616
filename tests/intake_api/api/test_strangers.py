"""What somebody who has no business here may learn, keep, or make the service do."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import timedelta

import pytest

from audit.times import rfc3339
from intake_api.blob.app import BlobEndpoint
from intake_api.blob.blob_errors import BlobError
from intake_api.blob.documents import read_block_list
from retention.domain.actor import Role
from tests.intake_api.blob.calling import sender
from tests.service import (
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    DIRECTORY,
    OFFSET_BYTES,
    OPERATOR,
    OTHER_CASE,
    OTHER_OPERATOR,
    PARTNER,
    STAMP,
    Persona,
    Service,
    collection,
    proactive,
    tus,
)

LARGE = 16 << 20


def test_a_stamp_that_another_customer_registered_sends_nothing_to_it(service: Service) -> None:
    rack = Persona("rack-of-one", (Role.STAMP,), DIRECTORY)
    mine = {"name": "mine", "subject": rack.subject, "proactive": True}
    service.done("POST", "/stamps", OTHER_OPERATOR, json=mine)  # before its own operator does
    headers = {**tus(4, collection(**proactive())), "Content-Type": OFFSET_BYTES}
    assert service.call("POST", "/uploads", rack, headers=headers, data=b"data").status_code == 403
    assert service.done("GET", "/bundles", OTHER_OPERATOR)["items"] == []


def test_a_partner_who_is_not_assigned_cannot_tell_which_cases_there_are(service: Service) -> None:
    reason = {"reason": "looking into the failed update"}
    there = service.call("POST", f"/cases/{OTHER_CASE}/grants", PARTNER, json=reason)
    not_there = service.call("POST", "/cases/999999999999999/grants", PARTNER, json=reason)
    assert (there.status_code, not_there.status_code) == (404, 404)


@pytest.mark.parametrize("role", [Role.PARTNER_ENGINEER, Role.SUPPORT_ENGINEER, Role.STAMP])
def test_a_stamps_links_are_its_customers_to_see(service: Service, role: Role) -> None:
    stamp = service.done("GET", "/stamps", OPERATOR)["items"][0]["id"]
    somebody = Persona("somebody", (role,), DIRECTORY, partner="contoso")
    assert service.call("GET", f"/stamps/{stamp}/upload-links", somebody).status_code in (403, 404)


def test_what_an_auditor_asked_of_all_customers_is_no_customers_to_see(service: Service) -> None:
    auditor = Persona("auditor", (Role.AUDITOR,), DIRECTORY)
    service.done("GET", "/audit/entries", auditor, query_string={"case": OTHER_CASE})
    seen = service.call("GET", "/audit/entries", OPERATOR, query_string={"limit": 200})
    assert OTHER_CASE not in seen.get_data(as_text=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"partner":"x","expires_at":"2030-01-01T00:00:00Z","bundles":['
        + b",".join([b"0"] * 20_000)
        + b"]}",
        json.dumps({f"{name:x}": 0 for name in range(20_000)}).encode(),
    ],
)
def test_a_body_that_is_wrong_in_many_places_has_a_short_answer(service: Service, body: bytes) -> None:
    head = {"Content-Type": "application/json"}
    answer = service.call("POST", "/cases/1/consents", STAMP, data=body, headers=head)
    assert (answer.status_code, len(answer.data) < 20_000) == (422, True)


def test_times_before_all_others_are_refused_like_any_wrong_ones(service: Service) -> None:
    put = sender(service).put(**{"x-ms-meta-logs_end": "0001-01-01T01:00:00Z"})
    said = collection(time_collected="0001-01-01T00:00:00Z", send_logs_now="true")
    headers = {**tus(4, said), "Content-Type": OFFSET_BYTES}
    sent = service.call("POST", "/uploads", STAMP, headers=headers, data=b"data")
    assert put.status_code < 500 and sent.status_code < 500


@pytest.mark.parametrize("wrong", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1999-12-31T23:59:59Z"])
def test_a_moment_of_a_clock_that_was_never_set_is_refused(service: Service, wrong: str) -> None:
    for path, body in (
        ("/cases", {"number": "9", "directory": "directory-one", "opened_at": wrong}),
        (f"/cases/{CASE}/close", {"closed_at": wrong}),
    ):
        refused = service.call("POST", path, CASE_SYSTEM, json=body)
        assert refused.status_code == 422
        assert "Must not be before 2000-01-01" in str(refused.get_json()["errors"])
    headers = {**tus(4, collection(logs_start=wrong)), "Content-Type": OFFSET_BYTES}
    refused = service.call("POST", "/uploads", STAMP, headers=headers, data=b"data")
    assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["logs_start"])
    put = sender(service).put(**{"x-ms-meta-logs_start": wrong})
    assert put.status_code == 400
    assert service.done("GET", f"/cases/{CASE}", OPERATOR)["state"] == "open"
    service.done("GET", "/audit/entries", AUDITOR, query_string={"since": wrong})  # a question may go back


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "name": "b", "subject": "s"}',
        b'{"name": "a", "subject": "s", "\\u006eame": "b"}',
        b'{"name": "a", "subject": {"x": 1, "x": 2}}',
    ],
)
def test_a_member_that_stands_twice_is_nobodys_to_choose(service: Service, body: bytes) -> None:
    refused = service.call("POST", "/stamps", OPERATOR, data=body, content_type="application/json")
    assert (refused.status_code, refused.get_json()["reason"]) == (400, "member-twice")


@pytest.mark.parametrize("path", ["//stamps", "///stamps", "//uploads"])
def test_an_address_with_two_slashes_is_another_one(service: Service, path: str) -> None:
    found = service.call("GET", "/stamps", OPERATOR, environ_overrides={"PATH_INFO": path})
    assert found.status_code == 404


@pytest.mark.parametrize(
    "host", ["", "a.example,b.example", "a b", "a/b", "a@b", "a.example:80:80", "[::1", "\u00e9"]
)
def test_a_request_is_for_one_host(service: Service, host: str) -> None:
    asked = {"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1"}
    refused = service.call("GET", "/healthz", environ_overrides=asked)
    assert (refused.status_code, refused.get_json()["reason"]) == (400, "host")
    assert sender(service).call("GET", "", **asked).headers["x-ms-error-code"] == "InvalidHeaderValue"


@pytest.mark.parametrize("host", ["a.example", "127.0.0.1:8443", "[::1]:8443", "localhost:", "a_b.example"])
def test_any_name_of_a_host_is_taken(service: Service, host: str) -> None:
    asked = {"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1"}
    assert service.call("GET", "/healthz", environ_overrides=asked).status_code == 200
    old = {"HTTP_HOST": "", "SERVER_PROTOCOL": "HTTP/1.0"}
    assert service.call("GET", "/healthz", environ_overrides=old).status_code == 200


@pytest.mark.parametrize(
    "document",
    [
        b"<BlockList><Latest>" + b"\n" * (LARGE - 60) + b"</Latest></BlockList>",
        b"<BlockList><Latest>" + b"&#9;" * ((LARGE - 60) // 4) + b"</Latest></BlockList>",
        b"<BlockList><Latest "
        + b" ".join(b"a%x=''" % n for n in range(1_000_000))
        + b"></Latest></BlockList>",
    ],
    ids=["lines", "references", "attributes"],
)
def test_a_block_list_that_only_takes_memory_is_refused_at_its_beginning(document: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BlobError):
            read_block_list(document)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20


class Silent:
    """A body that never comes."""

    def read(self, _size: int) -> bytes:
        time.sleep(30)
        return b""


def test_a_strangers_silence_is_not_waited_for(service: Service) -> None:
    endpoint = BlobEndpoint(service.custody, service.services.link_keys, 20)
    asked = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/a/b", "QUERY_STRING": "", "CONTENT_LENGTH": "100"}
    more = {"wsgi.input": Silent(), "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https"}
    begun = time.monotonic()
    endpoint({**asked, **more}, lambda *_: None)
    assert time.monotonic() - begun < 10


def test_an_export_that_nobody_takes_holds_no_connection(service: Service) -> None:
    for _ in range(150):
        service.done("GET", "/audit/entries", OPERATOR, query_string={"limit": "1"})
    pool = service.custody.records.engine.pool
    before = pool.checkedout()  # type: ignore[attr-defined]
    held = [service.call("GET", "/audit/export", OPERATOR, buffered=False) for _ in range(5)]
    taken = pool.checkedout() - before  # type: ignore[attr-defined]
    for one in held:
        one.close()
    assert taken == 0


def test_a_token_of_an_unregistered_directory_is_refused_with_its_own_reason(service: Service) -> None:
    stray = Persona(STAMP.subject, (Role.STAMP,), "nobody's directory")
    headers = {**tus(4, collection()), "Content-Type": OFFSET_BYTES}
    refused = service.call("POST", "/uploads", stray, headers=headers, data=b"data")
    assert (refused.status_code, refused.get_json()["reason"]) == (403, "directory-unknown")
    mixed = stray.with_roles(Role.STAMP, Role.OPERATOR)
    for path in ("/cases", "/bundles", "/stamps", "/audit/entries", f"/cases/{CASE}"):
        assert service.call("GET", path, mixed).status_code == 403, path
    assert service.done("GET", "/bundles", OPERATOR)["items"] == []
    assert service.entries(action="caller.refused")[0]["reason"] == "directory-unknown"


def test_what_a_client_lost_is_not_taken_for_everything(service: Service) -> None:
    """null for the bundles of a consent, or for a link's address, is neither `all of them` nor `everywhere`."""
    later = rfc3339(service.clock.now() + timedelta(days=1))
    consent = {"partner": "contoso", "expires_at": later, "bundles": None}
    assert service.call("POST", f"/cases/{CASE}/consents", OPERATOR, json=consent).status_code == 422
    link = {"expires_at": later, "ip": None}
    assert service.call("POST", f"/cases/{CASE}/upload-links", OPERATOR, json=link).status_code == 422
