from __future__ import annotations

import pytest
from sqlalchemy import select

from retention.custody import receipts
from retention.custody.access import manage_cases
from retention.custody.erasure import erasure_steps
from retention.domain.faults import Conflict, Erased, NotFound, Refused, Unavailable
from retention.domain.receipt import check
from retention.jobs.sweep import SweepReport, begin_due, erase_one, pending_erasures, sweep
from retention.objects.store_errors import StoreUnavailable
from retention.records.tables import parts
from tests.retention.custody.world import DAY, NUMBER, OTHER_NUMBER, REASON, World, but


def test_the_confirmation_is_given_at_once_and_the_receipt_when_the_erasure_is_proven(world: World) -> None:
    world.open_case()
    bundle = world.upload(b"content")
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    with pytest.raises(NotFound):
        receipts.hand_out(world.custody, erasure.id)
    with pytest.raises(Erased):
        world.read(bundle, world.operator)
    sweep(world.custody)
    with pytest.raises(Conflict) as soon:
        receipts.hand_out(world.custody, erasure.id)
    assert soon.value.reason == "not-sequenced"
    world.sequence()
    document = receipts.hand_out(world.custody, erasure.id)
    checked = check(document, world.receipt_signer.verifier, world.log_signer.verifier)
    assert checked.fields["confirmation"] == erasure.confirmation
    assert [item["bundle"] for item in checked.fields["bundles"]] == [bundle]
    found = erasure_steps.find_erasure(world.custody, world.operator, erasure.confirmation.replace("-", " "))
    assert (found.id, found.cause) == (erasure.id, "customer-request")


def test_asking_again_gives_the_same_confirmation(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"content")
    asked = [erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle) for _ in range(2)]
    sweep(strict.custody)
    asked.append(erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle))
    assert len({erasure.confirmation for erasure in asked}) == 1
    whole = [erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER) for _ in range(2)]
    assert len({erasure.confirmation for erasure in whole}) == 1


def test_an_empty_case_is_proven_empty_at_once(strict: World) -> None:
    strict.open_case()
    erasure = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    assert erasure.proven_at == strict.clock.now()


def test_a_case_is_proven_erased_only_when_every_bundle_of_it_is(strict: World) -> None:
    """One bundle's own erasure is under way when the whole case is asked for."""
    strict.open_case()
    first, second = strict.upload(b"first"), strict.upload(b"second")
    alone = erasure_steps.request_bundle_erasure(strict.custody, strict.operator, first)
    whole = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    again = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    assert again.confirmation == whole.confirmation != alone.confirmation
    erasure_steps.erase_bundle(strict.custody, second)
    assert proven(strict, whole.confirmation) is None
    erasure_steps.erase_bundle(strict.custody, first)
    assert proven(strict, whole.confirmation) == proven(strict, alone.confirmation) == strict.clock.now()
    strict.sequence()
    listed = receipts.hand_out(strict.custody, whole.id)["receipt"]["bundles"]
    assert {item["bundle"] for item in listed} == {first, second}
    begun = [leaf["bundle"] for leaf in strict.leaves() if leaf["action"] == "bundle.erasing"]
    assert sorted(begun) == sorted([first, second]), "each began once"


def proven(world: World, confirmation: str) -> object:
    return erasure_steps.find_erasure(world.custody, world.operator, confirmation).proven_at


def test_an_engineer_erases_for_the_customer_with_a_reason_and_only_on_their_case(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"content")
    strict.assign(strict.engineer)
    erasure = erasure_steps.request_bundle_erasure(strict.custody, strict.engineer, bundle, REASON)
    assert erasure.cause == "engineer-for-customer"
    with pytest.raises(NotFound):
        erasure_steps.request_case_erasure(strict.custody, strict.colleague, NUMBER, REASON)


def test_the_tombstone_keeps_digests_and_sizes_and_nothing_that_a_person_wrote(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"content")
    before = strict.row(bundle)
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    sweep(strict.custody)
    stone = strict.row(bundle)
    assert (stone.sha256, stone.size, stone.manifest) == (before.sha256, before.size, before.manifest)
    assert (stone.file_name, stone.roles, stone.announced_sha256, stone.due_at) == ("", "[]", None, None)
    with strict.custody.records.read() as reads:
        assert reads.execute(select(parts).where(parts.c.bundle_id == bundle)).all() == []


def test_the_automatic_erasure_and_an_on_demand_one_after_close_both_work(strict: World) -> None:
    strict.open_case()
    asked, waits = strict.upload(b"asked"), strict.upload(b"waits")
    strict.close_case()
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, asked)
    sweep(strict.custody)
    assert (strict.state(asked), strict.state(waits)) == ("erased", "complete")
    strict.clock.move(90 * DAY)
    sweep(strict.custody)
    causes = {strict.row(bundle).erased_cause for bundle in (asked, waits)}
    assert causes == {"customer-request", "deadline"}


def test_on_demand_work_goes_ahead_of_scheduled_work_and_pages_miss_nothing(strict: World) -> None:
    strict.open_case(NUMBER)
    strict.open_case(OTHER_NUMBER)
    scheduled = [strict.upload(bytes([n])) for n in range(1, 4)]
    strict.close_case(NUMBER)
    strict.clock.move(90 * DAY)
    wanted = [strict.upload(bytes([n]), OTHER_NUMBER) for n in range(4, 7)]
    begin_due(strict.custody)
    for bundle in wanted:
        strict.clock.move(DAY)
        erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    order = pending_erasures(strict.custody, 50)
    assert [bundle for _, bundle in order] == [*wanted, *sorted(scheduled)]
    assert pending_erasures(strict.custody, 2) == order[:2]


class Unreachable:
    """An object store that never answers."""

    def __getattr__(self, name: str) -> object:
        def fail(*_: object) -> None:
            raise StoreUnavailable("no answer")

        return fail


def test_one_bundle_that_cannot_be_erased_does_not_stop_the_others(strict: World) -> None:
    strict.open_case()
    stuck, free = strict.upload(b"stuck"), strict.upload(b"free")

    class Half:
        def __getattr__(self, name: str) -> object:
            return getattr(strict.custody.objects, name)

        def destroy(self, bundle_id: str) -> int:
            if bundle_id == stuck:
                raise StoreUnavailable("no answer")
            return strict.custody.objects.destroy(bundle_id)

    erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    report = sweep(but(strict, objects=Half()).custody)
    assert (report.erased, report.failed) == (1, 1)
    assert (strict.state(stuck), strict.state(free)) == ("erasing", "erased")
    failed = [row for row in strict.entries() if row.outcome == "failed"]
    assert [(row.bundle, row.reason) for row in failed] == [(stuck, "StoreUnavailable")]
    assert not strict.custody.keys.exists(stuck), "what is left can be read by nobody"
    assert sweep(strict.custody).erased == 1


def test_what_is_still_there_after_deletion_is_not_proven(strict: World) -> None:
    strict.open_case()
    bundle = strict.upload(b"content")

    class Keeps:
        def __getattr__(self, name: str) -> object:
            return getattr(strict.custody.objects, name)

        def destroy(self, bundle_id: str) -> int:
            return 0

    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    stubborn = but(strict, objects=Keeps())
    with pytest.raises(Unavailable) as left:
        erasure_steps.erase_bundle(stubborn.custody, bundle)
    assert left.value.reason == "remains"
    assert not erase_one(stubborn.custody, bundle, SweepReport())
    assert strict.state(bundle) == "erasing"
    sweep(strict.custody)
    assert strict.state(bundle) == "erased"


def test_another_customers_confirmation_number_is_not_found(strict: World) -> None:
    strict.open_case()
    erasure = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    with pytest.raises(NotFound):
        erasure_steps.find_erasure(strict.custody, strict.other_operator, erasure.confirmation)
    assert strict.last()[1:] == ("refused", "erasure-not-visible")
    misheard = erasure.confirmation[:-1] + str((int(erasure.confirmation[-1]) + 1) % 10)
    with pytest.raises(NotFound, match="digit"):
        erasure_steps.find_erasure(strict.custody, strict.operator, misheard)


def test_a_bundle_sent_after_the_cases_erasure_lives_on_its_own_deadline(strict: World) -> None:
    strict.open_case()
    erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    bundle = strict.upload(b"new")
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"
    assert manage_cases.get_case(strict.custody, strict.operator, NUMBER).state == "open"


def test_sensitive_data_is_erased_at_once_and_alone_on_an_engineers_report(strict: World) -> None:
    strict.open_case()
    found, other = strict.upload(b"passwords"), strict.upload(b"logs")
    strict.assign(strict.engineer)
    erasure = erasure_steps.report_bundle(strict.custody, strict.engineer, found, REASON)  # without a grant
    assert (erasure.cause, erasure.scope, erasure.on_demand) == ("sensitive-data", "bundle", True)
    with pytest.raises(Erased):
        strict.open(found)
    sweep(strict.custody)
    assert (strict.state(found), strict.state(other)) == ("erased", "complete")
    strict.sequence()
    document = receipts.hand_out(strict.custody, erasure.id)
    checked = check(document, strict.receipt_signer.verifier, strict.log_signer.verifier)
    assert checked.fields["cause"] == "sensitive-data"
    again = erasure_steps.report_bundle(strict.custody, strict.engineer, found, REASON)
    assert again.confirmation == erasure.confirmation
    whole = erasure_steps.report_case(strict.custody, strict.engineer, NUMBER, REASON)
    sweep(strict.custody)
    assert (whole.scope, whole.cause, strict.state(other)) == ("case", "sensitive-data", "erased")


def test_sensitive_data_is_reported_by_an_engineer_of_the_case_and_nobody_else(strict: World) -> None:
    strict.open_case()
    bundle, unclaimed = strict.upload(b"passwords"), strict.upload(b"logs", number=None)
    strict.assign(strict.engineer, strict.partner)
    strict.consent()
    for actor, name, reason in (
        (strict.operator, bundle, "role-missing"),
        (strict.partner, bundle, "role-missing"),
        (strict.engineer, unclaimed, "not-assigned"),
    ):
        with pytest.raises(Refused) as refused:
            erasure_steps.report_bundle(strict.custody, actor, name, REASON)
        assert refused.value.reason == reason
    with pytest.raises(NotFound):
        erasure_steps.report_bundle(strict.custody, strict.colleague, bundle, REASON)
    assert {strict.state(bundle), strict.state(unclaimed)} == {"complete"}


@pytest.mark.parametrize("by", ["customer's bundle", "customer's case", "engineer's report"])
def test_what_is_asked_for_while_the_clock_erases_it_is_that_erasure_and_it_goes_ahead(
    strict: World, by: str
) -> None:
    custody = strict.custody
    for number in (NUMBER, OTHER_NUMBER):
        strict.open_case(number)
        strict.assign(strict.engineer, number=number)
    first, wanted = strict.upload(b"first"), strict.upload(b"wanted", OTHER_NUMBER)
    strict.close_case(NUMBER)
    strict.clock.move(DAY)
    strict.close_case(OTHER_NUMBER)
    strict.clock.move(89 * DAY)
    begin_due(custody)
    strict.clock.move(DAY)
    begin_due(custody)
    assert [name for _, name in pending_erasures(custody, 10)] == [first, wanted]
    asker = strict.engineer if by == "engineer's report" else strict.operator
    before = len(strict.entries())
    for _ in range(2):
        if by == "customer's case":
            erasure = erasure_steps.request_case_erasure(custody, asker, OTHER_NUMBER)
        elif by == "customer's bundle":
            erasure = erasure_steps.request_bundle_erasure(custody, asker, wanted)
        else:
            erasure = erasure_steps.report_bundle(custody, asker, wanted, REASON)
    assert (erasure.cause, erasure.on_demand) == ("deadline", True)
    assert pending_erasures(custody, 10)[0] == (erasure.id, wanted)
    asked, again = strict.leaves()[before:]
    assert (asked["action"], asked["subject"]) == ("erasure.requested", erasure.id)
    assert (again["action"], again["subject"]) == ("erasure.requested", erasure.id)
    assert (asked["details"]["hastened"], again["details"]["repeated"]) == ("deadline", "deadline")
    sweep(custody)
    found = erasure_steps.find_erasure(custody, asker, erasure.confirmation)
    assert found.proven_at is not None


def test_a_cases_old_proof_does_not_stand_for_a_bundle_that_is_still_going(strict: World) -> None:
    strict.open_case()
    old = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    bundle = strict.upload(b"new")
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    fresh = erasure_steps.request_case_erasure(strict.custody, strict.operator, NUMBER)
    assert fresh.id != old.id and fresh.proven_at is None
    sweep(strict.custody)
    assert proven(strict, fresh.confirmation) is not None
