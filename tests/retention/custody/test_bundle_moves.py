"""Moves between cases: who may, what goes along, what stays behind."""

from __future__ import annotations

import pytest

from audit.tlog.overdue import overdue
from retention.custody import bundle_moves
from retention.custody.access import manage_cases
from retention.custody.reading import bundle_reads
from retention.custody.uploads import declaration
from retention.domain.faults import Conflict, Erased, NotFound, Refused
from retention.jobs.sweep import sweep
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, TICK, World

CONTENT = b"log line\n" * 50


@pytest.fixture
def two(strict: World) -> World:
    """Two cases of one customer, the engineer assigned to both."""
    for number in (NUMBER, OTHER_NUMBER):
        strict.open_case(number)
        strict.assign(strict.engineer, number=number)
    return strict


def move(world: World, bundle: str, number: str = OTHER_NUMBER) -> None:
    bundle_moves.move_bundle(world.custody, world.engineer, bundle, number, REASON)


def case_id(world: World, number: str) -> str:
    return str(manage_cases.get_case(world.custody, world.case_system, number).id)


def test_a_misfiled_bundle_goes_to_the_right_case_and_the_log_says_from_where(two: World) -> None:
    bundle = two.upload(CONTENT)
    move(two, bundle)
    assert two.row(bundle).case_id == case_id(two, OTHER_NUMBER)
    leaf = two.leaves()[-1]
    assert (leaf["action"], leaf["case"], leaf["subject"], leaf["bundle"]) == (
        "bundle.moved",
        case_id(two, OTHER_NUMBER),
        case_id(two, NUMBER),
        bundle,
    )
    two.grant(number=OTHER_NUMBER)
    assert two.read(bundle) == CONTENT


def test_a_bundle_moved_from_a_closed_case_keeps_its_deadline_and_its_new_case_lives_on(two: World) -> None:
    bundle, stays = two.upload(CONTENT), two.upload(CONTENT, OTHER_NUMBER)
    two.close_case(NUMBER)
    two.clock.move(10 * DAY)
    move(two, bundle)
    manage_cases.reopen_case(two.custody, two.case_system, NUMBER)  # the cap stays all the same
    two.clock.move(80 * DAY - HOUR)
    grant = two.grant(number=OTHER_NUMBER)
    two.clock.move(HOUR - TICK)
    sweep(two.custody)
    assert (two.state(bundle), overdue(two.leaves(), two.clock.now())) == ("complete", [])
    two.clock.move(TICK)
    assert [late.bundle for late in overdue(two.leaves(), two.clock.now())] == [bundle]
    sweep(two.custody)
    assert (two.state(bundle), two.state(stays)) == ("erased", "complete")
    assert two.row(bundle).erased_cause == "deadline"
    assert two.read(stays) == CONTENT, f"{grant.id} is of a case that lives"


def test_a_bundle_moved_to_a_closed_case_shares_its_deadline(two: World) -> None:
    bundle = two.upload(CONTENT)
    two.close_case(OTHER_NUMBER)
    two.clock.move(30 * DAY)
    move(two, bundle)
    assert two.row(bundle).due_at == two.clock.now() + 60 * DAY


def test_a_read_under_the_old_cases_grant_is_cut(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_reads, "RECHECK_SECONDS", 0.0)
    bundle = two.upload(CONTENT)
    two.grant()
    opened = two.open(bundle)
    move(two, bundle)
    with pytest.raises(Refused) as cut:
        b"".join(opened.pieces(opened.spans[0]))
    opened.close()
    assert cut.value.reason == "grant-ended"
    with pytest.raises(Refused) as refused:
        two.open(bundle)
    assert refused.value.reason == "no-grant"


def test_a_consent_that_named_the_bundle_in_the_old_case_reaches_it_no_longer(two: World) -> None:
    bundle = two.upload(CONTENT)
    for number in (NUMBER, OTHER_NUMBER):
        two.assign(two.partner, number=number)
    two.consent(scope=[bundle])
    two.grant(two.partner)
    assert two.read(bundle, two.partner) == CONTENT
    move(two, bundle)
    with pytest.raises(NotFound):
        two.open(bundle, two.partner)


def test_an_engineer_of_one_case_only_moves_nothing(two: World) -> None:
    bundle = two.upload(CONTENT)
    two.unassign(two.engineer, OTHER_NUMBER)
    with pytest.raises(NotFound):
        move(two, bundle)
    with pytest.raises(NotFound):
        bundle_moves.move_bundle(two.custody, two.colleague, bundle, OTHER_NUMBER, REASON)
    assert two.row(bundle).case_id == case_id(two, NUMBER)


def test_a_bundle_does_not_go_to_another_customers_case(two: World) -> None:
    other = "120260301000009"
    two.open_case(other, "fabrikam")
    two.assign(two.engineer, number=other)
    with pytest.raises(NotFound):
        move(two, two.upload(CONTENT), other)


def test_a_move_says_why(two: World) -> None:
    with pytest.raises(Refused) as refused:
        bundle_moves.move_bundle(two.custody, two.engineer, two.upload(CONTENT), OTHER_NUMBER, "because")
    assert refused.value.reason == "reason-missing"
    assert two.last() == ("bundle.moved", "refused", "reason-missing")


def test_what_cannot_be_moved_is_told_why(two: World) -> None:
    unclaimed, bundle = two.upload(CONTENT, number=None), two.upload(CONTENT)
    reasons = []
    for name, number in ((unclaimed, NUMBER), (bundle, NUMBER)):
        with pytest.raises(Conflict) as refused:
            move(two, name, number)
        reasons.append(refused.value.reason)
    two.close_case(NUMBER)
    two.clock.move(90 * DAY)
    with pytest.raises(Conflict) as late:
        move(two, bundle)
    fresh = two.upload(CONTENT, OTHER_NUMBER)
    with pytest.raises(Conflict) as over:
        move(two, fresh, NUMBER)
    assert [*reasons, late.value.reason, over.value.reason] == [
        "unclaimed",
        "same-case",
        "bundle-due",
        "case-past-deadline",
    ]
    sweep(two.custody)
    with pytest.raises(Erased):
        move(two, bundle)


def test_an_unfinished_upload_can_be_moved_and_goes_on(two: World) -> None:
    bundle = two.announce(len(CONTENT))
    two.send(bundle, CONTENT[:100])
    move(two, bundle)
    two.send(bundle, CONTENT[100:], 100)
    sweep(two.custody)
    received = [leaf for leaf in two.leaves() if leaf["action"] == "bundle.received"]
    assert [leaf["case"] for leaf in received] == [case_id(two, OTHER_NUMBER)]


def test_a_claimed_bundle_that_is_moved_has_only_the_cases_clocks(two: World) -> None:
    bundle = two.upload(CONTENT, number=None)
    declaration.claim_bundle(two.custody, two.engineer, bundle, NUMBER)
    move(two, bundle)
    assert (two.row(bundle).due_at, two.row(bundle).cap_at) == (None, None)
