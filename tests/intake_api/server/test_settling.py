"""A client that lost its line asks where to go on while the old request still hangs: the answer stays true."""

from __future__ import annotations

import random
import time

MIB = 1 << 20


def test_a_head_makes_a_hanging_request_save_and_let_go(serving):
    service = serving(stall_seconds=60)
    service.register()
    content = random.Random(1).randbytes(3 * MIB)
    upload = service.upload(len(content))
    with service.line() as hanging:
        hanging.begin("PATCH", upload, service.patch_head(0, len(content)))
        hanging.send(content[:2_000_000])
        time.sleep(
            0.5
        )  # nothing of it is recorded: less than a part has come, and the request waits for more
        offset = service.offset(upload)
        assert hanging.answer().status == 409
    assert 65_536 <= offset <= 2_000_000
    rest = content[offset:]
    assert service.call("PATCH", upload, service.patch_head(offset, len(rest)), rest).status == 204
    assert service.offset(upload) == len(content)


def test_asking_again_and_again_moves_nothing(serving):
    service = serving(stall_seconds=60)
    service.register()
    upload = service.upload(MIB)
    with service.line() as hanging:
        hanging.begin("PATCH", upload, service.patch_head(0, MIB))
        hanging.send(b"x" * 300_000)
        time.sleep(0.5)
        first = service.offset(upload)
    assert {service.offset(upload) for _ in range(3)} == {first}
