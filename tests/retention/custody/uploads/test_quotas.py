"""Quotas, and the preflight that tells of them before bytes move."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import concatenation, declaration, handover, quotas
from retention.domain.bundle import LIVE
from retention.domain.faults import Conflict, Invalid, QuotaExceeded
from retention.jobs.sweep import sweep
from retention.records.tables import bundles
from tests.retention.custody.world import DAY, NUMBER, OTHER_NUMBER, World, but, strict_world


def bounded(world: World, **limits: int) -> World:
    return but(world, limits=dataclasses.replace(world.custody.limits, **limits))


def left(world: World, size: int = 1, number: str = NUMBER) -> quotas.Room:
    return declaration.check_upload(
        world.custody, world.stamp, world.collection(size), case_number=number, stamp_id=None
    )


def test_without_a_quota_there_is_no_bound(strict: World) -> None:
    strict.open_case()
    assert left(strict, 10**9) == quotas.Room(None, None)


def test_an_upload_that_is_not_finished_counts_whole(strict: World) -> None:
    world = bounded(strict, stamp_quota=100, case_quota=80)
    world.open_case()
    begun = world.announce(60)
    world.send(begun, b"x" * 10)
    assert left(world) == quotas.Room(40, 20)
    with pytest.raises(QuotaExceeded) as refused:
        world.announce(21)
    assert (refused.value.reason, refused.value.facts) == ("case-quota", {"left": 20})
    assert world.last() == ("upload.created", "refused", "case-quota")
    world.announce(20)
    world.open_case(OTHER_NUMBER)
    with pytest.raises(QuotaExceeded) as refused:
        world.announce(21, OTHER_NUMBER)
    assert (refused.value.reason, refused.value.facts) == ("stamp-quota", {"left": 20})
    world.send(begun, b"x" * 50, 10)  # what was accepted can be completed
    assert world.state(begun) == "received"


def test_what_is_erased_or_expired_makes_room(strict: World) -> None:
    world = bounded(strict, stamp_quota=100)
    world.open_case()
    asked, given_up = world.upload(b"x" * 60), world.announce(40)
    erasure_steps.request_bundle_erasure(world.custody, world.operator, asked)
    assert left(world).stamp == 60
    world.clock.move(8 * DAY)
    sweep(world.custody)
    assert world.state(given_up) == "erased"
    assert left(world).stamp == 100


def test_a_preflight_answers_as_the_creation_would_and_makes_nothing(strict: World) -> None:
    world = bounded(strict, case_quota=10)
    world.open_case()
    before = len(world.entries())
    left(world, 10)
    assert len(world.entries()) == before, "nothing was refused, nothing was made"
    for size, kind in ((11, QuotaExceeded), (world.custody.limits.max_bundle_size + 1, Invalid)):
        for call in (lambda: left(world, size), lambda: world.announce(size)):  # noqa: B023 - called at once
            with pytest.raises(kind):
                call()
    world.close_case()
    world.clock.move(90 * DAY)
    with pytest.raises(Conflict) as late:
        left(world)
    assert late.value.reason == "case-past-deadline"
    with world.custody.records.read() as reads:
        assert reads.execute(bundles.select()).all() == []


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.sampled_from([NUMBER, OTHER_NUMBER]))),
)
def test_what_is_accepted_never_exceeds_a_quota_and_nothing_that_fits_is_refused(
    stamp_quota: int, case_quota: int, steps: list[tuple[int, bool, str]]
) -> None:
    with strict_world() as plain:
        world = bounded(plain, stamp_quota=stamp_quota, case_quota=case_quota)
        for number in (NUMBER, OTHER_NUMBER):
            world.open_case(number)
        held: dict[str, list[tuple[str, int]]] = {NUMBER: [], OTHER_NUMBER: []}
        for size, erase, number in steps:
            if erase and held[number]:
                name, _size = held[number].pop()
                erasure_steps.request_bundle_erasure(world.custody, world.operator, name)
            of_case = sum(each for _, each in held[number])
            of_stamp = sum(each for found in held.values() for _, each in found)
            fits = size <= case_quota - of_case and size <= stamp_quota - of_stamp
            try:
                held[number].append((world.announce(size, number), size))
            except QuotaExceeded:
                assert not fits
            else:
                assert fits
        with world.custody.records.read() as reads:
            live = reads.execute(bundles.select().where(bundles.c.state.in_(LIVE))).all()
        assert sum(bundle.size for bundle in live) <= stamp_quota


def test_partial_uploads_count_for_their_stamp_until_a_bundle_is_made_of_them(strict: World) -> None:
    world = bounded(strict, stamp_quota=100, case_quota=70)
    world.open_case()
    partials = [concatenation.create_partial(world.custody, world.stamp, 40, None).id for _ in range(2)]
    assert left(world) == quotas.Room(20, 70)
    with pytest.raises(QuotaExceeded):
        concatenation.create_partial(world.custody, world.stamp, 21, None)
    for name in partials:
        world.send(name, b"x" * 40)

    def whole(number: str) -> object:
        return concatenation.concatenate(
            world.custody,
            world.uploads,
            world.stamp,
            world.collection(1),
            partials,
            case_number=number,
            stamp_id=None,
        )

    with pytest.raises(QuotaExceeded) as refused:
        whole(NUMBER)
    assert refused.value.reason == "case-quota"
    roomy = bounded(strict, stamp_quota=100, case_quota=80)
    world.custody = roomy.custody
    whole(NUMBER)
    with pytest.raises(QuotaExceeded) as full:
        left(world, 20)
    assert full.value.facts == {"left": 0}, "the case has it all, the stamp has it once"
    with pytest.raises(QuotaExceeded) as over:
        concatenation.create_partial(world.custody, world.stamp, 21, None)
    assert over.value.facts == {"left": 20}


def test_a_length_told_late_is_held_to_the_quota_then(strict: World) -> None:
    world = bounded(strict, stamp_quota=100)
    world.open_case()
    made = declaration.create_upload(
        world.custody, world.stamp, world.collection(1), case_number=NUMBER, stamp_id=None, deferred=True
    )
    world.send(made.id, b"x" * 30)
    assert left(world).stamp == 70
    with pytest.raises(QuotaExceeded) as refused:
        handover.take_over(world.custody, world.stamp, made.id, "token", 30, 101)
    assert (refused.value.facts["left"], world.last()[2]) == (70, "stamp-quota")
    handover.take_over(world.custody, world.stamp, made.id, "token", 30, 100)
    with pytest.raises(QuotaExceeded):
        left(world)
