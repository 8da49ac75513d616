"""What a work saw of another one in the same transaction counts only when that transaction is committed (SQLite)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from audit.log import append
from retention.custody.erasure import erasure_steps
from retention.custody.notices.outbox import TellingRecords
from retention.custody.uploads import upload_session
from retention.custody.uploads.upload_session import begin
from retention.jobs.sweep import sweep
from retention.records.unit_of_work import SqliteRecords, Transaction
from tests.retention.custody.world import local_world


def test_an_erasure_that_was_rolled_back_with_its_group_destroys_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)
    with local_world(tmp_path) as world:
        assert isinstance(world.custody.records, TellingRecords)
        records = world.custody.records._records
        assert isinstance(records, SqliteRecords)
        world.open_case()
        content = bytes(range(200)) * 10
        bundle = world.announce(len(content))
        leading, go = threading.Event(), threading.Event()

        def slow(_tx: Transaction) -> None:  # a commit is under way: those that come wait, and go together
            leading.set()
            go.wait(10)

        def queue(count: int) -> None:
            while len(records._queue) < count:
                go.wait(0.01)

        real = append.append_rows

        def full(connection: Any, rows: Any) -> None:
            if any("bundle.erasing" in row for row in rows):
                raise OperationalError("INSERT", {}, Exception("database or disk is full"))
            real(connection, rows)

        def erase() -> None:
            with pytest.raises(OperationalError):
                erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)

        failed: list[BaseException] = []

        def send() -> None:
            try:
                with begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
                    session.feed(content[:1000])  # one part, recorded
                    session.feed(content[1000:1500])
                    sent.set()
                    together.wait(10)
                    session.park()
            except BaseException as error:
                failed.append(error)

        sent, together = threading.Event(), threading.Event()
        sender = threading.Thread(target=send)
        sender.start()
        assert sent.wait(10)
        assert world.row(bundle).offset == 1000
        monkeypatch.setattr(append, "append_rows", full)
        leader = threading.Thread(target=records.write, args=(slow,))
        leader.start()
        assert leading.wait(10)
        eraser = threading.Thread(target=erase)
        eraser.start()
        queue(1)
        together.set()
        queue(2)
        go.set()
        for thread in (leader, eraser, sender):
            thread.join(10)
        monkeypatch.setattr(append, "append_rows", real)
        assert (world.state(bundle), world.row(bundle).offset) == ("receiving", 1000)  # nobody erases it
        assert world.custody.objects.list_parts(bundle), f"the recorded part is gone after {failed}"
        world.send(bundle, content[1000:], 1000)
        sweep(world.custody)
        assert world.state(bundle) == "complete"
