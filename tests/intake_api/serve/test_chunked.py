"""Bodies without a length, and refusals that come before a body's end: over TLS, against the real server."""

from __future__ import annotations

import hashlib
import random
import time

import pytest
import requests

from tests.intake_api.serve.serving import until

MIB = 1 << 20
LARGE = 16 * MIB
"""More than the kernels on both sides hold for a server that does not read."""


def chunked_head(service, offset, **more):
    head = {**service.patch_head(offset, 0), "Transfer-Encoding": "chunked", **more}
    del head["Content-Length"]
    return head


def chunk(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


def deferred(service):
    """A new upload whose length is told later."""
    given = service.upload(1)
    head = {"Tus-Resumable": "1.0.0", **service.bearer("stamp")}
    metadata = service.call("HEAD", given, head).headers["upload-metadata"]
    asked = {**head, "Upload-Defer-Length": 1, "Upload-Metadata": metadata}
    created = service.call("POST", "/uploads", asked)
    assert created.status == 201, created
    return created.headers["location"]


def read_back(service, upload):
    address = upload.replace("/uploads/", "/bundles/")
    shown = lambda: service.call("GET", address, service.bearer("boss")).json()  # noqa: E731
    assert until(lambda: shown()["state"] == "complete"), shown()
    return shown()


def told_by_requests(service, method, path, head, body):
    """What an ordinary client reads, that sends all of its body before it looks."""
    place = f"https://localhost:{service.port}{path}"
    return requests.request(
        method,
        place,
        headers={name: str(value) for name, value in head.items()},
        data=body,
        verify=str(service.state / "tls" / "ca.pem"),
        timeout=30,
    )


@pytest.mark.parametrize("size", [1, 65_536, 1_048_520, 3 * MIB + 7])
def test_a_chunked_body_is_taken_where_the_upload_has_a_length(service, size):
    content = random.Random(size).randbytes(size)
    upload = service.upload(size)
    with service.line() as line:
        line.begin("PATCH", upload, chunked_head(service, 0))
        for at in range(0, size, 100_000):
            line.send(chunk(content[at : at + 100_000]))
        line.send(chunk(b""))
        answer = line.answer()
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(size))
    assert read_back(service, upload)["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("end", ["finish", "reset", "malformed"])
def test_a_chunked_body_that_is_cut_is_short_and_goes_on(service, end):
    content = random.Random(end).randbytes(2 * MIB)
    upload = service.upload(len(content))
    line = service.line()
    line.begin("PATCH", upload, chunked_head(service, 0))
    line.send(chunk(content[:MIB]))
    assert until(line.is_all_read)
    if end == "malformed":
        line.send(b"no number\r\n")
        assert line.answer().headers["upload-offset"] == str(MIB)
    else:
        getattr(line, end)()
    assert service.settled_offset(upload, MIB) == MIB
    rest = content[MIB:]
    with service.line() as line:
        line.begin("PATCH", upload, chunked_head(service, MIB))
        line.send(chunk(rest) + chunk(b""))
        assert line.answer().status == 204
    assert read_back(service, upload)["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_chunked_body_is_asked_for_where_its_client_waits_for_that(service):
    upload = service.upload(10)
    with service.line() as line:
        line.begin("PATCH", upload, chunked_head(service, 0, Expect="100-continue"))
        line.receive(len(b"HTTP/1.1 100 Continue\r\n\r\n"))
        line.send(chunk(b"0123456789") + chunk(b""))
        assert line.answer().status == 204
    with service.line() as line:  # and a refusal costs it no byte
        line.begin("PATCH", upload, chunked_head(service, 7, Expect="100-continue"))
        assert line.answer().status == 409


@pytest.mark.parametrize("size", [10, 1_048_520])
def test_a_chunked_body_with_more_than_fits_completes_nothing(service, size):
    upload = service.upload(size)
    answer = told_by_requests(
        service, "PATCH", upload, chunked_head(service, 0), iter([bytes(size), b"one more"])
    )
    assert (answer.status_code, answer.json()["room"]) == (413, size)
    assert service.offset(upload) == 0


def test_a_pipe_of_unknown_length_is_complete_when_its_length_is_told(service):
    content = random.Random(1).randbytes(MIB)
    upload = deferred(service)
    sent = told_by_requests(service, "PATCH", upload, chunked_head(service, 0), iter([content]))
    assert sent.status_code == 204
    address = upload.replace("/uploads/", "/bundles/")
    assert service.call("GET", address, service.bearer("boss")).json()["state"] == "receiving"
    short = service.patch_head(MIB + 1, 0) | {"Upload-Length": MIB + 1}
    assert service.call("PATCH", upload, short).status == 409  # a pipe that was cut shows
    closing = service.patch_head(MIB, 0) | {"Upload-Length": MIB}
    assert service.call("PATCH", upload, closing).status == 204
    assert read_back(service, upload)["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_chunked_body_may_tell_the_length_that_was_deferred(service):
    upload = deferred(service)
    told = chunked_head(service, 0, **{"Upload-Length": 5})
    assert told_by_requests(service, "PATCH", upload, told, iter([b"012345"])).status_code == 413
    with service.line() as line:
        line.begin("PATCH", upload, told)
        line.send(chunk(b"01234") + chunk(b""))
        assert line.answer().status == 204
    assert read_back(service, upload)["size"] == 5


def test_two_framings_end_with_their_connection_and_hide_no_second_request(service):
    """The server library goes by the chunks and drops the length (RFC 9112 section 6.3); what stands behind the chunks
    is no request."""
    hidden = b"DELETE /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for head in (chunked_head(service, 0), {**service.patch_head(0, 5), "Transfer-Encoding": "chunked"}):
        upload = service.upload(5)
        with service.line() as line:
            line.begin("PATCH", upload, {**head, "Content-Length": 5 + len(hidden)})
            line.send(chunk(b"01234") + chunk(b"") + hidden)
            assert line.answer().status in (204, 400)
            assert until(line.is_closed, 5)
    assert "DELETE" not in service.log.read_text()


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked,chunked"])
def test_another_coding_is_refused(service, coding):
    upload = service.upload(5)
    with service.line() as line:
        line.begin("PATCH", upload, {**chunked_head(service, 0), "Transfer-Encoding": coding})
        line.send(chunk(b"01234") + chunk(b""))
        answer = line.answer()
    assert (answer.status, answer.json()["reason"]) == (400, "transfer-coding")


def test_early_refusals_of_large_bodies_are_read_by_a_client_that_sends_first(service):
    upload, body = service.upload(LARGE), bytes(LARGE)
    head = service.patch_head(0, LARGE)
    wrong = told_by_requests(service, "PATCH", upload, {**head, "Upload-Offset": 7}, body)
    assert (wrong.status_code, wrong.json()["offset"]) == (409, 0)
    chunks = (body[at : at + MIB] for at in range(0, LARGE, MIB))
    wrong = told_by_requests(service, "PATCH", upload, chunked_head(service, 7), chunks)
    assert (wrong.status_code, wrong.json()["offset"]) == (409, 0)
    stranger = {**head, "Authorization": "Bearer none"}
    assert told_by_requests(service, "PATCH", upload, stranger, body).status_code == 401
    assert told_by_requests(service, "POST", "/stamps", service.bearer("stamp"), body).status_code == 413
    piped = told_by_requests(service, "PUT", "/bundles/a.zip?type=x", service.bearer("stamp"), iter([body]))
    assert piped.status_code == 411
    assert "casevault send -" in piped.json()["detail"]
    assert told_by_requests(service, "PATCH", upload, head, body).status_code == 204


def test_the_bodies_of_strangers_hold_a_few_threads_and_no_more(serving):
    service = serving(threads=12, stall_seconds=60)
    head = {**service.patch_head(0, LARGE), "Authorization": "Bearer none"}
    lines = [service.line() for _ in range(30)]
    for line in lines:
        line.begin("PATCH", "/uploads/bun_none", head)
        line.send(b"x")  # and nothing more
    for _ in range(5):
        begun = time.monotonic()
        assert service.call("GET", "/healthz").status == 200
        assert time.monotonic() - begun < 20  # a thread that waits for a silent body does so for a minute
    for line in lines:
        line.finish()
