"""Receivers: whose they are, who sees them, and that no row alone says where notices go."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, select, text, update

from retention.custody.access.altered_records import find_altered
from retention.custody.notices import manage_receivers
from retention.custody.notices.manage_receivers import add_receiver, list_receivers, secret_of
from retention.custody.redaction import redact_entry, redact_person
from retention.domain.faults import Conflict, Invalid, NotFound, Refused
from retention.domain.notice import MOST_RECEIVERS, TEST_EVERY, Way
from retention.records.tables import notice_receivers
from tests.retention.custody.notices.test_outbox import HOOK, kinds, own, receiver
from tests.retention.custody.world import World, owned

MAIL = "security@contoso.example"


def seen(world: World, who: str) -> list[str]:
    return [one.row.id for one in list_receivers(world.custody, getattr(world, who), None, 50).items]


def states(world: World) -> list[str]:
    return [one.state for one in list_receivers(world.custody, world.operator, None, 50).items]


def test_a_webhooks_secret_is_shown_once_differs_and_is_stored_nowhere(strict: World) -> None:
    one = add_receiver(strict.custody, strict.operator, Way.WEBHOOK, HOOK)
    two = add_receiver(strict.custody, strict.operator, Way.WEBHOOK, HOOK + "2")
    assert one.secret is not None and two.secret is not None
    assert len(one.secret) == 32 and one.secret != two.secret
    assert one.secret == secret_of(strict.custody.binding, one.row.id)
    assert all(
        each.secret is None for each in list_receivers(strict.custody, strict.operator, None, 50).items
    )
    with strict.custody.records.read() as reads:
        held = "\n".join(str(tuple(row)) for row in reads.execute(select(notice_receivers)))
    beside = "\n".join(f"{row.leaf!r} {row.particulars}" for row in strict.entries())
    assert one.secret.hex() not in held + beside
    assert one.row.tag != one.secret.hex()
    assert add_receiver(strict.custody, strict.operator, Way.MAIL, MAIL).secret is None


def test_adding_removing_and_testing_are_entries_whose_leaves_hold_no_address(strict: World) -> None:
    hook = receiver(strict)
    manage_receivers.send_test(strict.custody, strict.operator, hook)
    manage_receivers.remove_receiver(strict.custody, strict.operator, hook)
    said = [leaf for leaf in strict.leaves() if leaf["action"].startswith("notice-receiver.")]
    assert [leaf["action"].partition(".")[2] for leaf in said] == ["added", "tested", "removed"]
    assert {(leaf["subject"], leaf["tenant"], leaf["details"]["way"]) for leaf in said} == {
        (hook, strict.tenant, "webhook")
    }
    assert all("hooks.example" not in str(leaf) for leaf in said)
    assert HOOK in str(strict.entries()[-3].particulars)


def test_a_customers_operators_and_auditors_see_them_and_nobody_else_does(strict: World) -> None:
    hook, mine = receiver(strict), own(strict)
    assert seen(strict, "operator") == [hook]
    assert seen(strict, "engineer") == [mine]
    assert set(seen(strict, "auditor")) == {hook, mine}
    for who in ("other_operator", "colleague", "partner", "stamp", "administrator", "case_system"):
        assert seen(strict, who) == []
        for verb in (manage_receivers.remove_receiver, manage_receivers.send_test):
            with pytest.raises(NotFound):
                verb(strict.custody, getattr(strict, who), hook)
        with pytest.raises(NotFound):
            manage_receivers.list_notices(strict.custody, getattr(strict, who), hook, None, 50)


def test_an_auditor_sees_and_changes_nothing(strict: World) -> None:
    hook = receiver(strict)
    for verb in (manage_receivers.remove_receiver, manage_receivers.send_test):
        with pytest.raises(Refused):
            verb(strict.custody, strict.auditor, hook)
    assert strict.last()[:2] == ("notice-receiver.tested", "refused")


@pytest.mark.parametrize("who", ["engineer", "partner", "stamp", "administrator", "auditor", "case_system"])
def test_only_operators_add_a_customers(strict: World, who: str) -> None:
    with pytest.raises(Refused) as refused:
        add_receiver(strict.custody, getattr(strict, who), Way.WEBHOOK, HOOK)
    assert refused.value.reason == "role-missing"
    assert strict.last() == ("notice-receiver.added", "refused", "role-missing")


def test_an_operator_who_is_no_engineer_has_none_of_their_own(strict: World) -> None:
    with pytest.raises(Refused):
        add_receiver(strict.custody, strict.operator, Way.WEBHOOK, HOOK, mine=True)


def test_an_address_is_there_once_and_receivers_are_bounded(strict: World) -> None:
    receiver(strict)
    with pytest.raises(Conflict) as known:
        receiver(strict)
    assert known.value.reason == "receiver-known"
    for number in range(1, MOST_RECEIVERS):
        receiver(strict, f"{HOOK}/{number}")
    with pytest.raises(Conflict) as many:
        receiver(strict, f"{HOOK}/one-more")
    assert many.value.reason == "too-many-receivers"
    manage_receivers.remove_receiver(strict.custody, strict.operator, seen(strict, "operator")[0])
    receiver(strict, f"{HOOK}/one-more")
    own(strict)


def test_an_address_inside_is_refused_by_its_form_before_it_is_stored(strict: World) -> None:
    with pytest.raises(Invalid):
        receiver(strict, "http://localhost:8080/")
    assert seen(strict, "operator") == []


def test_a_test_goes_to_the_one_receiver_and_once_a_minute(strict: World) -> None:
    hook, other = receiver(strict), receiver(strict, MAIL, Way.MAIL)
    manage_receivers.send_test(strict.custody, strict.operator, hook)
    with pytest.raises(Conflict, match="within the minute"):
        manage_receivers.send_test(strict.custody, strict.operator, hook)
    assert kinds(strict, hook)[-1] == "test" and "test" not in kinds(strict, other)
    strict.clock.move(TEST_EVERY)
    manage_receivers.send_test(strict.custody, strict.operator, hook)
    rows = manage_receivers.list_notices(strict.custody, strict.operator, hook, None, 50).items
    assert [row.kind for row in rows].count("test") == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE notice_receivers SET address = 'https://evil.example/'",
        "UPDATE notice_receivers SET tenant_id = '{other}'",
        "UPDATE notice_receivers SET way = 'mail', address = 'evil@evil.example'",
    ],
)
def test_a_row_that_somebody_else_changed_is_seen_to_be_altered(strict: World, change: str) -> None:
    receiver(strict)
    with owned(strict.custody.records) as engine, engine.begin() as connection:
        connection.execute(text(change.format(other=strict.other_tenant)))
    who = strict.other_operator if "tenant" in change else strict.operator
    (found,) = list_receivers(strict.custody, who, None, 50).items
    assert found.state == "altered"
    named = list(find_altered(strict.custody.records, strict.custody.binding, strict.clock.now()))
    assert len(named) == 1 and found.row.id in named[0]


def test_a_removed_receiver_that_is_put_back_is_seen_to_be_altered(strict: World) -> None:
    hook = receiver(strict)
    with strict.custody.records.read() as reads:
        before = reads.execute(select(notice_receivers)).one()
    manage_receivers.remove_receiver(strict.custody, strict.operator, hook)
    with owned(strict.custody.records) as engine, engine.begin() as connection:
        connection.execute(update(notice_receivers).values(before._asdict()))
    assert states(strict) == ["altered"], "the log knows of its removal"


def test_a_receiver_that_somebody_made_up_is_seen_to_be_altered(strict: World) -> None:
    receiver(strict)
    with owned(strict.custody.records) as engine, engine.begin() as connection:
        row = connection.execute(select(notice_receivers)).one()
        connection.execute(delete(notice_receivers).where(notice_receivers.c.id != row.id))
        forged = {**row._asdict(), "id": "rcv_" + "a" * 26, "address": "https://evil.example/"}
        connection.execute(insert(notice_receivers).values(forged))
    assert sorted(states(strict)) == ["altered", "ok"]


def test_who_is_forgotten_is_told_nothing_more_and_their_address_goes(strict: World) -> None:
    mine = own(strict)
    redact_person(strict.custody, strict.administrator, strict.engineer.id, "They left and asked for it")
    with strict.custody.records.read() as reads:
        row = reads.execute(select(notice_receivers).where(notice_receivers.c.id == mine)).one()
    assert row.address == "" and row.removed_at is not None
    assert list(find_altered(strict.custody.records, strict.custody.binding, strict.clock.now())) == []
    assert not any("support.example" in str(entry.particulars) for entry in strict.entries()[-2:])


def test_an_entry_whose_address_is_redacted_ends_its_receiver(strict: World) -> None:
    receiver(strict, MAIL, Way.MAIL)
    redact_entry(strict.custody, strict.administrator, strict.entries()[-1].entry_id, "A private address")
    assert seen(strict, "operator") == []
    with strict.custody.records.read() as reads:
        assert reads.execute(select(notice_receivers.c.address)).scalar() == ""


def test_a_receiver_that_somebody_deleted_is_missed(strict: World) -> None:
    """Nobody is told any more, and nobody is told that: the doctor names it."""
    hook = receiver(strict)
    with owned(strict.custody.records) as engine, engine.begin() as connection:
        connection.execute(text("DELETE FROM notices"))
        connection.execute(text("DELETE FROM notice_receivers"))
    (named,) = find_altered(strict.custody.records, strict.custody.binding, strict.clock.now())
    assert hook in named
