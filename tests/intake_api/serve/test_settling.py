"""A client that lost its line asks where to go on while the old request still hangs: the answer stays true."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from contextlib import closing

from tests.intake_api.serve.serving import until

MIB = 1 << 20


def test_a_head_makes_a_hanging_request_save_and_let_go(serving):
    service = serving(stall_seconds=60)
    service.register()
    content = random.Random(1).randbytes(3 * MIB)
    upload = service.upload(len(content))
    with service.begun("PATCH", upload, service.patch_head(0, len(content))) as hanging:
        hanging.send(content[:2_000_000])
        assert until(hanging.is_all_read)
        assert recorded(service) == 0  # less than a part has come, and the request waits for more
        offset = service.offset(upload)
        assert hanging.answer().status == 409
    assert offset == 2_000_000  # every byte that arrived counts
    rest = content[offset:]
    assert service.call("PATCH", upload, service.patch_head(offset, len(rest)), rest).status == 204
    assert service.offset(upload) == len(content)


def test_asking_again_and_again_moves_nothing(serving):
    service = serving(stall_seconds=60)
    service.register()
    upload = service.upload(MIB)
    with service.begun("PATCH", upload, service.patch_head(0, MIB)) as hanging:
        hanging.send(b"x" * 300_000)
        assert until(hanging.is_all_read)
        first = service.offset(upload)
    assert {service.offset(upload) for _ in range(3)} == {first}


def test_of_many_that_hang_at_one_address_each_keeps_every_byte(serving):
    """The server does not say which connection a request came over: whichever is ended, nothing of it is lost."""
    service = serving(stall_seconds=60)
    service.register()
    sent = [300_000 + 1111 * number for number in range(8)]
    uploads = [service.upload(MIB) for _ in sent]
    lines = [service.begun("PATCH", upload, service.patch_head(0, MIB)) for upload in uploads]
    for line, length in zip(lines, sent, strict=True):
        line.send(bytes(length))
    assert until(lambda: all(line.is_all_read() for line in lines))
    assert [service.offset(upload) for upload in reversed(uploads)] == sent[::-1]
    for line in lines:
        line.finish()


def test_what_a_killed_process_had_for_longer_than_the_parts_time_is_kept(serving):
    service = serving(stall_seconds=60, part_seconds=5)
    service.register()
    upload = service.upload(MIB)
    with service.line() as line:
        line.begin("PATCH", upload, service.patch_head(0, MIB))

        def more_is_recorded(than: int) -> bool:
            line.send(bytes(500))
            return recorded(service) > than

        # Recorded while the request goes on, in which far less than a full part has come; and again.
        assert until(lambda: more_is_recorded(0), 30)
        first = recorded(service)
        assert until(lambda: more_is_recorded(first), 30)
        kept = recorded(service)
        os.kill(service.worker(), signal.SIGKILL)
        service.process.wait(30)
    again = serving(state=service.state, stall_seconds=60)
    assert again.offset(upload) >= kept > first


def recorded(service) -> int:
    """The only upload's offset, as it stands in the records."""
    with closing(sqlite3.connect(service.state / "records.db")) as database:
        return int(database.execute('SELECT max("offset") FROM bundles').fetchone()[0])
