"""Nothing is opened before the records are known to be as new as the log; what the log says ended stays ended (P6)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from audit.mirror.store import MirrorUnavailableError
from retention.assembly import Services
from retention.custody import bundle_moves
from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_links, manage_stamps
from retention.custody.erasure import erasure_steps
from retention.custody.log_gate import LogGate
from retention.domain.bundle import CollectionType
from retention.domain.faults import Conflict, Invalid, NotFound, Refused, Unavailable
from retention.domain.upload_link import LinkTerms
from retention.jobs.reconcile import LONGEST_WAIVER, Reconciliation, reconcile, waive_witness
from retention.jobs.sequencing import sequence_once
from retention.jobs.sweep import begin_expired, sweep
from retention.records import tables
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, TICK, World
from tests.retention.restoring import (
    CONTENT,
    Installation,
    PostgresInstallation,
    extends,
    leaves,
    log_is_good,
    publish,
)

WHY = "the bucket is down, ticket 4711"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


class Held(NamedTuple):
    """What the back-up holds: a bundle that an engineer and a partner may read, and a link for uploads."""

    bundle: str
    consent: str
    grant: str
    link: str


def backed_up(installation: Installation) -> Held:
    with installation.service() as (services, world):
        for number in (NUMBER, OTHER_NUMBER):
            world.open_case(number)
            world.assign(world.engineer, number=number)
        world.assign(world.partner, world.colleague)
        bundle = world.upload(CONTENT)
        consent, grant = world.consent().id, world.grant().id
        world.grant(world.partner)
        assert world.read(bundle, world.partner) == world.read(bundle) == CONTENT
        terms = LinkTerms(expires_at=world.clock.now() + DAY, type=CollectionType.ON_DEMAND)
        link = manage_links.create_case_link(world.custody, world.operator, NUMBER, None, terms).id
        publish(services)
        installation.clock.move(HOUR)
    installation.back_up()
    return Held(bundle, consent, grant, link)


def reconciled(services: Services, world: World) -> Reconciliation:
    return reconcile(world.custody, services.log_signer.verifier, services.witness)


def take_away(installation: Installation) -> None:
    """The witness's folder does not answer any more."""
    place = installation.settings.witness_folder
    place.rename(place.with_name("away"))
    place.write_text("no folder: whoever looks for something in it gets an error")


def bring_back(installation: Installation) -> None:
    place = installation.settings.witness_folder
    place.unlink()
    place.with_name("away").rename(place)


def shut_because(world: World, bundle: str, reason: str) -> None:
    with pytest.raises(Unavailable) as refused:
        world.open(bundle)
    assert refused.value.reason == reason


def _moved(world: World, held: Held) -> None:
    bundle_moves.move_bundle(world.custody, world.engineer, held.bundle, OTHER_NUMBER, REASON)


ENDS: dict[str, tuple[Callable[[World, Held], object], Callable[[World, Held], object]]] = {
    "grant revoked": (
        lambda world, held: manage_grants.revoke_grant(world.custody, world.operator, held.grant),
        lambda world, held: world.open(held.bundle),
    ),
    "consent revoked": (
        lambda world, held: manage_consents.revoke_consent(world.custody, world.operator, held.consent),
        lambda world, held: world.grant(world.partner),
    ),
    "unassigned": (
        lambda world, _: world.unassign(world.engineer),
        lambda world, held: world.grant() and world.open(held.bundle),
    ),
    "closed": (
        lambda world, _: world.close_case(),
        lambda world, held: world.grant() and world.open(held.bundle),
    ),
    "moved": (
        _moved,
        lambda world, held: world.grant(world.colleague) and world.open(held.bundle, world.colleague),
    ),
}
"""What ends after the back-up, and how somebody tries afterwards what it ended."""


@pytest.mark.parametrize("witness", ["answers", "is away"])
@pytest.mark.parametrize("end", ENDS)
def test_what_ended_after_the_back_up_is_not_given_back(
    installation: Installation, end: str, witness: str
) -> None:
    held = backed_up(installation)
    act, attempt = ENDS[end]
    with installation.service() as (services, world):
        act(world, held)
        publish(services)
    installation.restore()
    if witness == "is away":
        take_away(installation)
    with installation.service() as (services, world):
        shut_because(world, held.bundle, "log-behind" if witness == "answers" else "witness-away")
        if witness == "is away":  # the published log beside the database tells as well
            with pytest.raises(MirrorUnavailableError):
                reconciled(services, world)
            shut_because(world, held.bundle, "witness-away")
            waive_witness(world.custody, world.administrator, WHY, HOUR)
            forget(services)
        else:
            reconciled(services, world)
        (adopted,) = leaves(world, "log.adopted")
        assert bool(adopted["details"]["repeated"]) == (end != "grant revoked")  # all grants end anyhow
        with pytest.raises((Refused, NotFound, Conflict)):
            attempt(world, held)


def test_links_registrations_and_proactive_consent_end_too(installation: Installation) -> None:
    held = backed_up(installation)
    with installation.service() as (services, world):
        manage_links.revoke_link(world.custody, world.operator, held.link)
        manage_stamps.set_proactive(world.custody, world.operator, str(world.stamp.stamp), enabled=False)
        manage_stamps.deregister_stamp(world.custody, world.other_operator, str(world.other_stamp.stamp))
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        found = reconciled(services, world)
        assert found.repeated == {
            "upload-link.revoked": 1,
            "proactive-consent.set": 1,
            "stamp.deregistered": 1,
        }
        assert not found.lost.keys() & found.repeated.keys()
        with world.custody.records.read() as reads:
            link = reads.execute(select(tables.upload_links)).one()
            registered = {row.id: row for row in reads.execute(select(tables.stamps))}
        assert link.revoked_at == installation.clock.now()
        assert not registered[str(world.stamp.stamp)].proactive
        assert registered[str(world.other_stamp.stamp)].deregistered_at is not None


def test_a_close_that_was_lost_keeps_its_own_deadline(installation: Installation) -> None:
    held = backed_up(installation)
    with installation.service() as (services, world):
        world.close_case(at=installation.clock.now() - TICK)
        due = world.row(held.bundle).due_at
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        assert world.row(held.bundle).due_at is None
        installation.clock.move(DAY)
        reconciled(services, world)
        assert world.row(held.bundle).due_at == due


@pytest.mark.parametrize(
    "step", ["retention.jobs.reconcile.recover_tail", "retention.custody.compare_records.gone_by_log"]
)
def test_whoever_dies_while_reconciling_leaves_no_end_behind(
    installation: Installation, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the tail is back the gate is shut; once it is back, every end is in the records."""
    held = backed_up(installation)
    with installation.service() as (services, world):
        manage_consents.revoke_consent(world.custody, world.operator, held.consent)
        world.unassign(world.engineer)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        with monkeypatch.context() as patch:
            patch.setattr(step, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                reconciled(services, world)
        if step.endswith("recover_tail"):
            shut_because(world, held.bundle, "log-behind")
        for actor in (world.engineer, world.partner):
            with pytest.raises((Refused, NotFound)):
                world.grant(actor)
        assert reconciled(services, world).repeated == {}
        publish(services)
        log_is_good(services)


def test_database_and_log_of_before_open_only_with_the_witness_or_by_decision(
    installation: Installation,
) -> None:
    held = backed_up(installation)
    with installation.service() as (services, world):
        manage_grants.revoke_grant(world.custody, world.operator, held.grant)
        note = publish(services)
    installation.restore(log=True)
    take_away(installation)
    with installation.service() as (services, world), installation.service() as (others, other):
        for each in (world, other):
            shut_because(each, held.bundle, "witness-away")
        with pytest.raises(Invalid):
            waive_witness(world.custody, world.administrator, ".", HOUR)
        with pytest.raises(Invalid):
            waive_witness(world.custody, world.administrator, WHY, LONGEST_WAIVER + TICK)
        until = waive_witness(world.custody, world.administrator, WHY, HOUR)
        assert until == installation.clock.now() + HOUR
        for each, gate in ((world, services), (other, others)):  # every process finds the entry
            forget(gate)
            assert each.read(held.bundle) == CONTENT
        (waived,) = leaves(world, "witness.waived")
        assert (waived["actor"], waived["details"]["until"][:16]) == (
            world.administrator.id,
            until.isoformat()[:16],
        )
        with pytest.raises(MirrorUnavailableError):  # it is for reading: nothing is signed
            sequence_once(services)
        installation.clock.move(HOUR)
        forget(services)
        shut_because(world, held.bundle, "witness-away")  # not for ever
    bring_back(installation)
    with installation.service() as (services, world):
        shut_because(world, held.bundle, "log-behind")
        reconciled(services, world)
        with pytest.raises(Refused):
            world.open(held.bundle)
        publish(services)
        extends(services, note)
        log_is_good(services)


@pytest.mark.parametrize("log", [True, False], ids=["the log too", "the records alone"])
def test_no_deadline_counts_in_records_that_may_lack_a_reopening(
    installation: Installation, log: bool
) -> None:
    with installation.service() as (services, world):
        world.open_case()
        bundle, other = world.upload(CONTENT), world.upload(CONTENT)
        world.close_case()
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        installation.clock.move(DAY)
        manage_cases.reopen_case(world.custody, world.case_system, NUMBER)
        publish(services)
    installation.restore(log=log)
    installation.clock.move(90 * DAY)
    if log:
        take_away(installation)
    with installation.service() as (services, world):
        erasure_steps.request_bundle_erasure(world.custody, world.operator, other)
        assert sweep(world.custody).begun == 0
        assert (world.state(bundle), world.state(other)) == ("complete", "erased")
    if log:
        bring_back(installation)
    with installation.service() as (services, world):
        reconciled(services, world)
        assert sweep(world.custody).begun == 0
        assert world.state(bundle) == "complete"
        world.close_case()
        forget(services)
        publish(services)
        installation.clock.move(90 * DAY)
        assert sweep(world.custody).begun == 1


def test_neither_a_reopening_nor_an_expiry_destroys_by_records_that_may_be_old(
    installation: Installation,
) -> None:
    """Of the day of the back-up: a case that was reopened since, and an upload that was finished since."""
    with installation.service() as (services, world):
        world.open_case()
        bundle, upload = world.upload(CONTENT), world.announce(len(CONTENT))
        world.send(upload, CONTENT[:1])
        world.close_case()
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        installation.clock.move(DAY)
        world.send(upload, CONTENT[1:], 1)
        manage_cases.reopen_case(world.custody, world.case_system, NUMBER)
        world.close_case()  # in the same moment: clocks of two processes are not exact either
        publish(services)
    installation.restore(log=True)
    take_away(installation)
    installation.clock.move(89 * DAY)
    with installation.service() as (services, world):
        assert begin_expired(world.custody) == 0
        with pytest.raises(Unavailable) as shut:
            manage_cases.reopen_case(world.custody, world.case_system, NUMBER)
        assert shut.value.reason == "witness-away"
        assert (world.state(bundle), world.state(upload)) == ("complete", "receiving")
    bring_back(installation)
    with installation.service() as (services, world):
        reconciled(services, world)
        manage_cases.reopen_case(world.custody, world.case_system, NUMBER)
        assert world.state(bundle) == "complete"


def forget(services: Services) -> None:
    """As when the time is over for which the gate relies on what it saw."""
    gate = services.custody.gate
    assert isinstance(gate, LogGate)
    gate._asked_at = None


def test_a_waiver_ends_when_the_witness_answers(installation: Installation) -> None:
    held = backed_up(installation)
    take_away(installation)
    with installation.service() as (services, world):
        waive_witness(world.custody, world.administrator, WHY, 10 * HOUR)
        assert world.read(held.bundle) == CONTENT
    bring_back(installation)
    with installation.service() as (services, world):
        reconciled(services, world)
        reconciled(services, world)
        assert len(leaves(world, "witness.resumed")) == 1
        assert world.read(held.bundle) == CONTENT
    take_away(installation)
    with installation.service() as (services, world):
        shut_because(world, held.bundle, "witness-away")


def test_a_witness_that_goes_away_later_shuts_nothing(installation: Installation) -> None:
    held = backed_up(installation)
    with installation.service() as (services, world):
        assert world.read(held.bundle) == CONTENT
        take_away(installation)
        forget(services)
        assert world.read(held.bundle) == CONTENT


def test_two_histories_open_nothing(installation: Installation) -> None:
    held = backed_up(installation)
    with installation.service() as (services, world):
        world.unassign(world.engineer)
        publish(services)
    installation.restore(log=True)
    with installation.service() as (services, world):
        services.sequencer._asked = 0  # a forger's service: it does not ask the witness
        for number in ("120260301000008", "120260301000009"):
            world.open_case(number)
        services.sequencer.run_once()
    with installation.service() as (services, world):
        shut_because(world, held.bundle, "log-forked")


def test_intake_erasure_and_the_log_ask_nothing(installation: Installation) -> None:
    held = backed_up(installation)
    take_away(installation)
    with installation.service() as (_, world):
        shut_because(world, held.bundle, "witness-away")
        late = world.upload(CONTENT)
        assert world.state(late) == "complete"
        erasure_steps.request_bundle_erasure(world.custody, world.operator, late)
        sweep(world.custody)
        assert world.state(late) == "erased"


@pytest.mark.real
def test_a_database_restored_under_a_process_is_found_by_the_next_read(tmp_path: Path) -> None:
    installation = PostgresInstallation(tmp_path)
    held = backed_up(installation)
    with installation.service() as (services, world):
        manage_grants.revoke_grant(world.custody, world.operator, held.grant)
        world.grant(world.colleague)
        publish(services)
        with closing(world.open(held.bundle, world.colleague)) as opened:
            pieces = opened.pieces(opened.spans[0])
            installation.restore()
            shut_because(world, held.bundle, "log-behind")
            opened.standing._checked -= 60  # a read under way looks again within seconds
            with pytest.raises(Unavailable):
                next(pieces)
            reconciled(services, world)
        with pytest.raises(Refused):
            world.open(held.bundle)
    installation.remove()


class Access(NamedTuple):
    """Who may get at what, by the records."""

    consents: frozenset[str]
    assigned: frozenset[tuple[str, str]]
    closed: frozenset[str]
    links: frozenset[str]
    holders: frozenset[tuple[str, str]]


def access(world: World) -> Access:
    t = tables
    with world.custody.records.read() as reads:

        def rows(*columns: Any, where: Any) -> frozenset[Any]:
            found = reads.execute(select(*columns).where(where)).all()
            return frozenset(tuple(row) if len(row) > 1 else row[0] for row in found)

        live = t.assignments.c.unassigned_at.is_(None)
        return Access(
            rows(t.consents.c.id, where=t.consents.c.revoked_at.is_(None)),
            rows(t.assignments.c.case_id, t.assignments.c.actor_id, where=live),
            rows(t.cases.c.id, where=t.cases.c.state == "closed"),
            rows(t.upload_links.c.id, where=t.upload_links.c.revoked_at.is_(None)),
            rows(t.bundles.c.id, t.bundles.c.case_id, where=t.bundles.c.case_id.is_not(None)),
        )


def _act(world: World, held: Held, act: str, number: str) -> None:
    with suppress(Conflict, NotFound, Refused):
        match act:
            case "close":
                world.close_case(number)
            case "reopen":
                manage_cases.reopen_case(world.custody, world.case_system, number)
            case "assign":
                world.assign(world.engineer, world.partner, number=number)
            case "unassign":
                world.unassign(world.engineer, number)
            case "consent":
                world.consent()
            case "revoke":
                manage_consents.revoke_consent(world.custody, world.operator, held.consent)
            case "link":
                manage_links.revoke_link(world.custody, world.operator, held.link)
            case "move":
                bundle_moves.move_bundle(world.custody, world.engineer, held.bundle, number, REASON)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["close", "reopen", "assign", "unassign", "consent", "revoke", "link", "move", "sign"]
        ),
        st.sampled_from([NUMBER, OTHER_NUMBER]),
    ),
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(before=ACTS, after=ACTS)
def test_whatever_happened_the_restored_records_allow_no_more_than_the_log(
    before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    """`before` the back-up, numbered or not yet; `after` it, all of it lost but for the log."""
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder))
        held = backed_up(installation)

        def act(world: World, services: Services, acts: list[tuple[str, str]]) -> None:
            for name, number in acts:
                installation.clock.move(timedelta(minutes=1))
                if name == "sign":
                    publish(services)
                else:
                    _act(world, held, name, number)

        with installation.service() as (services, world):
            act(world, services, before)
            installation.back_up_again()
            act(world, services, after)
            publish(services)
            by_log = access(world)
        installation.restore()
        with installation.service() as (services, world):
            found = reconciled(services, world)
            restored = access(world)
            assert restored.closed == by_log.closed
            assert restored.holders == by_log.holders
            assert restored.links == by_log.links
            assert restored.consents <= by_log.consents
            assert restored.assigned <= by_log.assigned
            with world.custody.records.read() as reads:
                live = tables.grants.c.ended_at.is_(None)
                assert (
                    reads.execute(select(tables.grants.c.id).where(live)).first() is None or not found.adopted
                )
            publish(services)
            log_is_good(services)
