"""The queue may lose, repeat and reorder: whatever it does, the end is the same (P4). The functions in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from audit.entry import Action, Outcome
from functions.app import Once, create_app
from functions.config import from_environment
from functions.queues import BadMessage, read_message, write_message
from retention.assembly import Services
from retention.custody.erasure.erasure_steps import CASE, start
from retention.custody.uploads.completion import verify_bundle
from retention.custody.uploads.read_back_claim import LEASE, claim
from retention.domain.bundle import BundleState
from retention.domain.faults import Unavailable
from retention.domain.ids import Kind, new_id
from retention.records.tables import bundles, cases
from tests.functions.state import (
    CASE_SYSTEM,
    CLOSED,
    Past,
    count,
    erased,
    make_past,
    move_clock,
    overdue_bundles,
    remains,
    services_on,
    states,
    unproven,
)

CopyPast = Callable[[], Past]


class Queue:
    """Stands for the output binding, and for the queue behind it."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def set(self, messages: list[str]) -> None:
        self.messages = list(messages)


class Host:
    """Calls the app's functions by name, on injected services."""

    def __init__(self, services: Callable[[], Services]) -> None:
        app = create_app(from_environment({}), services)
        self._functions = {f.get_function_name(): f.get_user_function() for f in app.get_functions()}

    def sweep(self) -> list[str]:
        return self.messages_of("sweep")

    def messages_of(self, timer: str) -> list[str]:
        """What a timer puts on its queue."""
        queue = Queue()
        self._functions[timer](_tick(), queue)
        return queue.messages

    def tick(self, name: str) -> None:
        self._functions[name](_tick())

    def deliver(self, name: str, message: str) -> None:
        self._functions[name](func.QueueMessage(body=message))


def _tick() -> Any:
    return func.timer.TimerRequest(past_due=False)


ROUNDS = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["erase", "erase_poison"])), max_size=8), max_size=3
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=ROUNDS)
def test_lost_repeated_and_reordered_messages_end_as_if_each_came_once(
    copy_past: CopyPast, rounds: list[list[tuple[int, str]]]
) -> None:
    past = copy_past()
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        seen: list[str] = []
        for deliveries in rounds:
            seen += host.sweep()
            for number, name in deliveries:
                if seen:
                    host.deliver(name, seen[number % len(seen)])
        for message in host.sweep():  # and at last the queue works
            host.deliver("erase", message)
        assert host.sweep() == []
        assert erased(services) == past.going
        assert unproven(services) == []
        assert count(services, Action.BUNDLE_ERASED) == len(past.going)
        assert overdue_bundles(services) == []
        assert remains(services, past.kept)


def test_nothing_happens_before_the_deadline_and_everything_is_begun_at_it(copy_past: CopyPast) -> None:
    past = copy_past()
    with services_on(past.app_settings) as services:
        before = timedelta(minutes=55)  # the past was made when the first test asked for it, perhaps long ago
        move_clock(services, -before)
        host = Host(lambda: services)
        assert host.sweep() == [write_message(past.expired)]  # the upload nobody finished expired long ago
        move_clock(services, before)
        assert set(host.sweep()) == {write_message(bundle_id) for bundle_id in past.going}
        begun = {id_ for id_, state in states(services).items() if state == BundleState.ERASING}
        assert begun == past.going


def test_a_bundle_that_waits_under_two_erasures_gets_one_message(copy_past: CopyPast) -> None:
    past = copy_past()
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        host.sweep()
        with services.custody.records.read() as reads:
            case_id = reads.execute(select(cases.c.id).where(cases.c.number == CLOSED)).scalar_one()
            held = reads.execute(select(bundles).where(bundles.c.case_id == case_id)).all()
        now = services.custody.clock.now()
        services.custody.records.write(
            lambda tx: start(tx, CASE_SYSTEM, held, held[0].tenant_id, case_id, CASE, "customer-request", now)
        )
        messages = host.sweep()
        assert len(messages) == len(set(messages)) == len(past.going)


def test_a_part_that_came_while_its_bundle_was_erased_is_tidied_away(tmp_path: Path) -> None:
    past = make_past(tmp_path / "state")
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        for message in host.sweep():
            host.deliver("erase", message)
        gone = past.due[0]
        assert remains(services, gone) == []
        late = services.custody.objects.new_part(gone, new_id(Kind.PART))
        late.reserve(10)
        late.advance(10)
        late.commit()  # and its process dies here, before it hears that the bundle is erased
        assert remains(services, gone) != []
        host.tick("tidy")
        assert remains(services, gone) == []
        assert remains(services, past.kept) != []


def test_received_bundles_are_read_back_by_messages_each_once(tmp_path: Path) -> None:
    past = make_past(tmp_path / "state", 6, verified=False)
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        messages = host.messages_of("read_back")
        received = [bundle for bundle, state in states(services).items() if state == BundleState.RECEIVED]
        assert sorted(messages) == sorted(write_message(bundle) for bundle in received) and len(received) == 7
        for message in (*messages, *messages[::-1]):  # repeated, and in another order
            host.deliver("read_back_one", message)
        assert list(states(services).values()).count(BundleState.RECEIVED) == 0
        assert count(services, Action.BUNDLE_VERIFIED) == len(received)
        assert host.messages_of("read_back") == []


def test_deliveries_at_once_to_several_instances_read_each_bundle_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = make_past(tmp_path / "state", 6, verified=False)
    with services_on(past.app_settings) as services:
        host, read = Host(lambda: services), []
        messages = host.messages_of("read_back")
        together = threading.Barrier(4)

        def noted(custody: Any, bundle_id: str, *more: Any) -> Any:
            read.append(bundle_id)
            return verify_bundle(custody, bundle_id, *more)

        monkeypatch.setattr("retention.jobs.sweep.verify_bundle", noted)

        def instance() -> None:
            together.wait(60)
            for message in messages:
                host.deliver("read_back_one", message)

        instances = [threading.Thread(target=instance) for _ in range(4)]
        for each in instances:
            each.start()
        for each in instances:
            each.join(120)
        assert len(read) == len(set(read)) == len(messages)
        assert list(states(services).values()).count(BundleState.RECEIVED) == 0


def test_what_is_being_read_back_gets_no_message_until_its_reader_is_gone(tmp_path: Path) -> None:
    past = make_past(tmp_path / "state", 1, verified=False)
    with services_on(past.app_settings) as services:
        clock, host = Moved(services.custody.clock.now()), Host(lambda: services)
        object.__setattr__(services.custody, "clock", clock)
        messages = host.messages_of("read_back")
        held = read_message(messages[0].encode())
        assert claim(services.custody, held) is not None  # and its worker dies here
        assert write_message(held) not in host.messages_of("read_back")
        host.deliver("read_back_one", messages[0])
        assert states(services)[held] == BundleState.RECEIVED
        clock.at += LEASE
        assert write_message(held) in host.messages_of("read_back")
        host.deliver("read_back_one", messages[0])
        assert states(services)[held] == BundleState.COMPLETE


def test_a_bad_message_of_the_read_back_is_entered_as_refused_and_its_text_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = make_past(tmp_path / "state", 1)
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        with pytest.raises(BadMessage):
            host.deliver("read_back_one", '{"bundle": "hunter2"}')
        host.deliver("read_back_poison", '{"bundle": "hunter2"}')
        assert count(services, Action.CALLER_REFUSED, Outcome.REFUSED) == 1
        host.deliver("read_back_poison", write_message(past.kept))
    assert "hunter2" not in caplog.text and "the queue gave up" in caplog.text


def test_the_messages_of_a_sweep_wait_for_no_request_that_lapses(
    copy_past: CopyPast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Destruction goes first: trouble with a request for approval comes behind it."""
    past = copy_past()
    with services_on(past.app_settings) as services:
        host, queue = Host(lambda: services), Queue()
        lapsed: list[list[str]] = []
        monkeypatch.setattr("functions.timers.lapse_requests", lambda _: lapsed.append([*queue.messages]))
        host._functions["sweep"](_tick(), queue)
        assert lapsed == [queue.messages] and queue.messages


def test_the_scrubbing_goes_on_at_its_pace_and_ends_a_round_with_an_entry(tmp_path: Path) -> None:
    past = make_past(tmp_path / "state", 1)
    with services_on(past.app_settings) as services:
        clock, host = Moved(services.custody.clock.now()), Host(lambda: services)
        object.__setattr__(services.custody, "clock", clock)
        for _ in range(32):
            clock.at += timedelta(days=1)
            host.tick("scrub")
        assert count(services, Action.STORE_SCRUBBED) == 1


def test_the_contents_of_each_complete_bundle_are_indexed(tmp_path: Path) -> None:
    past = make_past(tmp_path / "state", 3)
    with services_on(past.app_settings) as services:
        host = Host(lambda: services)
        host.tick("index")
        with services.custody.records.read() as reads:
            rows = reads.execute(select(bundles).where(bundles.c.state == "complete")).all()
        assert rows and all(row.index_id and row.index_next_at is None for row in rows)


class Moved:
    """A clock that a test moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def test_services_are_assembled_once_however_many_threads_come_first() -> None:
    made: list[object] = []
    barrier = threading.Barrier(8)

    def make() -> Any:
        made.append(object())
        return made[-1]

    once = Once(make)
    got: list[object] = []

    def call() -> None:
        barrier.wait()
        got.append(once())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert got == made * 8


def test_an_assembly_that_failed_is_tried_again_by_the_next_invocation() -> None:
    answers = iter([None, "services"])

    def make() -> Any:
        answer = next(answers)
        if answer is None:
            raise Unavailable("not yet")
        return answer

    once: Callable[[], Any] = Once(make)
    with pytest.raises(Unavailable):
        once()
    assert once() == "services"
    assert once() == "services"
