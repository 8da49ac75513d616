"""Asking for the offset while another request writes: here, in another process, or in one that died."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from retention.custody.uploads import lease, unfinished, upload_session
from retention.custody.uploads.lease import Uploads
from retention.domain.faults import NotFound, TakenOver
from tests.retention.custody.world import World

CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(lease, "ELSEWHERE_SECONDS", 0.5)


@pytest.fixture
def bundle(world: World) -> str:
    world.open_case()
    return world.announce(len(CONTENT))


class Hanging(threading.Thread):
    """A request that took 1000 bytes and hears nothing more, as the pump does it: it parks when it is told to stop."""

    def __init__(self, world: World, uploads: Uploads, bundle: str) -> None:
        super().__init__()
        self.began, self.stopped = threading.Event(), False
        self._world, self._uploads, self._bundle = world, uploads, bundle
        self.start()
        assert self.began.wait(10)

    def run(self) -> None:
        world = self._world
        with upload_session.begin(world.custody, self._uploads, world.stamp, self._bundle, 0) as session:
            session.feed(CONTENT[:1000])
            self.began.set()
            with suppress(TakenOver):
                for _ in range(500):
                    session.feed(b"")
                    time.sleep(0.02)
                return
            self.stopped = True
            session.park()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_hanging_writer_saves_and_lets_go_here_or_in_another_process(
    world: World, bundle: str, elsewhere: bool
) -> None:
    hanging = Hanging(world, Uploads() if elsewhere else world.uploads, bundle)
    upload, _ = unfinished.settled_upload(world.custody, world.uploads, world.stamp, bundle)
    hanging.join(10)
    assert (upload.offset, upload.writer, hanging.stopped) == (1000, None, True)
    assert world.row(bundle).offset == 1000
    assert world.send(bundle, CONTENT[1000:], 1000) == len(CONTENT)


def test_one_whose_token_is_not_on_record_yet_is_waited_for(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, asked, take_over = threading.Event(), threading.Event(), upload_session.take_over

    def slow(*given: Any) -> Any:
        begins.set()
        assert asked.wait(10)
        return take_over(*given)

    monkeypatch.setattr(upload_session, "take_over", slow)
    sender = threading.Thread(target=world.send, args=(bundle, CONTENT[:1000]))
    sender.start()
    assert begins.wait(10)
    let_go = world.uploads.let_go
    monkeypatch.setattr(world.uploads, "let_go", lambda of: (asked.set(), let_go(of)))
    upload, _ = unfinished.settled_upload(world.custody, world.uploads, world.stamp, bundle)
    asked.set()  # one who did not wait was told 0
    sender.join(10)
    assert (upload.offset, world.row(bundle).offset) == (1000, 1000)


def test_a_request_that_is_here_and_not_let_in_yet_is_waited_for(world: World, bundle: str) -> None:
    here, asked = threading.Event(), threading.Event()

    def request() -> None:
        world.uploads.expect(bundle)
        here.set()
        assert asked.wait(10)
        world.send(bundle, CONTENT[:1000])

    sender = threading.Thread(target=request)
    sender.start()
    assert here.wait(10)
    threading.Timer(
        0.2, asked.set
    ).start()  # the other has asked by then, or is told the same however late it is
    upload, _ = unfinished.settled_upload(world.custody, world.uploads, world.stamp, bundle)
    sender.join(10)
    assert (upload.offset, world.row(bundle).offset) == (1000, 1000)


def test_who_may_not_know_of_the_upload_waits_for_nothing(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "await_arrival", lambda _: pytest.fail("a stranger waits"))
    world.uploads.expect(bundle)
    with pytest.raises(NotFound):
        unfinished.settled_upload(world.custody, world.uploads, world.other_operator, bundle)
    world.uploads.arrived()


def test_many_that_do_not_arrive_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, now = [], [0.0]

    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            now[0] += timeout or 0
            return False

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: now[0]))
    lease.await_arrival([Never(), Never(), Never()])
    assert waited == [lease.EXPECTED_SECONDS, 0, 0]


def test_one_that_is_refused_is_not_waited_for_any_more(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPECTED_SECONDS", 3600)
    world.uploads.expect(bundle)
    world.uploads.expect(world.announce(1))  # the thread's next request
    assert unfinished.settled_upload(world.custody, world.uploads, world.stamp, bundle)[0].offset == 0
    world.uploads.arrived()
    world.uploads.arrived()


def test_a_writer_that_died_is_fenced_off(world: World, bundle: str) -> None:
    session = upload_session.begin(
        world.custody, Uploads(), world.stamp, bundle, 0
    )  # and never heard of again
    session.feed(CONTENT[:1000])
    upload, _ = unfinished.settled_upload(world.custody, world.uploads, world.stamp, bundle)
    assert (upload.offset, upload.writer) == (0, None)
    with pytest.raises(TakenOver):
        session.park()
    assert world.row(bundle).offset == 0
    assert world.send(bundle, CONTENT) == len(CONTENT)


def test_a_writer_takes_its_token_away_however_it_ends(world: World, bundle: str) -> None:
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
        session.feed(CONTENT[:1000])
        assert world.row(bundle).writer is not None
        session.park()
    assert world.row(bundle).writer is None
    with (
        pytest.raises(RuntimeError),
        upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 1000),
    ):
        raise RuntimeError
    assert world.row(bundle).writer is None


def test_a_late_writer_does_not_take_the_token_of_the_next_away(world: World, bundle: str) -> None:
    with upload_session.begin(world.custody, Uploads(), world.stamp, bundle, 0):
        second = upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0)
    with second:
        second.feed(CONTENT)
        assert second.park() == len(CONTENT)


def test_what_is_held_back_counts_at_once_or_not_at_all(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 700)
    custody = world.custody
    with upload_session.begin(custody, world.uploads, world.stamp, bundle, 0, held=True) as session:
        session.feed(CONTENT[:2000])
        assert (world.row(bundle).offset, session.offset, session.position) == (0, 0, 2000)
        assert len(custody.objects.list_parts(bundle)) == 2
    assert (world.row(bundle).offset, custody.objects.list_parts(bundle)) == (0, [])
    with upload_session.begin(custody, world.uploads, world.stamp, bundle, 0, held=True) as session:
        session.feed(CONTENT[:2000])
        assert session.park() == 2000
    assert (world.row(bundle).offset, len(custody.objects.list_parts(bundle))) == (2000, 3)
    assert world.send(bundle, CONTENT[2000:], 2000) == len(CONTENT)


def test_what_waits_of_a_body_is_taken_before_its_writer_lets_go(world: World, bundle: str) -> None:
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
        session.settling.set()  # somebody asks for the offset
        session.feed(CONTENT[:1000])
        session.feed(CONTENT[1000:2000])
        with pytest.raises(TakenOver):
            session.feed(b"")
        assert session.park() == 2000


def test_a_writer_whose_bytes_keep_coming_is_stopped_all_the_same(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.1)
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
        session.feed(CONTENT[:1000])
        asking = threading.Thread(target=world.uploads.let_go, args=(bundle,))
        asking.start()
        assert session.stop.wait(10)
        with pytest.raises(TakenOver):
            session.feed(CONTENT[1000:])
        session.park()
    asking.join(10)
    assert world.row(bundle).offset == len(CONTENT), "what had come is kept"
