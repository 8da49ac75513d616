"""Heads of requests that no well-behaved client sends: over TLS, against the real server."""

from __future__ import annotations

import pytest


def raw(service, *lines):
    with service.line() as line:
        line.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return line.answer()


@pytest.mark.parametrize("hosts", [(), ("localhost", "elsewhere.example"), ("",), ("a/b",)])
def test_a_request_without_one_host_is_refused(service, hosts):
    answer = raw(service, "GET /healthz HTTP/1.1", *(f"Host: {host}" for host in hosts))
    assert (answer.status, answer.json()["reason"]) == (400, "host")


def test_an_address_with_two_slashes_is_not_the_one_with_one(service):
    assert raw(service, "GET /healthz HTTP/1.1", "Host: localhost").status == 200
    assert raw(service, "GET //healthz HTTP/1.1", "Host: localhost").status == 404


@pytest.mark.parametrize("name", ["Content_Length", "Content_Type"])
def test_a_frame_of_the_body_with_an_underscore_is_none(service, name):
    upload = service.upload(5)
    head = service.patch_head(0, 5)
    head[name] = head.pop(name.replace("_", "-"))
    with service.line() as line:
        line.begin("PATCH", upload, head)
        line.send(b"01234")
        assert line.answer().status in (411, 415)
    assert service.offset(upload) == 0


def test_a_coding_with_an_underscore_is_none_either(service):
    """The server library reads five bytes, the service sees a coding beside the length: nobody is led astray."""
    upload = service.upload(5)
    with service.line() as line:
        line.begin("PATCH", upload, {**service.patch_head(0, 5), "Transfer_Encoding": "chunked"})
        line.send(b"01234")
        assert line.answer().status == 400
    assert service.offset(upload) == 0


@pytest.mark.parametrize("lengths", [("5", "6"), ("5, 5",), ("+5",)])
def test_a_length_that_is_not_one_number_is_refused(service, lengths):
    head = [
        f"{name}: {value}" for name, value in service.patch_head(0, 5).items() if name != "Content-Length"
    ]
    upload = service.upload(5)
    told = [f"Content-Length: {length}" for length in lengths]
    with service.line() as line:
        line.send(
            "\r\n".join([f"PATCH {upload} HTTP/1.1", "Host: localhost", *head, *told, "", "01234"]).encode()
        )
        assert line.answer().status == 400
    assert service.offset(upload) == 0
