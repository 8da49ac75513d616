"""Sending: at least once, in order, to each by one process at a time; and what becomes of a receiver that is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text, update

from audit.entry import Action
from retention.custody.backlog import measure
from retention.custody.context import entry
from retention.custody.log_gate import SHUT, LogGate
from retention.custody.notices import deliveries, manage_receivers
from retention.domain.faults import Unavailable
from retention.domain.notice import GIVE_UP, KEPT, Message, Target, Undelivered, Way
from retention.jobs.send_notices import AT_A_TIME, Sent, send_notices
from retention.records.tables import cases, notice_receivers, notices
from tests.retention.custody.notices.test_outbox import HOOK, receiver, written
from tests.retention.custody.world import DAY, World, owned, postgres_doors, strict_world

HOUR = timedelta(hours=1)


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Inbox:
    """A Sender that keeps what it is given; `fails` says why it takes nothing."""

    fails: str | None = None
    got: list[tuple[str, Message]] = field(default_factory=list)
    tries: int = 0
    then: Callable[[], None] | None = None

    def send(self, message: Message, target: Target, now: datetime) -> None:
        self.tries += 1
        if self.fails is not None:
            raise Undelivered(self.fails)
        self.got.append((target.address, message))
        if self.then is not None:
            self.then()

    @property
    def ids(self) -> list[str]:
        return [message.id for _, message in self.got]


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """With one receiver, and three notices for it: that it was added, and two tests."""
    if request.param == "sqlite":
        with strict_world() as made:
            yield ready(made)
    else:
        with postgres_doors() as (api, clock), strict_world(api, clock) as made:
            yield ready(made)


def ready(world: World, notices: int = 3) -> World:
    hook = receiver(world)
    for _ in range(notices - 1):
        world.clock.move(timedelta(minutes=1))
        manage_receivers.send_test(world.custody, world.operator, hook)
    return world


def send(world: World, inbox: Inbox) -> Sent:
    return send_notices(world.clocks, dict.fromkeys(Way, inbox))


def states(world: World) -> list[str]:
    return [row.state for row in written(world)]


def shown(world: World) -> Any:
    (one,) = manage_receivers.list_receivers(world.custody, world.operator, None, 50).items
    return one


def test_what_waits_is_sent_once_in_the_order_of_the_acts(world: World) -> None:
    inbox = Inbox()
    assert send(world, inbox) == Sent(delivered=3)
    assert inbox.ids == [row.id for row in written(world)]
    assert states(world) == ["delivered"] * 3
    assert send(world, inbox) == Sent()
    assert (shown(world).state, shown(world).waiting) == ("ok", 0)
    assert shown(world).row.delivered_at == world.clock.now()


def test_a_receiver_that_is_away_for_a_day_gets_all_of_it_in_order_afterwards(world: World) -> None:
    away, begun = Inbox(fails="unreachable"), world.clock.now()
    while world.clock.now() < begun + DAY:
        send(world, away)
        world.clock.move(timedelta(minutes=1))
    assert 24 <= away.tries <= 60, "ever longer pauses, of an hour at most"
    assert states(world) == ["waiting"] * 3, "what comes after the first waits for it"
    assert (shown(world).state, shown(world).row.failure, shown(world).waiting) == (
        "failing",
        "unreachable",
        3,
    )
    world.clock.move(HOUR)
    back = Inbox()
    assert send(world, back).delivered == 3
    assert back.ids == [row.id for row in written(world)]
    assert shown(world).state == "ok"


def test_a_receiver_that_is_away_for_longer_is_given_up_on_and_its_owner_sees_it(world: World) -> None:
    away = Inbox(fails="http-500")
    send(world, away)
    world.clock.move(GIVE_UP)
    assert send(world, away).given_up == 3
    assert states(world) == ["given-up"] * 3
    assert {row.failure for row in written(world)} == {"http-500"}
    assert (shown(world).state, shown(world).given_up) == ("failing", 3)
    with world.custody.records.read() as reads:
        assert measure(reads, world.clock.now())["casevault_notices_given_up"] == 3
    world.clock.move(HOUR)
    hook = shown(world).row.id
    manage_receivers.send_test(world.custody, world.operator, hook)
    assert send(world, Inbox()).delivered == 1, "later ones go on"


def test_a_clock_that_was_off_for_longer_than_that_tries_before_it_gives_up(world: World) -> None:
    world.clock.move(GIVE_UP * 2)
    assert send(world, Inbox()).delivered == 3


def test_a_crash_between_sending_and_recording_sends_it_again_under_the_same_id(world: World) -> None:
    def crash() -> None:
        raise Crash

    inbox = Inbox(then=crash)
    with pytest.raises(Crash):
        send(world, inbox)
    assert send(world, inbox) == Sent(), "the dead process holds its claim for a while"
    world.clock.move(deliveries.LEASE)
    inbox.then = None
    assert send(world, inbox).delivered == 3
    first, *rest = inbox.ids
    assert rest == [row.id for row in written(world)]
    assert first == rest[0]
    assert inbox.got[0][1].cloud_event() == inbox.got[1][1].cloud_event()


def test_of_two_clocks_one_sends_to_a_receiver(world: World) -> None:
    inside, other = Inbox(), Inbox()
    found: list[Sent] = []
    inside.then = lambda: found.append(send(world, other))
    assert send(world, inside).delivered == 3
    assert (found, other.got) == ([Sent()] * 3, [])


def test_two_clocks_at_once_send_everything_once_and_in_order(world: World) -> None:
    second = receiver(world, HOOK + "/second")
    inbox, gate = Inbox(), threading.Barrier(2)

    def clock() -> None:
        gate.wait()
        for _ in range(4):
            send(world, inbox)

    threads = [threading.Thread(target=clock) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for address in (HOOK, HOOK + "/second"):
        to = shown_ids(world, address, second)
        assert [message.id for where, message in inbox.got if where == address] == to


def shown_ids(world: World, address: str, second: str) -> list[str]:
    return [row.id for row in written(world) if (row.receiver_id == second) == (address != HOOK)]


def test_a_claim_that_was_lost_records_a_delivery_and_takes_nothing_from_its_new_holder(world: World) -> None:
    late = deliveries.claim(world.clocks, shown(world).row.id)
    assert late is not None
    due = deliveries.next_due(world.clocks, late)
    assert due is not None
    world.clock.move(deliveries.LEASE)
    new = deliveries.claim(world.clocks, late.receiver)
    assert new is not None
    assert not deliveries.note_delivered(world.clocks, late, due.row)
    assert deliveries.note_failed(world.clocks, late, due.row, "unreachable") == 0
    deliveries.let_go(world.clocks, late)
    assert deliveries.claim(world.clocks, late.receiver) is None, "the new holder's stands"
    assert states(world) == ["delivered", "waiting", "waiting"]


def test_one_that_is_away_delays_no_other(world: World) -> None:
    receiver(world, "security@contoso.example", Way.MAIL)
    away, inbox = Inbox(fails="unreachable"), Inbox()
    sent = send_notices(world.clocks, {Way.WEBHOOK: away, Way.MAIL: inbox})
    assert (sent.failed, sent.delivered, away.tries) == (1, 1, 1)


def test_a_removed_receiver_gets_nothing_of_what_waits_and_that_is_forgotten(world: World) -> None:
    manage_receivers.remove_receiver(world.custody, world.operator, shown(world).row.id)
    inbox = Inbox()
    assert send(world, inbox) == Sent()
    assert (inbox.got, written(world)) == ([], [])


def test_what_has_ended_is_forgotten_after_a_month(world: World) -> None:
    send(world, Inbox())
    world.clock.move(KEPT - timedelta(seconds=1))
    send(world, Inbox())
    assert len(written(world)) == 3
    world.clock.move(timedelta(seconds=1))
    send(world, Inbox())
    assert written(world) == []


@pytest.mark.parametrize("column", ["case_id", "kind", "entry_id"])
def test_a_notice_that_the_service_did_not_write_is_not_sent_and_holds_back_no_other(
    world: World, column: str
) -> None:
    world.open_case()
    forged = {"case_id": "(SELECT id FROM cases)", "kind": "'access.granted'", "entry_id": "'ent_forged'"}
    first = written(world)[0].id
    with owned(world.custody.records) as engine, engine.begin() as connection:
        connection.execute(text(f"UPDATE notices SET {column} = {forged[column]} WHERE id = '{first}'"))  # noqa: S608
    inbox = Inbox()
    assert send(world, inbox).delivered == 2
    assert first not in inbox.ids
    assert states(world) == ["given-up", "delivered", "delivered"]
    assert written(world)[0].failure == "altered"


@pytest.mark.parametrize("number", ["1, says https://evil.example/", "1\nBcc: eve@evil.example"])
def test_a_number_that_somebody_gave_a_case_in_the_database_is_not_told(world: World, number: str) -> None:
    """The number is the one word of a message that stands elsewhere than in its own bound row."""
    world.open_case()
    world.consent()
    with owned(world.custody.records) as engine, engine.begin() as connection:
        connection.execute(update(cases).values(number=number))
    inbox = Inbox()
    assert send(world, inbox).delivered == 4
    message = inbox.got[-1][1]
    assert (message.kind, message.case) == ("consent.changed", None)
    assert "evil" not in message.cloud_event().decode()


def test_a_receiver_that_was_another_customers_for_a_while_is_told_nothing_of_theirs(world: World) -> None:
    """Its row is whole again before anything is sent: what was written for it meanwhile would be genuine."""
    world.open_case()
    send(world, Inbox())
    other = manage_receivers.add_receiver(world.custody, world.other_operator, Way.WEBHOOK, HOOK + "/o").row
    send(world, Inbox())
    with owned(world.custody.records) as engine, engine.begin() as connection:
        mine = update(notice_receivers).where(notice_receivers.c.id == other.id)
        connection.execute(mine.values(tenant_id=world.tenant))
    world.consent()
    with owned(world.custody.records) as engine, engine.begin() as connection:
        connection.execute(mine.values(tenant_id=other.tenant_id))
    inbox = Inbox()
    send(world, inbox)
    assert [address for address, _ in inbox.got] == [HOOK]


def test_a_notice_of_a_case_that_is_not_its_receivers_is_not_sent(world: World) -> None:
    """An act on a case whose row named another customer for a while is told to that customer's receivers."""
    world.open_case()
    with world.custody.records.read() as reads:
        case = reads.execute(select(cases.c.id)).scalar_one()
    other = manage_receivers.add_receiver(world.custody, world.other_operator, Way.WEBHOOK, HOOK + "/o").row
    send(world, Inbox())
    said = {"tenant": other.tenant_id, "case": case, "subject": "con_1"}
    made = entry(world.operator, Action.CONSENT_GIVEN, world.clock.now(), **said)
    world.custody.records.write(lambda tx: tx.audit(made))
    inbox = Inbox()
    assert send(world, inbox).given_up == 1
    assert inbox.got == []


def test_a_sender_that_breaks_holds_up_no_other_and_is_a_failed_try(world: World) -> None:
    receiver(world, "security@contoso.example", Way.MAIL)
    broken, inbox = Inbox(), Inbox()

    def crash() -> None:
        raise ValueError("secretname")

    broken.then = crash
    sent = send_notices(world.clocks, {Way.WEBHOOK: broken, Way.MAIL: inbox})
    assert (sent.failed, sent.delivered) == (1, 1)
    assert (shown_of(world, HOOK).state, shown_of(world, HOOK).row.failure) == ("failing", "broken")
    world.clock.move(GIVE_UP)
    assert send_notices(world.clocks, {Way.WEBHOOK: broken, Way.MAIL: inbox}).given_up == 4


def shown_of(world: World, address: str) -> Any:
    found = manage_receivers.list_receivers(world.custody, world.operator, None, 50).items
    return next(one for one in found if one.row.address == address)


def test_a_notice_for_one_receiver_is_not_sent_to_another(world: World) -> None:
    second = receiver(world, HOOK + "/second")
    send(world, Inbox())
    with owned(world.custody.records) as engine, engine.begin() as connection:
        row = connection.execute(select(notices).order_by(notices.c.row).limit(1)).one()._asdict()
        del row["row"]
        moved = {**row, "receiver_id": second, "id": "ntc_" + "a" * 26, "state": "waiting"}
        connection.execute(insert(notices).values(moved))
    inbox = Inbox()
    send(world, inbox)
    assert inbox.got == []


def test_nothing_goes_to_an_address_that_somebody_wrote_into_the_database(world: World) -> None:
    with owned(world.custody.records) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE notice_receivers SET address = 'https://evil.example/'"))
    inbox = Inbox()
    assert send(world, inbox).failed == 1
    assert (inbox.tries, shown(world).state, shown(world).row.failure) == (0, "altered", "altered")


def test_nothing_is_sent_while_the_records_may_be_older_than_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(_self: LogGate, _now: datetime) -> int:
        raise Unavailable("the log is longer", reason=sorted(SHUT)[0])

    monkeypatch.setattr(LogGate, "ask", shut)
    inbox = Inbox()
    assert send(world, inbox) == Sent()
    assert inbox.got == []


def test_a_moment_that_a_wrong_clock_wrote_keeps_nobody_waiting(world: World) -> None:
    send(world, Inbox(fails="unreachable"))
    with owned(world.custody.records) as engine, engine.begin() as connection:
        ahead = world.clock.now() + 400 * DAY
        connection.execute(update(notice_receivers).values(next_try_at=ahead, claimed_until=ahead))
    assert send(world, Inbox()).delivered == 3


def test_a_call_is_bounded_and_says_that_there_is_more() -> None:
    with strict_world() as world:
        ready(world, AT_A_TIME + 2)
        assert send(world, Inbox()) == Sent(delivered=AT_A_TIME, busy=True)
        assert send(world, Inbox()) == Sent(delivered=2)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["well", "fails", "crashes", "test", "later"]), max_size=25))
def test_whatever_happens_first_deliveries_are_in_order_and_none_is_lost(steps: list[str]) -> None:
    with strict_world() as world:
        hook = receiver(world)
        inbox = Inbox()

        def crash() -> None:
            raise Crash

        for step in [*steps, "later", "well"]:
            if step == "test":
                world.clock.move(timedelta(minutes=1))
                manage_receivers.send_test(world.custody, world.operator, hook)
            elif step == "later":
                world.clock.move(HOUR)
            else:
                inbox.fails = "unreachable" if step == "fails" else None
                inbox.then = crash if step == "crashes" else None
                with suppress(Crash):
                    send(world, inbox)
        assert list(dict.fromkeys(inbox.ids)) == [row.id for row in written(world)]
