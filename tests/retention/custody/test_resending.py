"""What a person had erased does not come back by itself: a client that resumes begins a new upload."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import select

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration, unfinished, upload_session
from retention.domain.faults import Erased, Refused
from retention.jobs.sweep import begin_expired, sweep
from retention.records.tables import bundles
from tests.retention.custody.world import DAY, NUMBER, REASON, TICK, World

WEEK = 7 * DAY
NAME = "AzureStackLogs.zip"


def erase(world: World, bundle: str) -> None:
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)


def refused(world: World, content: bytes = b"content") -> Refused:
    with pytest.raises(Refused) as told:
        world.upload(content, file_name=NAME)
    assert told.value.reason == "erased-lately"
    return told.value


def test_the_same_file_of_the_stamp_is_refused_for_as_long_as_uploads_are_kept(world: World) -> None:
    world.open_case()
    erase(world, world.upload(b"content", file_name=NAME))
    error = refused(world)
    assert error.facts["until"] == world.clock.now() + WEEK
    assert "another name" in error.message
    sweep(world.custody)
    refused(world)  # a tombstone that has forgotten the name
    world.clock.move(WEEK - TICK)
    refused(world)
    world.clock.move(TICK)
    world.upload(b"content", file_name=NAME)


def test_a_refusal_is_an_entry_and_begins_nothing(world: World) -> None:
    world.open_case()
    erase(world, world.upload(b"content", file_name=NAME))
    with world.custody.records.read() as reads:
        before = len(reads.execute(select(bundles.c.id)).all())
    refused(world)
    with world.custody.records.read() as reads:
        assert len(reads.execute(select(bundles.c.id)).all()) == before
    assert world.last() == ("upload.created", "refused", "erased-lately")


def test_another_size_and_another_name_are_other_files(world: World) -> None:
    world.open_case()
    erase(world, world.upload(b"content", file_name=NAME))
    world.upload(b"contents", file_name=NAME)
    world.upload(b"content", file_name="content-2.zip")


def test_another_digest_is_another_file(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"content", file_name=NAME)
    sweep(world.custody)
    erase(world, bundle)
    world.upload(b"CONTENT", file_name=NAME, sha256=hashlib.sha256(b"CONTENT").hexdigest())
    with pytest.raises(Refused):
        world.upload(b"content", file_name=NAME, sha256=hashlib.sha256(b"content").hexdigest())


def test_a_whole_case_is_marked_too(world: World) -> None:
    world.open_case()
    world.upload(b"content", file_name=NAME)
    erasure = erasure_steps.request_case_erasure(world.custody, world.operator, NUMBER)
    assert erasure.resend_until == world.clock.now() + WEEK
    refused(world)


def test_what_is_reported_as_sensitive_is_refused_again_as_well(world: World) -> None:
    world.open_case()
    world.assign(world.engineer)
    bundle = world.upload(b"content", file_name=NAME)
    erasure_steps.report_bundle(world.custody, world.engineer, bundle, REASON)
    refused(world)


def test_what_its_sender_gave_up_or_the_clock_erased_may_come_again(world: World) -> None:
    world.open_case()
    given_up = world.announce(len(b"content"), file_name=NAME)
    unfinished.terminate_upload(world.custody, world.stamp, given_up)
    expired = world.announce(len(b"content"), file_name=NAME)
    world.clock.move(WEEK + DAY)
    sweep(world.custody)
    with pytest.raises(Erased):
        unfinished.find_upload(world.custody, world.stamp, expired)
    world.upload(b"content", file_name=NAME)


def test_a_length_told_later_is_held_to_it_when_it_is_told(world: World) -> None:
    world.open_case()
    erase(world, world.upload(b"content", file_name=NAME))
    late = declaration.create_upload(
        world.custody,
        world.stamp,
        world.collection(0, file_name=NAME),
        case_number=NUMBER,
        stamp_id=None,
        deferred=True,
    ).id
    with pytest.raises(Refused) as told:
        upload_session.begin(world.custody, world.uploads, world.stamp, late, 0, told=len(b"content"))
    assert told.value.reason == "erased-lately"
    sweep(world.custody)
    world.clock.move(WEEK + TICK)  # of the mark; what was refused does not come with its end
    with pytest.raises(Erased):
        upload_session.begin(world.custody, world.uploads, world.stamp, late, 0, told=len(b"content"))
    assert world.row(late).state == "erased"


def test_what_was_erased_before_its_size_was_told_is_refused_by_its_name(world: World) -> None:
    world.open_case()
    late = declaration.create_upload(
        world.custody,
        world.stamp,
        world.collection(0, file_name=NAME),
        case_number=NUMBER,
        stamp_id=None,
        deferred=True,
    ).id
    erase(world, late)
    refused(world)
    refused(world, b"of another size")


def test_what_the_clock_was_erasing_when_a_person_asked_is_refused_too(world: World) -> None:
    world.open_case()
    expired = world.announce(len(b"content"), file_name=NAME)
    world.clock.move(WEEK + DAY)
    begin_expired(world.custody, 10)
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, expired)
    assert erasure.resend_until == world.clock.now() + WEEK
    refused(world)
    sweep(world.custody)
    refused(world)


def test_the_mark_tells_no_name_and_goes_when_its_time_is_over(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"content", file_name=NAME)
    erase(world, bundle)
    sweep(world.custody)
    of = select(bundles.c.resend_mark, bundles.c.file_name).where(bundles.c.id == bundle)
    with world.custody.records.read() as reads:
        marked, name = reads.execute(of).one()
    assert (len(marked), name) == (64, "")
    world.clock.move(WEEK)
    sweep(world.custody)
    with world.custody.records.read() as reads:
        assert reads.execute(of).one().resend_mark is None
