"""The clock's rules met by the verbs: when data goes, whatever came late."""

from __future__ import annotations

import pytest

from audit.tlog.overdue import overdue
from retention.custody.access import manage_cases
from retention.custody.uploads import declaration
from retention.domain.faults import Conflict, Invalid
from retention.jobs.sweep import sweep
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, TICK, World

CONTENT = b"log line\n" * 50


def assert_erased_exactly(world: World, bundle: str, after: object) -> None:
    """Alive one microsecond before `after` has passed, gone when it has."""
    world.clock.move(after - TICK)  # type: ignore[operator]
    sweep(world.custody)
    assert world.state(bundle) == "complete"
    world.clock.move(TICK)
    assert [late.bundle for late in overdue(world.leaves(), world.clock.now())] == [bundle]
    sweep(world.custody)
    assert world.state(bundle) == "erased"
    assert overdue(world.leaves(), world.clock.now()) == []


def test_a_close_heard_late_counts_from_the_close(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    strict.clock.move(40 * DAY)
    strict.close_case(at=strict.clock.now() - 30 * DAY)
    assert_erased_exactly(strict, bundle, 60 * DAY)


def test_a_close_heard_after_its_deadline_erases_at_once(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    strict.clock.move(200 * DAY)
    strict.close_case(at=strict.clock.now() - 90 * DAY)
    sweep(strict.custody)
    assert strict.state(bundle) == "erased"


def test_a_close_in_the_future_or_before_the_opening_is_refused(strict: World) -> None:
    strict.open_case()
    for at in (strict.clock.now() + TICK, strict.clock.now() - TICK):
        with pytest.raises(Invalid):
            strict.close_case(at=at)
    strict.close_case(at=strict.clock.now())


def test_reopening_cancels_and_the_next_close_starts_anew(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    strict.close_case()
    strict.clock.move(89 * DAY)
    manage_cases.reopen_case(strict.custody, strict.case_system, NUMBER)
    strict.clock.move(1000 * DAY)
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"
    strict.close_case()
    assert_erased_exactly(strict, bundle, 90 * DAY)


def test_reopening_does_not_save_what_was_due_while_the_sweep_was_late(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    strict.close_case()
    strict.clock.move(90 * DAY)
    manage_cases.reopen_case(strict.custody, strict.case_system, NUMBER)
    assert strict.state(bundle) == "erasing"
    sweep(strict.custody)
    assert strict.row(bundle).erased_cause == "deadline"


def test_reopening_heard_late_cancels_a_deadline_that_lay_ahead_of_it(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(CONTENT)
    strict.close_case()
    strict.clock.move(91 * DAY)
    manage_cases.reopen_case(strict.custody, strict.case_system, NUMBER, strict.clock.now() - 2 * DAY)
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"


def test_a_bundle_that_arrives_after_the_close_shares_the_deadline(strict: World) -> None:
    strict.open_case()
    strict.close_case()
    strict.clock.move(80 * DAY)
    bundle = strict.upload(CONTENT)
    assert_erased_exactly(strict, bundle, 10 * DAY)


def test_nothing_is_taken_for_a_case_whose_deadline_has_come(strict: World) -> None:
    strict.open_case()
    strict.close_case()
    strict.clock.move(90 * DAY)
    with pytest.raises(Conflict) as refused:
        strict.announce(10)
    assert refused.value.reason == "case-past-deadline"


def test_an_unclaimed_bundle_is_kept_90_days_from_receipt(strict: World) -> None:
    bundle = strict.announce(len(CONTENT), number=None)
    strict.clock.move(2 * DAY)
    strict.send(bundle, CONTENT)
    sweep(strict.custody)
    assert_erased_exactly(strict, bundle, 90 * DAY)


def test_a_claim_hands_the_bundle_to_the_cases_clock(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    bundle = strict.upload(CONTENT, number=None)
    strict.clock.move(90 * DAY - TICK)
    declaration.claim_bundle(strict.custody, strict.engineer, bundle, NUMBER)
    strict.clock.move(500 * DAY)
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"
    strict.close_case()
    assert_erased_exactly(strict, bundle, 90 * DAY)


def test_a_claim_that_comes_at_the_deadline_is_too_late(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    bundle = strict.upload(CONTENT, number=None)
    strict.clock.move(90 * DAY)
    with pytest.raises(Conflict) as refused:
        declaration.claim_bundle(strict.custody, strict.engineer, bundle, NUMBER)
    assert refused.value.reason == "bundle-due"
    assert strict.row(bundle).case_id is None


def test_a_bundle_is_claimed_once(strict: World) -> None:
    for number in (NUMBER, OTHER_NUMBER):
        strict.open_case(number)
        strict.assign(strict.engineer, number=number)
    bundle = strict.upload(CONTENT, number=None)
    declaration.claim_bundle(strict.custody, strict.engineer, bundle, NUMBER)
    with pytest.raises(Conflict):
        declaration.claim_bundle(strict.custody, strict.engineer, bundle, OTHER_NUMBER)


def test_an_upload_that_nobody_finished_expires(strict: World) -> None:
    strict.open_case()
    bundle = strict.announce(len(CONTENT))
    strict.send(bundle, CONTENT[:100])
    strict.clock.move(strict.custody.limits.upload_lifetime - TICK)
    assert sweep(strict.custody).expired == 0
    strict.clock.move(TICK)
    assert sweep(strict.custody).expired == 1
    assert (strict.state(bundle), strict.row(bundle).erased_cause) == ("erased", "upload-expired")


def test_an_upload_whose_last_byte_came_is_finished_not_expired(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.open_case()
    bundle = strict.announce(len(CONTENT))
    with monkeypatch.context() as patch:
        patch.setattr("retention.custody.uploads.upload_session.finish_upload", lambda *_: None)
        strict.send(bundle, CONTENT)
    assert strict.state(bundle) == "receiving"
    strict.clock.move(strict.custody.limits.upload_lifetime + HOUR)
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"
