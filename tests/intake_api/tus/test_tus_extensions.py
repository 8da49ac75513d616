"""The extensions of tus through the door: checksum, concatenation, a length told later, renewed expiry."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import google_crc32c
import pytest
from werkzeug.test import TestResponse

from tests.service import (
    AUDITOR,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    OTHER_STAMP,
    STAMP,
    Persona,
    Service,
    collection,
    pack,
)

V = {"Tus-Resumable": "1.0.0"}
PACKED = pack(collection().items())


def post(service: Service, who: Persona = STAMP, data: bytes = b"", **headers: str) -> TestResponse:
    """A creation; header names with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if data:
        sent["Content-Type"] = OFFSET_BYTES
    return service.call("POST", "/uploads", who, headers={**V, **sent}, data=data)


def patch(service: Service, location: str, at: int, data: bytes, **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    head = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": str(at), **sent}
    length = {"CONTENT_LENGTH": str(len(data))}  # werkzeug's client leaves a zero out
    return service.call("PATCH", location, STAMP, headers=head, data=data, environ_overrides=length)


def head(service: Service, location: str, who: Persona = STAMP) -> TestResponse:
    return service.call("HEAD", location, who, headers=V)


def created(response: TestResponse) -> str:
    assert response.status_code == 201, response.data
    return response.headers["Location"]


def id_of(location: str) -> str:
    return location.rsplit("/", 1)[1]


def partial(service: Service, data: bytes) -> str:
    return created(post(service, data=data, Upload_Concat="partial", Upload_Length=str(len(data))))


def final(service: Service, parts: Iterable[str], who: Persona = STAMP, packed: str = PACKED) -> TestResponse:
    return post(service, who, Upload_Concat="final;" + " ".join(parts), Upload_Metadata=packed)


def sealed(service: Service, location: str) -> bytes:
    """What the service reads back of a bundle."""
    service.tick()
    service.grant()
    return service.call("GET", f"/bundles/{id_of(location)}/content", ENGINEER).data


def announced(service: Service, size: int) -> str:
    return created(post(service, Upload_Length=str(size), Upload_Metadata=PACKED))


def checksum(algorithm: str, data: bytes) -> str:
    sums = {
        "sha1": lambda: hashlib.sha1(data).digest(),  # noqa: S324 - as clients send it
        "sha256": lambda: hashlib.sha256(data).digest(),
        "crc32c": lambda: google_crc32c.value(data).to_bytes(4, "big"),
    }
    return f"{algorithm} {base64.b64encode(sums[algorithm]()).decode()}"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "crc32c"])
def test_a_wrong_sum_keeps_nothing_of_its_request_and_a_right_one_all(
    service: Service, algorithm: str
) -> None:
    location = announced(service, 10)
    patch(service, location, 0, b"0123")
    wrong = patch(service, location, 4, b"4567", Upload_Checksum=checksum(algorithm, b"4568"))
    assert (wrong.status_code, wrong.status) == (460, "460 Checksum Mismatch")
    assert wrong.get_json()["offset"] == 4
    assert head(service, location).headers["Upload-Offset"] == "4"
    assert len(service.custody.objects.list_parts(id_of(location))) == 1
    assert (
        patch(service, location, 4, b"456789", Upload_Checksum=checksum(algorithm, b"456789")).status_code
        == 204
    )
    assert sealed(service, location) == b"0123456789"


def test_the_known_answer_of_crc32c_is_taken(service: Service) -> None:
    location = announced(service, 9)  # RFC 3720 appendix B.4's generator, the usual check value
    value = base64.b64encode(bytes.fromhex("e3069283")).decode()
    assert patch(service, location, 0, b"123456789", Upload_Checksum=f"crc32c {value}").status_code == 204


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("md5 1B2M2Y8AsgTpgAmY7PhCfg==", "checksum-algorithm"),
        ("", "checksum-algorithm"),
        ("SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "checksum-algorithm"),
        ("sha1", "checksum-malformed"),
        ("sha1 !", "checksum-malformed"),
        ("sha256 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "checksum-malformed"),
    ],
)
def test_a_checksum_that_is_none_is_refused_before_bytes_count(
    service: Service, text: str, reason: str
) -> None:
    location = announced(service, 4)
    response = patch(service, location, 0, b"0123", Upload_Checksum=text)
    assert (response.status_code, response.get_json()["reason"]) == (400, reason)
    assert head(service, location).headers["Upload-Offset"] == "0"


def test_a_request_cut_short_under_a_checksum_keeps_nothing(service: Service) -> None:
    location = announced(service, 10)
    sent = {
        **V,
        "Content-Type": OFFSET_BYTES,
        "Upload-Offset": "0",
        "Upload-Checksum": checksum("sha1", b"0123"),
    }
    length = {"CONTENT_LENGTH": "8"}
    response = service.call("PATCH", location, STAMP, headers=sent, data=b"0123", environ_overrides=length)
    assert (response.status_code, response.get_json()["offset"]) == (400, 0)
    assert head(service, location).headers["Upload-Offset"] == "0"


def test_a_wrong_sum_with_the_creation_leaves_an_empty_upload(service: Service) -> None:
    wrong = post(
        service,
        data=b"0123",
        Upload_Length="4",
        Upload_Metadata=PACKED,
        Upload_Checksum=checksum("sha1", b"x"),
    )
    assert wrong.status_code == 460
    assert head(service, wrong.headers["Location"]).headers["Upload-Offset"] == "0"


def test_partial_uploads_become_one_bundle_and_are_erased(service: Service) -> None:
    pieces = [b"first ", b"", b"second ", b"third"]
    parts = [partial(service, piece) for piece in pieces]
    for part in parts:
        assert head(service, part).headers["Upload-Concat"] == "partial"
    absolute = [parts[0], parts[1], "http://localhost" + parts[2], parts[3]]
    location = created(final(service, absolute))
    told = head(service, location).headers
    assert told["Upload-Concat"] == "final;" + " ".join(parts)
    assert told["Upload-Length"] == told["Upload-Offset"] == str(len(b"".join(pieces)))
    assert [head(service, part).status_code for part in parts] == [410] * 4
    assert sealed(service, location) == b"".join(pieces)
    for part in parts:
        assert service.custody.objects.remains(id_of(part)) == service.custody.keys.remains(id_of(part)) == []
    (received,) = service.entries(action="bundle.received", bundle=id_of(location))
    assert received["details"]["partials"] == [id_of(part) for part in parts]


def test_the_same_final_upload_asked_for_again_is_the_same(service: Service) -> None:
    parts = [partial(service, b"a"), partial(service, b"b")]
    first, second = created(final(service, parts)), created(final(service, parts))
    assert first == second
    reason = final(service, reversed(parts))
    assert reason.status_code == 410  # they are used, and on their way out


def test_a_partial_upload_is_no_bundle(service: Service) -> None:
    part = id_of(partial(service, b"bytes"))
    service.tick()
    for who in (STAMP, OPERATOR, ENGINEER, AUDITOR):
        assert service.done("GET", "/bundles", who)["items"] == []
        for path in (f"/bundles/{part}", f"/bundles/{part}/content", f"/bundles/{part}/receipt"):
            assert service.call("GET", path, who).status_code == 404
    assert service.call("POST", f"/bundles/{part}/claim", ENGINEER, json={"case": "1"}).status_code == 404
    for who in (ENGINEER, AUDITOR, OTHER_STAMP):
        assert head(service, f"/uploads/{part}", who).status_code == 404
    assert head(service, f"/uploads/{part}", OPERATOR).status_code == 200


def test_what_is_not_ready_or_not_ours_is_not_concatenated(service: Service) -> None:
    ready = partial(service, b"ready")
    short = created(post(service, Upload_Concat="partial", Upload_Length="9"))
    bundle = announced(service, 3)
    for parts, reason in (([ready, short], "partial-incomplete"), ([ready, bundle], "not-partial")):
        response = final(service, parts)
        assert (response.status_code, response.get_json()["reason"]) == (409, reason)
    assert final(service, [ready, ready]).status_code == 422
    assert final(service, [ready, "/uploads/bun_unknown"]).status_code == 404
    theirs = pack(collection(case="260101000000002").items())
    assert final(service, [ready], OTHER_STAMP, theirs).status_code == 404
    assert final(service, [ready], packed=pack({"filename": "x"}.items())).status_code == 422
    assert created(final(service, [ready]))


def test_nobody_writes_to_a_final_upload(service: Service) -> None:
    location = created(final(service, [partial(service, b"whole")]))
    response = patch(service, location, 5, b"")
    assert (response.status_code, response.get_json()["reason"]) == (403, "final-upload")


def test_an_operator_sends_partial_uploads_in_a_stamps_name(service: Service) -> None:
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    named = pack([("stamp", stamp["id"])])
    assert post(service, OPERATOR, Upload_Concat="partial", Upload_Length="1").status_code == 403
    part = created(
        post(service, OPERATOR, b"1", Upload_Concat="partial", Upload_Length="1", Upload_Metadata=named)
    )
    packed = pack(collection(stamp=stamp["id"]).items())
    assert sealed(service, created(final(service, [part], OPERATOR, packed))) == b"1"


def test_a_partial_upload_that_nobody_uses_expires_complete_or_not(service: Service) -> None:
    whole, short = (
        partial(service, b"whole"),
        created(post(service, Upload_Concat="partial", Upload_Length="9")),
    )
    service.advance(timedelta(days=7))
    assert [head(service, one).status_code for one in (whole, short)] == [410, 410]
    assert final(service, [whole]).status_code == 410
    report = service.tick()
    assert (report.expired, report.erased) == (2, 2)
    assert service.custody.objects.remains(id_of(whole)) == []


def test_a_partial_upload_is_given_up_also_when_it_is_complete(service: Service) -> None:
    part = partial(service, b"whole")
    assert service.call("DELETE", part, STAMP, headers=V).status_code == 204
    assert final(service, [part]).status_code == 410


def test_a_length_told_later_bounds_and_completes_the_upload(service: Service) -> None:
    location = created(post(service, Upload_Defer_Length="1", Upload_Metadata=PACKED))
    told = head(service, location).headers
    assert told["Upload-Defer-Length"] == "1" and "Upload-Length" not in told
    patch(service, location, 0, b"0123")
    bundle = service.done("GET", f"/bundles/{id_of(location)}", OPERATOR)
    assert (bundle["size"], bundle["offset"], bundle["state"]) == (None, 4, "receiving")
    service.tick()
    below = patch(service, location, 4, b"", Upload_Length="3")
    assert (below.status_code, below.get_json()["reason"]) == (409, "length-below-offset")
    assert patch(service, location, 4, b"4567", Upload_Length="6").status_code == 413
    assert patch(service, location, 4, b"45", Upload_Length="8").status_code == 204
    told = head(service, location).headers
    assert told["Upload-Length"] == "8" and "Upload-Defer-Length" not in told
    again = patch(service, location, 6, b"6", Upload_Length="9")
    assert (again.status_code, again.get_json()["reason"]) == (409, "length-known")
    assert patch(service, location, 6, b"67", Upload_Length="8").status_code == 204
    assert sealed(service, location) == b"01234567"


def test_a_length_can_be_told_with_no_more_bytes(service: Service) -> None:
    location = created(post(service, Upload_Defer_Length="1", Upload_Metadata=PACKED))
    patch(service, location, 0, b"0123")
    assert patch(service, location, 4, b"", Upload_Length="4").status_code == 204
    assert sealed(service, location) == b"0123"


def test_an_upload_of_unknown_length_expires_with_or_without_bytes(service: Service) -> None:
    empty, begun = (created(post(service, Upload_Defer_Length="1", Upload_Metadata=PACKED)) for _ in range(2))
    patch(service, begun, 0, b"0123")
    service.tick()  # none is taken for complete
    service.advance(timedelta(days=7))
    assert service.tick().expired == 2
    assert [head(service, one).status_code for one in (empty, begun)] == [410, 410]


def expires(response: TestResponse) -> datetime:
    return parsedate_to_datetime(response.headers["Upload-Expires"])


def test_every_request_that_writes_renews_the_expiry_up_to_a_cap(service: Service) -> None:
    location = announced(service, 100)
    begun = service.clock.now()
    for day in range(5, 41, 5):
        service.advance(timedelta(days=5))
        response = patch(service, location, day // 5 - 1, b"x")
        if day >= 30:
            break
        due = min(service.clock.now() + timedelta(days=7), begun + timedelta(days=30))
        assert response.status_code == 204
        assert abs(expires(response) - due) < timedelta(minutes=1)
        assert expires(head(service, location)) == expires(response)
    assert (response.status_code, day) == (410, 30)


def test_a_bundle_that_was_received_expires_no_more(service: Service) -> None:
    location = announced(service, 4)
    assert "Upload-Expires" not in patch(service, location, 0, b"0123").headers
    assert "Upload-Expires" not in head(service, location).headers
