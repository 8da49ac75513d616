"""What a creation is given back: Upload-Metadata as the client wrote it, and a Location that any client understands."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from werkzeug.test import TestResponse

from audit.log.tables import audit_entries
from retention.records.tables import bundles
from tests.service import OFFSET_BYTES, OPERATOR, STAMP, Service, collection, pack, proactive, tus

V = {"Tus-Resumable": "1.0.0"}


def create(service: Service, metadata: str, **headers: str) -> TestResponse:
    sent = {"Upload-Length": "4", **headers, "Upload-Metadata": metadata}
    return service.call("POST", "/uploads", STAMP, headers={**V, **sent})


def given_back(service: Service, created: TestResponse) -> str | None:
    assert created.status_code == 201, created.data
    return service.call("HEAD", created.headers["Location"], STAMP, headers=V).headers.get("Upload-Metadata")


@pytest.mark.parametrize(
    "more",
    [
        "myOwnKey a2VwdA==",
        "is_confidential",
        "sum " + base64.b64encode(b"\xff\x00 not text").decode(),
        "filetype YQ==,name Yg==,relativePath bnVsbA==",
        "case-of-Wine YQ== , other  YQ==",
    ],
)
def test_it_comes_back_as_the_client_gave_it(service: Service, more: str) -> None:
    packed = f"{more},{pack(collection().items())}"
    assert given_back(service, create(service, packed)) == packed


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"own-[!-+\--~]{1,12}", fullmatch=True), st.binary(max_size=40), max_size=12
    ),
    st.data(),
)
def test_any_pairs_in_any_order_come_back(
    service: Service, own: dict[str, bytes], data: st.DataObject
) -> None:
    pairs = [pack([one]) for one in collection().items()]
    pairs += [f"{key} {base64.b64encode(value).decode()}".strip() for key, value in own.items()]
    packed = ",".join(data.draw(st.permutations(pairs)))
    assert given_back(service, create(service, packed)) == packed


def test_a_partial_upload_has_its_own_and_the_final_one_that_of_its_creation(service: Service) -> None:
    part = create(service, "a YQ==", **{"Upload-Concat": "partial"})
    assert given_back(service, part) == "a YQ=="
    bare = service.call(
        "POST", "/uploads", STAMP, headers={**V, "Upload-Length": "4", "Upload-Concat": "partial"}
    )
    assert given_back(service, bare) is None
    sent = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": "0"}
    service.call("PATCH", part.headers["Location"], STAMP, headers=sent, data=b"0123")
    packed = f"b YQ==,{pack(collection().items())}"
    concat = {**V, "Upload-Concat": f"final;{part.headers['Location']}", "Upload-Metadata": packed}
    final = service.call("POST", "/uploads", STAMP, headers=concat)
    assert given_back(service, final) == packed


def test_a_bundle_that_came_in_one_piece_gives_back_what_it_declared(service: Service) -> None:
    declared = collection(sha256="ab" * 32)
    name = declared.pop("filename")
    sent = service.done("PUT", f"/bundles/{name}", STAMP, query_string=declared, data=b"0123")
    head = service.call("HEAD", f"/uploads/{sent['id']}", STAMP, headers=V)
    packed = head.headers["Upload-Metadata"]
    told = dict(pair.split(" ") for pair in packed.split(","))
    assert base64.b64decode(told["filename"]).decode() == name
    assert {"type", "logs_start", "logs_end", "time_collected", "roles", "sha256"} <= set(told)


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (",".join(f"k{n} YQ==" for n in range(65)), "at most 64 pairs"),
        ("k " + "YWFh" * 5000, "at most 16384 characters"),
        ("k YQ==,k YQ==", "once"),
        ("k Y", "base64"),
    ],
)
def test_what_is_past_the_bound_is_refused_and_the_bound_is_told(
    service: Service, packed: str, told: str
) -> None:
    refused = create(service, f"{packed},{pack(collection().items())}")
    assert (refused.status_code, told in refused.get_json()["errors"]["Upload-Metadata"]) == (422, True)


def test_a_known_key_must_be_text(service: Service) -> None:
    refused = create(service, "sha256 /w==," + pack(collection().items()))
    assert refused.status_code == 422
    assert "sha256" in refused.get_json()["errors"]["Upload-Metadata"]


def test_a_media_type_as_uppy_sets_it_does_no_harm_where_the_collections_type_has_its_own_key(
    service: Service,
) -> None:
    declared = {
        **collection(**proactive()),
        "type": "application/zip",
        "name": "a.zip",
        "relativePath": "null",
    }
    told = create(service, pack({**declared, "collection_type": "proactive"}.items()))
    id_ = told.headers["Location"].rsplit("/", 1)[1]
    assert service.done("GET", f"/bundles/{id_}", OPERATOR)["type"] == "proactive"
    refused = create(service, pack(declared.items()))
    assert refused.status_code == 422
    assert "collection_type" in refused.get_json()["errors"]["type"]


def test_preflight_says_of_own_keys_what_the_creation_says(service: Service) -> None:
    asked = {**collection(), "myOwnKey": "a", "relativePath": None, "size": 4}
    assert service.done("POST", "/uploads/preflight", STAMP, json=asked)["accepted"] is True


def test_it_goes_with_the_bundle_and_was_never_in_the_log(service: Service) -> None:
    secret = "name-of-a-patient"
    id_ = (
        create(service, pack({**collection(), secret: secret}.items())).headers["Location"].rsplit("/", 1)[1]
    )
    of = select(bundles.c.upload_metadata).where(bundles.c.id == id_)
    with service.custody.records.read() as reads:
        assert secret in reads.execute(of).scalar_one()
        logged = reads.execute(select(audit_entries)).all()
    packed = base64.b64encode(secret.encode()).decode()
    assert not any(text in repr(logged) for text in (secret, packed))
    service.done("POST", f"/bundles/{id_}/erasures", OPERATOR, json={})
    service.tick()
    with service.custody.records.read() as reads:
        assert reads.execute(of).scalar_one() is None


@pytest.mark.parametrize(
    ("origin", "host", "begins"),
    [
        ("https://vault.example.com", "10.0.0.7:8443", "https://vault.example.com/uploads/"),
        (None, "127.0.0.1:8443", "https://127.0.0.1:8443/uploads/"),
        (None, "[::1]:8443", "https://[::1]:8443/uploads/"),
        (None, "vault.example.com:8443", "/uploads/"),
        (None, "localhost", "/uploads/"),
    ],
)
def test_the_location_is_absolute_where_the_origin_is_known(
    tmp_path: Path, origin: str | None, host: str, begins: str
) -> None:
    with Service(tmp_path, origin=origin) as service:
        service.set_up()
        headers = {**tus(4, collection()), "Host": host}
        assert service.call("POST", "/uploads", STAMP, headers=headers).headers["Location"].startswith(begins)
