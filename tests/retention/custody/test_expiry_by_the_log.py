"""When an unfinished upload goes stands in the log: what custody does and what `audit.tlog.overdue` works out are the
same, whatever became of the requests, and however long they ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from audit.tlog.overdue import Holdings, overdue
from retention.custody.access import manage_links
from retention.custody.log_rules import rules_of, tell_rules
from retention.custody.uploads import (
    block_list,
    block_staging,
    concatenation,
    declaration,
    unfinished,
    upload_session,
)
from retention.custody.uploads.block_staging import Stoppable, Through
from retention.domain.bundle import CollectionType
from retention.domain.faults import Conflict
from retention.domain.upload_link import Declared, LinkTerms
from retention.jobs.sweep import sweep
from tests.retention.custody.world import DAY, HOUR, NUMBER, TICK, TRIGGER, World, but

CONTENT, PART = bytes(range(256)) * 16, 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", PART)


@pytest.fixture
def told(strict: World) -> World:
    """A world whose log knows the rules."""
    assert tell_rules(strict.custody)
    strict.open_case()
    return strict


def expiry(world: World, bundle: str) -> datetime | None:
    """What the log says; in every case what the records say as well."""
    holdings = Holdings()
    for leaf in world.leaves():
        holdings.take(leaf)
    return holdings.bundles[bundle].expires


def late(world: World, at: datetime | None = None) -> list[str]:
    return [one.bundle for one in overdue(world.leaves(), at or world.clock.now())]


def continued(world: World, bundle: str) -> int:
    return sum(leaf["action"] == "upload.continued" and leaf["bundle"] == bundle for leaf in world.leaves())


def assert_expires(world: World, bundles: Sequence[str], at: datetime) -> None:
    """At that moment, and not before; the log alone says the same."""
    for bundle in bundles:
        assert (world.row(bundle).expires_at, expiry(world, bundle)) == (at, at)
    world.clock.at = at - TICK
    assert (sweep(world.custody).expired, late(world)) == (0, [])
    world.clock.at = at
    assert late(world) == sorted(bundles)
    assert sweep(world.custody).expired == len(bundles)
    assert late(world) == []


def test_an_upload_expires_a_week_after_its_last_bytes_by_the_log_too(told: World) -> None:
    bundle, other = told.announce(len(CONTENT)), told.announce(len(CONTENT), None)
    told.clock.move(3 * DAY)
    told.send(bundle, CONTENT[:100])
    assert expiry(told, other) == told.clock.now() + 4 * DAY == told.row(other).expires_at
    told.clock.at = told.row(bundle).expires_at
    assert late(told) == [other, bundle], "what is overdue first comes first"
    sweep(told.custody)
    assert late(told) == []


def test_a_month_after_it_began_an_upload_goes_however_often_bytes_come(told: World) -> None:
    bundle, began = told.announce(len(CONTENT)), told.clock.now()
    for number in range(10):
        told.clock.move(29 * DAY / 10)
        told.send(bundle, CONTENT[number : number + 1], number)
    assert_expires(told, [bundle], began + 30 * DAY)


def test_a_request_that_goes_on_for_weeks_is_told_of_in_steps(told: World) -> None:
    """Its parts count as they come; nothing of it is ever overdue, and the entries are bounded."""
    bundle, began = told.announce(len(CONTENT)), told.clock.now()
    session = upload_session.begin(told.custody, told.uploads, told.stamp, bundle, 0)
    with session:
        for number in range(20 * 12):
            session.feed(CONTENT[number * PART : (number + 1) * PART])
            assert told.row(bundle).expires_at == expiry(told, bundle)
            told.clock.move(2 * HOUR)
            assert late(told) == []
    assert continued(told, bundle) <= 24 * 20 / 7
    assert told.row(bundle).expires_at >= began + 20 * DAY + 7 * DAY - 9 * HOUR
    assert_expires(told, [bundle], told.row(bundle).expires_at)


def test_what_a_killed_request_left_goes_by_the_last_entry(told: World) -> None:
    bundle, began = told.announce(len(CONTENT)), told.clock.now()
    told.clock.move(HOUR)
    with upload_session.begin(told.custody, told.uploads, told.stamp, bundle, 0) as session:
        session.feed(CONTENT[: 2 * PART + 1])  # and never parks
    assert (told.row(bundle).offset, continued(told, bundle)) == (2 * PART, 0)
    assert_expires(told, [bundle], began + 7 * DAY)


def test_an_upload_whose_last_part_counts_is_finished_though_its_process_died(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = told.announce(3 * PART)
    with monkeypatch.context() as patch:
        patch.setattr("retention.custody.uploads.upload_session.finish_upload", lambda *_: None)
        with upload_session.begin(told.custody, told.uploads, told.stamp, bundle, 0) as session:
            session.feed(CONTENT[: 3 * PART])
    assert (told.row(bundle).offset, told.state(bundle)) == (3 * PART, "receiving")
    assert continued(told, bundle) == 1
    told.clock.move(8 * DAY)
    assert (expiry(told, bundle), late(told), sweep(told.custody).expired) == (None, [], 0)
    assert told.state(bundle) == "complete"


def test_who_sends_more_of_what_came_whole_is_not_told_that_it_expired(told: World) -> None:
    bundle = told.announce(PART)
    told.send(bundle, CONTENT[:PART])
    told.clock.move(60 * DAY)
    with pytest.raises(Conflict, match="this upload is complete"):
        told.send(bundle, CONTENT[:1], PART)


def test_a_length_told_later_is_told_to_the_log_and_keeps_nothing_longer(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = told.collection(0)
    made = declaration.create_upload(
        told.custody, told.stamp, collection, case_number=NUMBER, stamp_id=None, deferred=True
    )
    bundle = str(made.id)
    told.send(bundle, CONTENT[: 2 * PART])
    kept = told.row(bundle).expires_at
    told.clock.move(DAY)
    with monkeypatch.context() as patch:
        patch.setattr("retention.custody.uploads.upload_session.finish_upload", lambda *_: None)
        for length in (3 * PART, None):
            offset = told.row(bundle).offset
            with upload_session.begin(
                told.custody, told.uploads, told.stamp, bundle, offset, told=length
            ) as session:
                session.park()
            assert (told.row(bundle).expires_at, expiry(told, bundle)) == (kept, kept)
    assert continued(told, bundle) == 2
    assert_expires(told, [bundle], kept)


def test_beginning_an_empty_upload_keeps_it_longer_and_is_told_in_steps(told: World) -> None:
    bundle = told.announce(len(CONTENT))
    for _ in range(48):
        told.clock.move(HOUR)
        with upload_session.begin(told.custody, told.uploads, told.stamp, bundle, 0):
            pass
    assert 48 / 9 <= continued(told, bundle) <= 48 / 7
    assert told.row(bundle).expires_at > told.clock.now() + 7 * DAY - 8 * HOUR
    assert_expires(told, [bundle], told.row(bundle).expires_at)


def through(world: World) -> Through:
    terms = LinkTerms(expires_at=world.clock.now() + 90 * DAY, type=CollectionType.PROACTIVE, trigger=TRIGGER)
    issued = manage_links.create_stamp_link(world.custody, world.operator, str(world.stamp.stamp), terms)
    link = manage_links.find_link(world.custody, issued.id)
    assert link is not None
    return Through(world.custody, link, link.actor("192.0.2.7", "r-1"))


def stage(by: Through, number: int) -> str:
    with block_staging.begin_block(by, Stoppable(), "logs.zip", f"{number:06}", 3, Declared()) as block:
        block.feed(b"abc")
        block.keep()
    return block.bundle_id


def test_blocks_that_come_for_a_month_are_told_of_in_steps_and_then_they_go(told: World) -> None:
    by, began = through(told), told.clock.now()
    for number in range(7 * 12):
        bundle = stage(by, number)
        assert told.row(bundle).expires_at == expiry(told, bundle)
        told.clock.move(4 * HOUR)
        assert late(told) == []
    assert 14 * 24 / 9 <= continued(told, bundle) <= 14 * 24 / 7
    told.clock.move(5 * DAY)
    for number in range(2):
        stage(by, 100 + number)
        told.clock.move(5 * DAY)
    assert told.row(bundle).expires_at == began + 30 * DAY, "however often blocks come"
    assert_expires(told, [bundle], began + 30 * DAY)


def test_a_blob_that_is_committed_is_finished_and_is_the_cases_that_the_commit_names(told: World) -> None:
    by = through(told)
    bundle = stage(by, 1)
    assert told.row(bundle).case_id is None
    block_list.commit_blocks(
        by, "logs.zip", [(block_list.BlockKind.LATEST, "000001")], Declared(case=NUMBER), {"metadata": {}}
    )
    assert told.row(bundle).case_id is not None
    told.clock.move(500 * DAY)
    assert (late(told), told.row(bundle).due_at) == ([], None), "an open case keeps its bundles"
    told.close_case()
    told.clock.move(90 * DAY)
    assert late(told) == [bundle]


def test_a_partial_upload_expires_unless_a_final_one_is_made_of_it(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    partials = []
    for _ in range(3):
        partials.append(str(concatenation.create_partial(told.custody, told.stamp, 8, None).id))
        told.send(partials[-1], CONTENT[:8])
    kept = told.clock.now() + 7 * DAY
    told.clock.move(DAY)
    with monkeypatch.context() as patch:  # the process dies before a byte of the final one
        patch.setattr(concatenation, "_seal_again", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            concatenation.concatenate(
                told.custody, told.uploads, told.stamp, told.collection(0), partials[:2],
                case_number=NUMBER, stamp_id=None,
            )  # fmt: skip
    final = next(leaf for leaf in told.leaves() if leaf.get("details", {}).get("partials"))
    assert final["details"]["partials"] == partials[:2]
    assert [expiry(told, one) for one in partials] == [None, None, kept]
    assert_expires(told, [partials[2]], kept)
    told.clock.at = kept + DAY
    assert late(told) == [final["bundle"]]
    assert sweep(told.custody).expired == 1
    assert {told.state(one) for one in [*partials, final["bundle"]]} == {"erased"}
    assert late(told) == []


def test_who_gives_an_upload_up_leaves_nothing_overdue(told: World) -> None:
    bundle = told.announce(len(CONTENT))
    unfinished.terminate_upload(told.custody, told.stamp, bundle)
    sweep(told.custody)
    assert late(told, told.clock.now() + 500 * DAY) == []


def changed(world: World, **limits: timedelta) -> World:
    """The service started again with other limits."""
    again = but(world, limits=replace(world.custody.limits, **limits))
    assert tell_rules(again.custody)
    return again


def test_the_rules_in_force_when_bytes_came_count(told: World) -> None:
    before, untouched = told.announce(len(CONTENT)), told.announce(len(CONTENT))
    began = told.clock.now()
    shorter = changed(told, upload_lifetime=DAY, upload_longest=2 * DAY)
    new = shorter.announce(len(CONTENT))
    shorter.send(before, CONTENT[:5])
    for bundle, kept in ((before, 1), (new, 1), (untouched, 7)):
        at = began + kept * DAY
        assert (shorter.row(bundle).expires_at, expiry(shorter, bundle)) == (at, at)
    longer = changed(shorter, upload_lifetime=3 * DAY, upload_longest=4 * DAY)
    longer.clock.move(HOUR)
    longer.send(new, CONTENT[:5])
    assert expiry(longer, new) == longer.row(new).expires_at == began + HOUR + 3 * DAY


def test_of_uploads_from_before_any_rules_were_told_nothing_is_said(strict: World) -> None:
    strict.open_case()
    bundle = strict.announce(len(CONTENT))
    strict.send(bundle, CONTENT[:10])
    strict.clock.move(8 * DAY)
    assert (late(strict), expiry(strict, bundle)) == ([], None)
    strict.clock.move(-8 * DAY)
    assert tell_rules(strict.custody)
    strict.send(bundle, CONTENT[10:20], 10)
    assert expiry(strict, bundle) == strict.row(bundle).expires_at, "from the next bytes on"


def test_rules_are_told_when_they_differ_from_the_last_told_and_once(strict: World) -> None:
    c = strict.custody
    assert [tell_rules(c), tell_rules(c), tell_rules(c)] == [True, False, False]
    assert strict.leaves()[-1]["details"] == rules_of(c.limits)
    other = replace(c, limits=replace(c.limits, case_quota=7))
    assert [tell_rules(other), tell_rules(other), tell_rules(c)] == [True, False, True]
    told = [leaf for leaf in strict.leaves() if leaf["action"] == "rules.set"]
    assert [leaf["details"].get("case_quota") for leaf in told] == [None, 7, None]
    assert told[0]["details"]["retention_seconds"] == 90 * 86_400
    assert told[0]["details"]["upload_seconds"] == 7 * 86_400
