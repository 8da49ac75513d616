"""Bodies that come slowly, stop coming, or end too soon: over TLS, against the real server."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.intake_api.serve.serving import until

MIB = 1 << 20


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("sent", [1, 65_536, 1_048_520, 1_048_521, 2_500_000])
def test_a_line_cut_in_mid_body_keeps_what_came_and_goes_on_from_there(service, end, sent):
    content = random.Random(sent).randbytes(3 * MIB)
    upload = service.upload(len(content))
    line = service.line()
    line.begin("PATCH", upload, service.patch_head(0, len(content)))
    line.send(content[:sent])
    assert until(line.is_all_read)  # a reset overtakes what a kernel has not handed over yet
    getattr(line, end)()
    offset = service.settled_offset(upload, sent)
    assert offset == sent
    rest = content[offset:]
    assert service.call("PATCH", upload, service.patch_head(offset, len(rest)), rest).status == 204
    assert service.offset(upload) == len(content)


def test_a_client_that_closes_its_side_behind_its_request_has_all_of_it_kept(service):
    """Whether or not the server's library still lets it hear so (docs/uploaders.md)."""
    content = os.urandom(2 * MIB)
    upload = service.upload(len(content))
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, len(content)))
        line.send(content)
        line.half_close()
        assert service.settled_offset(upload, len(content)) == len(content)


def test_a_silent_client_is_answered_408_and_what_it_sent_is_kept(service):
    upload = service.upload(MIB)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, MIB))
        line.send(b"x" * 100_000)
        answer = line.answer()
        assert answer.status == 408
        assert until(line.is_closed, 5)
        assert answer.json()["offset"] == 100_000
    assert service.offset(upload) == 100_000  # every byte that arrived counts


def test_a_client_that_never_pauses_gets_through_however_slow_it_is(service):
    """Far below a piece in the stall, above the least rate: 250 bytes a second, for thrice the stall."""
    upload = service.upload(1500)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, 1500))
        for _ in range(60):
            line.send(os.urandom(25))
            time.sleep(0.1)
        assert line.answer().status == 204
    assert service.offset(upload) == 1500


def test_a_client_slower_than_the_stall_but_not_silent_gets_through(service):
    upload = service.upload(6 * 65_536)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, 6 * 65_536))
        for _ in range(6):
            line.send(os.urandom(65_536))
            time.sleep(0.6)  # 3.6 seconds in all: longer than the stall
        assert line.answer().status == 204


def test_a_second_writer_takes_over_from_a_silent_first_at_once(service):
    upload = service.upload(2 * MIB)
    with service.line() as first:
        first.begin("PATCH", upload, service.patch_head(0, 2 * MIB))
        first.send(b"x" * MIB)
        assert until(first.is_all_read)
        begun = time.monotonic()
        second = service.call("PATCH", upload, service.patch_head(0, 10), b"y" * 10)
        assert second.status == 409  # what the first brought was kept, so the offset moved
        assert time.monotonic() - begun < 1.5  # seconds; the stall is longer
        assert first.answer().status == 409
    offset = service.offset(upload)
    assert offset == MIB
    rest = b"x" * (2 * MIB - offset)
    assert service.call("PATCH", upload, service.patch_head(offset, len(rest)), rest).status == 204


def test_a_client_that_has_more_to_send_than_it_announced_is_refused_before_a_byte(service):
    upload = service.upload(10)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, 1 << 30))
        assert line.answer().status == 413


def test_a_head_that_never_ends_is_bounded(service):
    with service.line() as line:
        line.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert until(line.is_closed, 30)


def test_others_are_served_while_a_reader_waits_for_a_client_that_was_answered(service):
    upload = service.upload(MIB)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, MIB))
        assert line.answer().status == 408
        assert service.call("GET", "/healthz").status == 200


def test_a_caller_that_takes_nothing_of_a_long_answer_is_dropped(service):
    with service.line(receive_buffer=4096) as line:
        # Requests without end, their answers never read: the server's buffers fill, then its writes block.
        for _ in range(40):
            line.begin("GET", "/openapi.json", {})
        assert until(lambda: service.connections() == 0, 20), service.connections()


def test_an_idle_connection_is_closed(service):
    with service.line() as line:
        line.begin("GET", "/healthz", {})
        assert line.answer().status == 200
        assert until(line.is_closed, 10)


def test_no_thread_and_no_memory_is_left_behind_by_fifty_clients_that_hang(serving):
    # Long enough to begin all of them on a busy machine; and all are of one caller.
    service = serving(stall_seconds=12, caller_share=100, tenant_share=100)
    service.register()
    size = 64 * MIB
    upload = service.upload(size)
    assert service.call("PATCH", upload, service.patch_head(0, size), bytes(size)).status == 204
    memory = service.status("VmRSS")
    threads = service.status("Threads")
    lines = [service.line() for _ in range(50)]
    for line in lines:
        line.begin("PATCH", service.upload(size), service.patch_head(0, size))
        line.send(bytes(200_000))
    assert until(lambda: service.status("Threads") >= threads + 50, 10)
    assert service.status("VmRSS") - memory < 50 * 1024  # KiB: a megabyte for each that hangs
    assert {line.answer().status for line in lines} == {408}
    assert until(lambda: all(line.is_closed() for line in lines), 45)
    # The server's own pool gives idle threads back after half a minute; the readers are gone at once.
    assert until(lambda: service.status("Threads") <= threads + 50, 5)
    assert until(lambda: service.status("Threads") <= threads, 60)
