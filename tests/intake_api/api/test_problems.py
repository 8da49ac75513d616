"""Every row of the table of problems, reached through the door."""

from __future__ import annotations

import errno
import io
import logging
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from intake_api.api.problem_codes import PROBLEMS
from intake_api.http.pump import least_ask
from intake_api.http.seats import SEAT, Holder, Kind, Seat, SeatPlan, Seats
from retention.archive import PROCESS
from retention.custody.context import PATIENCE, Limits
from retention.domain.faults import Unavailable
from retention.envelope.format import KeyFileRefused
from retention.objects.store_errors import KeyDestroyed, StoreFull, StoreUnavailable
from tests.service import (
    CASE,
    CASE_SYSTEM,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    OTHER_OPERATOR,
    STAMP,
    Service,
    collection,
    tus,
)

Trigger = Callable[[Service, pytest.MonkeyPatch], TestResponse]
STALL_SECONDS = 0.3
PATCH_HEADERS = {"Tus-Resumable": "1.0.0", "Content-Type": OFFSET_BYTES, "Upload-Offset": "0"}


class Silent:
    """A client that sends its first bytes, then nothing more, and keeps the line open."""

    def __init__(self) -> None:
        self._begun = False

    def read(self, size: int, /) -> bytes:
        if self._begun:
            threading.Event().wait(1.5)  # longer than the service waits here
            return b""
        self._begun = True
        return b"0" * size


def announced(service: Service, size: int = 10) -> str:
    response = service.call("POST", "/uploads", STAMP, headers=tus(size, collection()))
    return response.headers["Location"]


def patch(service: Service, location: str, data: bytes = b"0123456789", **headers: str) -> TestResponse:
    return service.call("PATCH", location, STAMP, headers={**PATCH_HEADERS, **headers}, data=data)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def no_archive(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    bundle = service.complete(b"plain text, no archive")
    service.grant()
    return service.call("GET", f"/bundles/{bundle}/files", ENGINEER)


def file_in(archive: bytes, path: str) -> Trigger:
    def trigger(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
        bundle = service.complete(archive)
        service.grant()
        return service.call("GET", f"/bundles/{bundle}/files{path}", ENGINEER)

    return trigger


def zipped(*names: str, method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name in names:
            archive.writestr(name, "content")
    return packed.getvalue()


def swollen() -> bytes:
    """A tar with a header that is longer than is read."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.log")
        member.pax_headers = {"comment": "x" * 40_000}
        archive.addfile(member)
    return packed.getvalue()


def without_memory(service: Service, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    """A reader that needs a decoder's memory, while others hold all of it."""
    lease = PROCESS.need(PROCESS.most - PROCESS.held, "a test")
    try:
        return file_in(zipped("a.log", method=zipfile.ZIP_BZIP2), "/a.log")(service, monkeypatch)
    finally:
        lease.release()


def patch_from(service: Service, body: object, size: int = 10) -> TestResponse:
    """A PATCH that announces `size` bytes and sends what `body` gives."""
    environ = {"wsgi.input": body, "CONTENT_LENGTH": str(size)}
    location = announced(service, size)
    return service.call("PATCH", location, STAMP, headers=PATCH_HEADERS, environ_overrides=environ)


def stalled(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    object.__setattr__(
        service.door, "stall_seconds", STALL_SECONDS
    )  # frozen; the tests elsewhere wait longer
    return patch_from(service, Silent(), 100_000)


def cut(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    return patch_from(service, io.BytesIO(b"0123"))


def busy(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    seats = Seats(SeatPlan(uploads=1))
    seats.take(Kind.UPLOAD, Holder())
    return service.call(
        "PATCH",
        announced(service),
        STAMP,
        headers=PATCH_HEADERS,
        data=b"0123456789",
        environ_overrides={SEAT: Seat(seats)},
    )


def taken_over(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    class Overtaken(io.BytesIO):
        """While this body is read, another request begins to write."""

        def read(self, size: int | None = -1, /) -> bytes:
            service.services.uploads.stop_all()
            return b"0" * (size or 0)

    return patch_from(service, Overtaken())


def erased(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    bundle = service.complete()
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    return service.call("GET", f"/bundles/{bundle}/content", ENGINEER)


def seal_broken(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    bundle = service.complete(b"x" * 1000)
    service.grant()
    stored = (path for path in service.settings.objects_folder.rglob("*") if path.is_file())
    (part,) = [path for path in stored if not path.name.startswith("mft_")]  # beside it: the manifest
    damage(part)
    return service.call("GET", f"/bundles/{bundle}/content", ENGINEER)


def damage(part: Path) -> None:
    part.chmod(0o600)
    raw = bytearray(part.read_bytes())
    raw[-20] ^= 1
    part.write_bytes(raw)


def unsatisfiable(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    bundle = service.complete(b"x" * 10)
    service.grant()
    return service.call("GET", f"/bundles/{bundle}/content", ENGINEER, headers={"Range": "bytes=10-"})


def past_quota(service: Service, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    bounded = replace(service.custody, limits=Limits(stamp_quota=9))
    monkeypatch.setattr("intake_api.api.routes.uploads.custody", lambda: bounded)
    return service.call("POST", "/uploads", STAMP, headers=tus(10, collection()))


def store_full(service: Service, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    location = announced(service)
    monkeypatch.setattr(service.custody.objects, "new_part", failing(StoreFull("full")))
    return patch(service, location)


def unavailable(service: Service, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    location = announced(service)
    monkeypatch.setattr(service.custody.objects, "new_part", failing(StoreUnavailable("down")))
    return patch(service, location)


def refused_too_often(service: Service, _: pytest.MonkeyPatch) -> TestResponse:
    for _again in range(PATIENCE):
        service.call("GET", "/stamps/stp_none", OPERATOR)
    return service.call("GET", "/stamps/stp_none", OPERATOR)


def internal(service: Service, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    monkeypatch.setattr(
        "retention.custody.access.manage_stamps.list_stamps", failing(RuntimeError("the-secret"))
    )
    return service.call("GET", "/stamps", OPERATOR)


TRIGGERS: dict[str, Trigger] = {
    "malformed": lambda s, _: s.call("POST", "/stamps", OPERATOR, data=b"{", content_type="application/json"),
    "incomplete-body": cut,
    "unauthenticated": lambda s, _: s.call("GET", "/stamps"),
    "refused": lambda s, _: s.call("POST", f"/cases/{CASE}/close", OPERATOR, json={}),
    "not-found": lambda s, _: s.call("GET", "/stamps/stp_none", OPERATOR),
    "no-such-file": file_in(zipped("a.log"), "/b.log"),
    "method-not-allowed": lambda s, _: s.call("PUT", "/stamps", OPERATOR),
    "request-timeout": stalled,
    "conflict": lambda s, _: s.call("POST", f"/cases/{CASE}/reopen", CASE_SYSTEM, json={}),
    "offset-mismatch": lambda s, _: patch(s, announced(s), b"01", **{"Upload-Offset": "3"}),
    "upload-taken-over": taken_over,
    "erased": erased,
    "length-required": lambda s, _: s.call(
        "POST", "/stamps", OPERATOR, headers={"Transfer-Encoding": "chunked"}
    ),
    "checksum-mismatch": lambda s, _: patch(s, announced(s), b"01", **{"Upload-Checksum": "crc32c AAAAAA=="}),
    "tus-version": lambda s, _: patch(s, announced(s), **{"Tus-Resumable": "0.2.2"}),
    "too-large": lambda s, _: patch(s, announced(s), b"0" * 11),
    "quota-exceeded": past_quota,
    "uri-too-long": lambda s, _: s.call("GET", f"/audit/entries?actor={'a' * 8192}", OPERATOR),
    "unsupported-media-type": lambda s, _: patch(s, announced(s), **{"Content-Type": "text/plain"}),
    "unsatisfiable-range": unsatisfiable,
    "invalid": lambda s, _: s.call("POST", "/stamps", OPERATOR, json={"name": "", "colour": "red"}),
    "not-an-archive": no_archive,
    "file-not-readable": file_in(zipped("../up.log"), "/..%2Fup.log"),
    "archive-damaged": file_in(b"PK\3\4" + bytes(10), ""),
    "archive-split": file_in(b"PK\7\x08" + zipped("a.log")[:20], ""),
    "archive-busy": without_memory,
    "archive-too-large": file_in(swollen(), ""),
    "too-many-refusals": refused_too_often,
    "internal": internal,
    "seal-broken": seal_broken,
    "unavailable": unavailable,
    "store-full": store_full,
    "busy": busy,
}


def test_every_problem_has_its_trigger_here() -> None:
    assert set(TRIGGERS) == set(PROBLEMS)


@pytest.mark.parametrize("code", TRIGGERS)
def test_each_problem_is_reached_and_told_in_the_same_form(
    service: Service, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    response = TRIGGERS[code](service, monkeypatch)
    body = response.get_json()
    assert body["type"] == f"/problems/{code}", body
    assert response.status_code == body["status"] == PROBLEMS[code].status
    assert response.mimetype == "application/problem+json"
    assert body["title"] == PROBLEMS[code].title
    assert body["detail"]
    assert body["instance"].startswith("/")
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert (response.headers.get("Retry-After") is None) == (response.status_code not in (429, 503))
    monkeypatch.undo()
    page = service.call("GET", body["type"])
    assert page.mimetype == "text/html" and code in page.get_data(as_text=True)


def test_an_unexpected_error_tells_nobody_its_text(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = internal(service, monkeypatch)
    assert "the-secret" not in response.get_data(as_text=True) + caplog.text
    assert response.headers["X-Request-Id"] in caplog.text
    assert "RuntimeError" in caplog.text and "stamps.py" in caplog.text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "no space"), "store-full"),
        (OSError(errno.EIO, "input/output"), "internal"),
        (OperationalError("", {}, Exception("database or disk is full")), "store-full"),
        (OperationalError("", {}, Exception("database is locked")), "unavailable"),
        (Unavailable("later"), "unavailable"),
        (KeyFileRefused("the key file /secret/path is missing"), "unavailable"),
        (KeyDestroyed("gone"), "erased"),
        (KeyError("the-secret"), "internal"),
    ],
)
def test_a_fault_below_is_told_without_its_text(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    monkeypatch.setattr("retention.custody.access.manage_stamps.list_stamps", failing(error))
    response = service.call("GET", "/stamps", OPERATOR)
    assert response.get_json()["type"] == f"/problems/{code}"
    assert "secret" not in response.get_data(as_text=True)


def test_what_came_before_a_stall_or_a_cut_is_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for trigger, kept in ((cut, 4), (stalled, least_ask(STALL_SECONDS))):
        body = trigger(service, monkeypatch).get_json()
        assert body["offset"] == kept
        headers = {"Tus-Resumable": "1.0.0"}
        response = service.call("HEAD", f"/uploads/{body['bundle']}", STAMP, headers=headers)
        assert response.headers["Upload-Offset"] == str(kept)


def test_a_wrong_field_is_named_with_what_to_do(service: Service) -> None:
    errors = TRIGGERS["invalid"](service, pytest.MonkeyPatch()).get_json()["errors"]
    assert set(errors) == {"name", "subject", "colour"}


def test_a_range_outside_is_told_the_size(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unsatisfiable(service, monkeypatch).headers["Content-Range"] == "bytes */10"


def test_a_method_that_is_not_taken_is_told_those_that_are(service: Service) -> None:
    allowed = service.call("PUT", "/stamps", OPERATOR).headers["Allow"]
    assert {"GET", "POST"} <= set(allowed.split(", "))


def test_a_tombstone_tells_when_and_why(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    body = erased(service, monkeypatch).get_json()
    assert (body["state"], body["cause"]) == ("erased", "customer-request")
    assert body["erased_at"].endswith("Z")


def test_bodies_beside_uploads_are_small(service: Service) -> None:
    response = service.call("POST", "/stamps", OPERATOR, json={"name": "x" * (1 << 20), "subject": "y"})
    assert (response.status_code, response.get_json()["limit"]) == (413, 1 << 20)


@pytest.mark.parametrize("length", ["-1", "ten", "1" * 30])
def test_a_content_length_that_is_no_number_is_malformed(service: Service, length: str) -> None:
    response = service.call("GET", "/stamps", OPERATOR, environ_overrides={"CONTENT_LENGTH": length})
    assert response.get_json()["type"] == "/problems/malformed"


@pytest.mark.parametrize("data", [b"\xff\xfe", b'{"name": ', b"[1,]"])
def test_a_body_that_is_not_json_is_malformed(service: Service, data: bytes) -> None:
    response = service.call("POST", "/stamps", OPERATOR, data=data, content_type="application/json")
    assert response.status_code == 400


def test_json_under_another_type_is_refused(service: Service) -> None:
    response = service.call("POST", "/stamps", OPERATOR, data=b"{}", content_type="text/plain")
    assert response.status_code == 415


def test_every_answer_forbids_caching_and_sniffing_and_names_no_software(service: Service) -> None:
    for response in (
        service.call("GET", "/healthz"),
        service.call("GET", "/nowhere"),
        service.call("GET", "/stamps"),
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert "Server" not in response.headers


@pytest.mark.parametrize("other", ["name", "subject"])
def test_a_name_cannot_hold_what_cannot_be_stored_or_shown(service: Service, other: str) -> None:
    for hostile in ("a\ud800b", "a\x00b", "a\nb"):
        body = {"name": "n", "subject": "s", other: hostile}
        response = service.call("POST", "/stamps", OTHER_OPERATOR, json=body)
        assert response.status_code == 422 and set(response.get_json()["errors"]) == {other}
