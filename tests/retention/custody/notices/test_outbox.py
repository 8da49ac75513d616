"""What is written for whom, in the act's own commit: each act that is told, and none that is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Row, select

from audit.entry import Action
from retention.custody.access import manage_consents, manage_stamps
from retention.custody.context import entry
from retention.custody.erasure import erasure_steps
from retention.custody.notices import manage_receivers
from retention.custody.reading.bundle_reads import open_bundle
from retention.domain.approval import WAITS
from retention.domain.faults import Refused
from retention.domain.notice import Way
from retention.jobs.sweep import begin_due, lapse_requests, sweep
from retention.records.tables import notice_receivers, notices
from tests.retention.custody.access.test_approvals import ask, decline, give, ready
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, World

HOOK = "https://hooks.example/casevault"


def receiver(world: World, address: str = HOOK, way: Way = Way.WEBHOOK) -> str:
    """A receiver of the first customer; what was written when it came is forgotten."""
    return str(manage_receivers.add_receiver(world.custody, world.operator, way, address).row.id)


def own(world: World, actor: Any = None) -> str:
    """An engineer's own receiver."""
    who = actor or world.engineer
    address = f"{who.id}@support.example"
    return str(manage_receivers.add_receiver(world.custody, who, Way.MAIL, address, mine=True).row.id)


def written(world: World, to: str | None = None) -> list[Row[Any]]:
    with world.custody.records.read() as reads:
        rows = reads.execute(select(notices).order_by(notices.c.row)).all()
    return [row for row in rows if to in (None, row.receiver_id)]


def kinds(world: World, to: str | None = None) -> list[str]:
    return [row.kind for row in written(world, to)]


def told(world: World, before: Sequence[Any]) -> list[str]:
    return kinds(world)[len(before) :]


def test_each_act_is_told_once_in_its_own_commit(strict: World) -> None:
    bundle = ready(strict)
    hook = receiver(strict)
    assert kinds(strict) == ["receivers.changed"], "who is told from now on"
    give(strict, ask(strict))
    assert kinds(strict, hook)[1:] == ["access.asked", "access.granted"]
    before = written(strict)
    strict.read(bundle)
    strict.read(bundle)
    assert told(strict, before) == ["access.used"], "the first time"
    consent = strict.consent().id
    manage_consents.revoke_consent(strict.custody, strict.operator, consent)
    stamp = str(strict.stamp.stamp)
    manage_stamps.set_proactive(strict.custody, strict.operator, stamp, False)
    assert told(strict, before)[1:] == ["consent.changed"] * 3
    rows = written(strict)
    entries = {row.entry_id: row.action for row in strict.entries()}
    assert [entries[row.entry_id] for row in rows] == [
        "notice-receiver.added",
        "approval.asked",
        "grant.given",
        "bundle.opened",
        "consent.given",
        "consent.revoked",
        "proactive-consent.set",
    ]
    assert {row.state for row in rows} == {"waiting"}
    assert {row.case_id for row in rows[1:-1]} == {strict.row(bundle).case_id}


def test_nothing_is_written_where_nobody_is_told(strict: World) -> None:
    bundle = ready(strict)
    give(strict, ask(strict))
    strict.read(bundle)
    other = manage_receivers.add_receiver(strict.custody, strict.other_operator, Way.WEBHOOK, HOOK).row.id
    strict.consent()
    assert kinds(strict) == ["receivers.changed"]
    assert written(strict)[0].receiver_id == other, "another customer's is told of its own alone"


def test_an_act_that_is_undone_tells_nobody(strict: World) -> None:
    receiver(strict)
    strict.open_case()
    before = written(strict)
    tenant = strict.tenant
    made = entry(strict.operator, Action.CONSENT_GIVEN, strict.clock.now(), tenant=tenant, subject="con_1")

    def work(tx: Any) -> None:
        tx.audit(made)
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        strict.custody.records.write(work)
    assert told(strict, before) == []
    strict.custody.records.write(lambda tx: tx.audit(made))
    assert told(strict, before) == ["consent.changed"]


def test_an_erasure_on_demand_is_told_when_it_is_done_and_what_the_clock_erases_never(strict: World) -> None:
    """P8: automatic deletion notifies nobody, on-demand deletion gives a confirmation."""
    strict.open_case()
    asked, due = strict.upload(b"asked"), strict.upload(b"due")
    receiver(strict)
    before = written(strict)
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, asked, "")
    assert told(strict, before) == [], "not before it is proven"
    sweep(strict.clocks)
    assert told(strict, before) == ["erasure.done"]
    strict.close_case()
    strict.sequence()
    strict.clock.move(91 * DAY)
    sweep(strict.clocks)
    assert strict.state(due) == "erased"
    assert told(strict, before) == ["erasure.done"]


def test_an_erasure_by_the_clock_that_the_customer_asked_for_meanwhile_is_told(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"due")
    receiver(strict)
    strict.close_case()
    strict.sequence()
    strict.clock.move(91 * DAY)
    before = written(strict)
    assert begin_due(strict.clocks) == 1
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle, "")
    sweep(strict.clocks)
    assert told(strict, before) == ["erasure.done"]


def test_denied_access_is_told_once_an_hour_and_case_however_often_it_is_tried(strict: World) -> None:
    bundle = ready(strict)
    strict.open_case(OTHER_NUMBER)
    receiver(strict)
    before = written(strict)
    for _ in range(5):
        with pytest.raises(Refused):
            strict.read(bundle)
    assert told(strict, before) == ["access.denied"]
    with pytest.raises(Refused):
        strict.grant(strict.engineer, OTHER_NUMBER)
    assert told(strict, before) == ["access.denied"] * 2, "another case"
    strict.clock.move(2 * HOUR)
    with pytest.raises(Refused):
        strict.read(bundle)
    assert told(strict, before) == ["access.denied"] * 3


def test_a_denial_that_a_wrong_clock_put_far_ahead_silences_no_later_one(strict: World) -> None:
    bundle = ready(strict)
    receiver(strict)
    before = written(strict)
    strict.clock.move(400 * DAY)
    with pytest.raises(Refused):
        strict.read(bundle)
    strict.clock.move(-400 * DAY)
    with pytest.raises(Refused):
        strict.read(bundle)
    assert told(strict, before) == ["access.denied"] * 2


def test_a_bundle_that_is_not_there_yet_denies_nobody_access(strict: World) -> None:
    ready(strict)
    receiver(strict)
    give(strict, ask(strict))
    coming = strict.announce(10)
    before = written(strict)
    with pytest.raises(Exception, match="not complete"):
        open_bundle(strict.custody, strict.engineer, coming, lambda _row: [(0, 1)])
    assert told(strict, before) == []


def test_who_comes_late_is_not_told_of_a_first_use_that_was(strict: World) -> None:
    bundle = ready(strict)
    give(strict, ask(strict))
    strict.read(bundle)
    hook = receiver(strict)
    strict.read(bundle)
    assert kinds(strict, hook) == ["receivers.changed"]


def test_the_asker_is_told_the_answer_where_they_said_where(strict: World) -> None:
    ready(strict)
    mine, others = own(strict), own(strict, strict.colleague)
    give(strict, ask(strict))
    decline(strict, ask(strict, duration=2 * HOUR))
    ask(strict)
    strict.clock.move(WAITS)
    assert lapse_requests(strict.clocks) == 1
    assert kinds(strict, mine) == ["request.given", "request.declined", "request.lapsed"]
    assert kinds(strict, others) == []


def test_an_engineers_own_receiver_is_told_nothing_of_the_customers(strict: World) -> None:
    bundle = ready(strict)
    mine = own(strict)
    receiver(strict)
    give(strict, ask(strict))
    strict.read(bundle)
    assert kinds(strict, mine) == ["request.given"]


def test_notices_hold_nothing_that_a_person_wrote_or_is_called(strict: World) -> None:
    """So there is nothing in them to redact: ids, kinds, moments and states alone."""
    bundle = ready(strict)
    receiver(strict)
    own(strict)
    give(strict, ask(strict), note="until tonight only")
    strict.read(bundle)
    with pytest.raises(Refused):
        strict.grant(strict.partner)
    with strict.custody.records.read() as reads:
        text = "\n".join(str(tuple(row)) for row in reads.execute(select(notices)))
    assert text
    for word in (REASON, "until tonight", NUMBER, strict.engineer.id, "erin", "olga", HOOK, "secretname"):
        assert word not in text


def test_the_customers_receivers_are_told_who_is_told(strict: World) -> None:
    first = receiver(strict)
    second = receiver(strict, "https://other.example/")
    manage_receivers.remove_receiver(strict.custody, strict.operator, second)
    assert kinds(strict, first) == ["receivers.changed"] * 3
    assert kinds(strict, second) == ["receivers.changed"]


def test_a_removed_receiver_is_written_nothing_and_keeps_no_address(strict: World) -> None:
    hook = receiver(strict)
    strict.open_case()
    manage_receivers.remove_receiver(strict.custody, strict.operator, hook)
    before = written(strict)
    strict.consent()
    assert told(strict, before) == []
    with strict.custody.records.read() as reads:
        assert reads.execute(select(notice_receivers.c.address)).scalar() == ""
