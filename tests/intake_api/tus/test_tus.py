"""Resumable uploads through the door, as a tus client sees them."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from intake_api.tus.protocol import parse_metadata
from retention.custody.context import Limits
from tests.service import (
    AUDITOR,
    CASE,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    OTHER_STAMP,
    STAMP,
    Persona,
    Service,
    collection,
    proactive,
    tus,
)

V = {"Tus-Resumable": "1.0.0"}


def create(service: Service, size: int, who: Persona = STAMP, **declared: str) -> TestResponse:
    return service.call("POST", "/uploads", who, headers=tus(size, collection(**declared)))


def patch(service: Service, location: str, offset: int, data: bytes, who: Persona = STAMP) -> TestResponse:
    headers = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": str(offset)}
    return service.call("PATCH", location, who, headers=headers, data=data)


def offset_of(service: Service, location: str) -> int:
    return int(service.call("HEAD", location, STAMP, headers=V).headers["Upload-Offset"])


def test_the_server_says_what_it_speaks(service: Service) -> None:
    response = service.call("OPTIONS", "/uploads", STAMP)
    assert response.status_code == 204
    assert response.headers["Tus-Version"] == "1.0.0"
    extensions = set(response.headers["Tus-Extension"].split(","))
    assert extensions == {
        *("creation", "creation-with-upload", "creation-defer-length"),
        *("termination", "expiration", "checksum", "concatenation"),
    }
    assert response.headers["Tus-Checksum-Algorithm"].split(",") == ["sha1", "sha256", "crc32c"]
    assert response.headers["Tus-Max-Size"] == "68719476736"  # 64 GiB, as the documents say


def test_an_empty_upload_is_complete_with_its_creation(service: Service) -> None:
    created = create(service, 0)
    assert (created.status_code, created.headers["Upload-Offset"]) == (201, "0")
    assert "Upload-Expires" not in created.headers
    service.tick()
    id_ = created.headers["Location"].rsplit("/", 1)[1]
    bundle = service.done("GET", f"/bundles/{id_}", OPERATOR)
    assert (bundle["state"], bundle["size"]) == ("complete", 0)
    assert bundle["sha256"] == hashlib.sha256(b"").hexdigest()
    receipt = service.done("GET", f"/bundles/{id_}/receipt", OPERATOR)["receipt"]
    assert (receipt["size"], receipt["sha256"]) == (0, bundle["sha256"])
    assert offset_of(service, created.headers["Location"]) == 0


def test_a_length_told_later_can_be_none_at_all(service: Service) -> None:
    headers = {**tus(0, collection()), "Upload-Defer-Length": "1"}
    del headers["Upload-Length"]
    location = service.call("POST", "/uploads", STAMP, headers=headers).headers["Location"]
    told = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "0", "Upload-Length": "0"}
    sent = service.call("PATCH", location, STAMP, headers=told, environ_overrides={"CONTENT_LENGTH": "0"})
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, "0")
    service.tick()
    bundle = service.done("GET", f"/bundles/{location.rsplit('/', 1)[1]}", OPERATOR)
    assert (bundle["state"], bundle["size"]) == ("complete", 0)


def test_an_upload_is_created_sent_and_complete(service: Service) -> None:
    created = create(service, 10)
    location = created.headers["Location"]
    assert (created.status_code, created.headers["Upload-Offset"]) == (201, "0")
    expires = parsedate_to_datetime(created.headers["Upload-Expires"])
    assert abs(expires - (service.clock.now() + timedelta(days=7))) < timedelta(minutes=1)
    sent = patch(service, location, 0, b"0123456789")
    assert (sent.status_code, sent.headers["Upload-Offset"], sent.data) == (204, "10", b"")
    service.tick()
    bundle = service.done("GET", f"/bundles/{location.rsplit('/', 1)[1]}", OPERATOR)
    assert (bundle["state"], bundle["size"], bundle["case"]) == ("complete", 10, CASE)
    assert offset_of(service, location) == 10


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=4000), st.data())
def test_any_way_of_cutting_a_bundle_gives_the_same_bundle(
    service: Service, content: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(content)), max_size=4)))
    location = create(service, len(content)).headers["Location"]
    at = 0
    for end in [*cuts, len(content)]:
        assert offset_of(service, location) == at
        response = patch(service, location, at, content[at:end])
        if at < len(content):
            assert (response.status_code, response.headers["Upload-Offset"]) == (204, str(end))
        at = end
    service.tick()
    service.grant()
    path = f"/bundles/{location.rsplit('/', 1)[1]}/content"
    assert service.call("GET", path, ENGINEER).data == content


def test_the_bytes_may_come_with_the_creation(service: Service) -> None:
    headers = {**tus(10, collection()), "Content-Type": OFFSET_BYTES}
    response = service.call("POST", "/uploads", STAMP, headers=headers, data=b"01234")
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "5")
    assert patch(service, response.headers["Location"], 5, b"56789").status_code == 204


def test_more_bytes_than_announced_are_refused_before_they_move(service: Service) -> None:
    headers = {**tus(3, collection()), "Content-Type": OFFSET_BYTES}
    assert service.call("POST", "/uploads", STAMP, headers=headers, data=b"0123").status_code == 413
    location = create(service, 3).headers["Location"]
    assert patch(service, location, 0, b"0123").get_json()["room"] == 3
    assert offset_of(service, location) == 0


def test_a_bundle_past_the_limit_is_refused_at_creation(tmp_path: Path) -> None:
    with Service(tmp_path, limits=Limits(max_bundle_size=100)) as service:
        service.set_up()
        response = create(service, 101)
        assert (response.status_code, response.get_json()["limit"]) == (413, 100)
        assert create(service, 100).status_code == 201


def test_an_upload_goes_on_only_at_its_offset(service: Service) -> None:
    location = create(service, 10).headers["Location"]
    patch(service, location, 0, b"0123")
    for wrong in (0, 3, 5, 10):
        response = patch(service, location, wrong, b"45")
        assert (response.status_code, response.get_json()["offset"]) == (409, 4)
    assert offset_of(service, location) == 4


def test_a_complete_upload_takes_no_more(service: Service) -> None:
    location = create(service, 4).headers["Location"]
    patch(service, location, 0, b"0123")
    assert patch(service, location, 4, b"4").status_code == 413
    headers = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "4"}
    empty = {"CONTENT_LENGTH": "0"}  # werkzeug's client leaves it out
    response = service.call("PATCH", location, STAMP, headers=headers, environ_overrides=empty)
    assert (response.status_code, response.get_json()["reason"]) == (409, "bundle-received")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("version", [None, "0.2.2"])
def test_every_request_names_the_version(service: Service, method: str, version: str | None) -> None:
    path = "/uploads" if method == "POST" else create(service, 3).headers["Location"]
    headers = {"Tus-Resumable": version} if version else {}
    response = service.call(method, path, STAMP, headers=headers)
    assert response.status_code == 412
    assert response.headers["Tus-Version"] == response.headers["Tus-Resumable"] == "1.0.0"


def test_a_head_tells_where_the_upload_stands_and_what_was_declared(service: Service) -> None:
    location = create(service, 10).headers["Location"]
    response = service.call("HEAD", location, STAMP, headers=V)
    assert response.status_code == 200 and response.data == b""
    assert response.headers["Upload-Length"] == "10"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Upload-Expires" in response.headers
    told = parse_metadata(response.headers["Upload-Metadata"])
    assert told["filename"] == "AzureStackLogs.zip"
    assert {"type", "logs_start", "logs_end", "time_collected", "roles"} <= set(told)


def test_a_post_can_stand_for_the_method_it_names(service: Service) -> None:
    location = create(service, 4).headers["Location"]
    headers = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    response = service.call("POST", location, STAMP, headers=headers, data=b"0123")
    assert (response.status_code, response.headers["Upload-Offset"]) == (204, "4")


def test_a_head_that_comes_as_a_post_frames_no_body(service: Service) -> None:
    response = service.call(
        "POST", "/uploads/bun_none", STAMP, headers={**V, "X-HTTP-Method-Override": "HEAD"}
    )
    assert (response.status_code, response.data, response.headers["Content-Length"]) == (404, b"", "0")
    assert "Content-Type" not in response.headers


def test_a_method_is_overridden_on_uploads_alone(service: Service) -> None:
    response = service.call("POST", "/stamps/x", OPERATOR, headers={"X-HTTP-Method-Override": "DELETE"})
    assert response.status_code == 405


def test_a_terminated_upload_is_gone_and_its_bytes_are_erased(service: Service) -> None:
    location = create(service, 10).headers["Location"]
    patch(service, location, 0, b"0123")
    assert service.call("DELETE", location, STAMP, headers=V).status_code == 204
    for response in (
        service.call("HEAD", location, STAMP, headers=V),
        patch(service, location, 4, b"4"),
        service.call("DELETE", location, STAMP, headers=V),
    ):
        assert response.status_code == 410
    service.tick()
    bundle = location.rsplit("/", 1)[1]
    stone = service.done("GET", f"/bundles/{bundle}", OPERATOR)
    assert (stone["state"], stone["erased_cause"], stone["file_name"]) == ("erased", "upload-terminated", "")
    assert service.custody.objects.remains(bundle) == []
    assert [e["details"] for e in service.entries(action="upload.terminated")] == [{"kept": 4, "size": 10}]


def test_a_bundle_that_was_received_is_not_terminated(service: Service) -> None:
    bundle = service.complete()
    response = service.call("DELETE", f"/uploads/{bundle}", STAMP, headers=V)
    assert (response.status_code, response.get_json()["reason"]) == (409, "bundle-complete")


def test_an_upload_whose_time_is_over_is_gone_even_before_the_sweep(service: Service) -> None:
    location = create(service, 10).headers["Location"]
    service.advance(timedelta(days=7))
    assert service.call("HEAD", location, STAMP, headers=V).status_code == 410
    response = patch(service, location, 0, b"0")
    assert (response.status_code, response.get_json()["state"]) == (410, "expired")


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_another_stamps_upload_is_not_there(service: Service, method: str) -> None:
    location = create(service, 10).headers["Location"]
    headers = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "0"}
    assert service.call(method, location, OTHER_STAMP, headers=headers, data=b"0").status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_who_sees_a_bundle_cannot_write_to_it(service: Service, method: str) -> None:
    location = create(service, 10).headers["Location"]
    headers = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "0"}
    for who in (ENGINEER, AUDITOR):
        assert service.call(method, location, who, headers=headers, data=b"0").status_code == 403


def test_an_operator_sends_a_saved_bundle_in_a_stamps_name(service: Service) -> None:
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    location = create(service, 4, OPERATOR, stamp=stamp["id"]).headers["Location"]
    assert patch(service, location, 0, b"0123", OPERATOR).status_code == 204


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filename", ""),
        ("filename", "a/b"),
        ("type", "sometimes"),
        ("logs_start", "yesterday"),
        ("logs_start", "2026-11-19T08:00:00"),
        ("time_collected", "0001-01-01T00:00:00+14:00"),
        ("sha256", "abc"),
        ("send_logs_now", "perhaps"),
        ("trigger", "Urp.UpdateFailure"),
        ("roles", "a\x00b"),
    ],
)
def test_a_wrong_declaration_is_named(service: Service, field: str, value: str) -> None:
    response = create(service, 10, **{field: value})
    assert response.status_code == 422, response.data
    assert {field, "file_name" if field == "filename" else field} & set(response.get_json()["errors"])


def test_a_proactive_bundle_needs_the_consent_and_a_known_trigger(service: Service) -> None:
    assert create(service, 4, **proactive()).status_code == 201
    assert create(service, 4, **proactive(trigger="Never.Heard")).status_code == 422
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    service.done("PUT", f"/stamps/{stamp['id']}/proactive-consent", OPERATOR, json={"enabled": False})
    response = create(service, 4, **proactive())
    assert (response.status_code, response.get_json()["reason"]) == (403, "no-proactive-consent")


def test_a_digest_that_was_announced_is_held_against_what_is_stored(service: Service) -> None:
    good = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"  # of 0123456789
    for sha256, state in ((good.upper(), "complete"), ("0" * 64, "damaged")):
        location = create(service, 10, sha256=sha256).headers["Location"]
        patch(service, location, 0, b"0123456789")
        service.tick()
        bundle = service.done("GET", f"/bundles/{location.rsplit('/', 1)[1]}", OPERATOR)
        assert bundle["state"] == state


def test_a_small_patch_is_two_transactions_and_a_head_none(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = create(service, 30).headers["Location"]
    patch(service, location, 0, b"0123456789")
    assert offset_of(service, location) == 10  # the first look in a while is an entry
    records = service.services.custody.records
    written, write = [], records.write
    monkeypatch.setattr(records, "write", lambda work: written.append(work) or write(work))
    assert patch(service, location, 10, b"0123456789").status_code == 204
    assert len(written) == 2
    assert offset_of(service, location) == 20
    assert len(written) == 2
