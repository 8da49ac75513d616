"""The restore drill on the embedded default: everything real, from back-up to reconciled service (P7)."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from audit.entry import parse_leaf
from audit.log.sequencer import RolledBackError
from audit.log.tables import audit_entries
from audit.log.tail_recovery import NotOurTailError
from audit.mirror.copying import ForkedError
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.overdue import overdue
from retention.assembly import Services
from retention.custody.access import manage_grants
from retention.custody.erasure import erasure_steps
from retention.custody.receipts import hand_out, sign_waiting
from retention.domain.actor import CLOCK, Actor, Role
from retention.domain.faults import Erased, NotFound, Refused, Unavailable
from retention.domain.receipt import check
from retention.jobs.reconcile import Reconciliation, erase_unrecorded, reconcile
from retention.jobs.sequencing import witness_once
from retention.jobs.sweep import sweep
from retention.keys.signing import BINDING_KEY, LOG_KEY, RECEIPT_KEY
from retention.records.tables import bundles, parts
from tests.retention.custody.world import DAY, REASON, World
from tests.retention.restoring import CONTENT, Installation, drill, extends, leaves, log_is_good, publish

AGREED = Reconciliation()
ROOT = Actor(id="act_root", roles=frozenset({Role.ADMINISTRATOR}))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def again(services: Services, world: World) -> Reconciliation:
    return reconcile(world.custody, services.log_signer.verifier, services.witness)


@pytest.mark.parametrize("restored", [{}, {"objects": True}, {"log": True, "objects": True}])
def test_what_was_erased_ends_erased_after_a_restore(
    installation: Installation, restored: dict[str, bool]
) -> None:
    erased, kept, late, note = drill(installation)
    installation.restore(**restored)
    with installation.service() as (services, world):
        assert world.state(erased) == "complete"  # the database has forgotten
        with pytest.raises(RolledBackError):  # and may not sign
            services.sequencer.run_once()

        found = again(services, world)
        assert found.adopted > 0
        assert found.lost["bundle.erased"] == found.lost["bundle.erasing"] == 1
        assert found.erasing == (erased,)
        assert found.keyless == ()
        # Objects restored from the back-up are without the late bundle; its key is there in any case.
        assert found.unrecorded == (late,)

        with pytest.raises((Erased, NotFound, Refused)):
            world.open(erased, world.engineer)
        sweep(world.custody)
        assert world.state(erased) == "erased"
        assert world.custody.keys.remains(erased) == world.custody.objects.remains(erased) == []
        assert world.row(erased).erased_cause == "restored"

        publish(services)
        log_is_good(services)
        extends(services, note)
        # The auditor sees that it happened, and from where to where.
        (adopted,) = leaves(world, "log.adopted")
        assert adopted["details"]["to"] == open_checkpoint(note, services.log_signer.verifier).size
        (told,) = leaves(world, "records.reconciled")
        assert told["details"] == {
            "erasing": 1,
            "keyless": [],
            "unrecorded": [late],
            "unrecorded_count": 1,
        }
        causes = [leaf["details"]["cause"] for leaf in leaves(world, "bundle.erased")]
        assert causes == ["customer-request", "restored"]
        # What was not erased is as it was.
        world.grant()
        assert world.read(kept) == CONTENT


def test_it_has_a_receipt_again_that_an_outsider_can_check(installation: Installation) -> None:
    erased, _, _, _ = drill(installation)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        sweep(world.custody)
        publish(services)
        sign_waiting(world.custody.records, world.receipt_signer)
        (erasure,) = erasure_steps.list_erasures(world.custody, world.operator, None, 10).items
        assert erasure.cause == "restored"
        assert erasure.proven_at is not None
        receipt = hand_out(world.custody, erasure.id)
        check(receipt, world.receipt_signer.verifier, services.log_signer.verifier)
        assert erased in str(receipt)


def test_reconciling_again_finds_nothing_more(installation: Installation) -> None:
    _, _, late, _ = drill(installation)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        assert again(services, world) == dataclasses.replace(AGREED, unrecorded=(late,))
        sweep(world.custody)
        assert erase_unrecorded(world.custody, ROOT, [late]) == 1
        assert again(services, world) == AGREED


def test_a_service_that_was_not_restored_reconciles_to_nothing(installation: Installation) -> None:
    drill(installation)
    with installation.service() as (services, world):
        before = len(world.leaves())
        assert again(services, world) == AGREED
        world.announce(100)  # an upload without a key yet is no finding
        assert again(services, world) == AGREED
        assert not leaves(world, "log.adopted", "records.reconciled")
        assert len(world.leaves()) == before + 1


def test_a_fresh_service_reconciles_to_nothing(installation: Installation) -> None:
    with installation.service() as (services, world):
        assert again(services, world) == AGREED


def test_grants_do_not_come_back_to_life(installation: Installation) -> None:
    with installation.service() as (services, world):
        world.open_case()
        world.assign(world.engineer)
        bundle = world.upload(CONTENT)
        grant = world.grant()
        publish(services)
    installation.back_up()
    with installation.service() as (services, world):
        manage_grants.revoke_grant(world.custody, world.operator, grant.id)
        publish(services)
    installation.restore()
    with installation.service() as (services, world):
        with pytest.raises(Unavailable, match="a back-up was restored"):  # before anybody looked
            world.open(bundle)
        assert again(services, world).grants_ended == 1
        with pytest.raises(Refused):
            world.open(bundle)
        world.grant()
        assert world.read(bundle) == CONTENT


def test_the_key_store_tells_what_even_the_log_forgot(installation: Installation) -> None:
    """The log and its witness restored as well: only the destroyed keys remember."""
    erased, _, late, _ = drill(installation)
    installation.restore(log=True, objects=True)
    shutil.rmtree(installation.settings.witness_folder)
    with installation.service() as (services, world):
        found = again(services, world)
        assert (found.adopted, found.erasing, found.unrecorded) == (0, (erased,), (late,))
        sweep(world.custody)
        assert world.state(erased) == "erased"
        publish(services)
        log_is_good(services)


def test_a_lost_key_is_told_from_a_destroyed_one(installation: Installation) -> None:
    _, kept, _, _ = drill(installation)
    for file in installation.settings.data_keys_folder.glob(f"*{kept}*"):
        file.unlink()
    with installation.service() as (services, world):
        found = again(services, world)
        assert (found.keyless, found.erasing) == ((kept,), ())
        assert world.state(kept) == "complete"


def test_what_has_no_record_is_erased_and_no_longer_overdue(installation: Installation) -> None:
    _, kept, late, _ = drill(installation)
    installation.restore()
    installation.clock.move(DAY)
    with installation.service() as (services, world):
        found = again(services, world)
        assert erase_unrecorded(world.custody, ROOT, [*found.unrecorded, kept]) == 1
        assert world.state(kept) == "complete"
        assert world.custody.keys.remains(late) == world.custody.objects.remains(late) == []
        (told,) = [leaf for leaf in leaves(world, "bundle.erased") if leaf["bundle"] == late]
        assert told["details"]["cause"] == "unrecorded"
        assert told["actor"] == ROOT.id
        assert told["tenant"] == world.tenant
        world.close_case()
        sweep(world.custody)
        publish(services)
        then = installation.clock.now() + 90 * DAY
        with world.custody.records.read() as reads:
            rows = reads.execute(select(audit_entries.c.leaf).order_by(audit_entries.c.leaf_index)).scalars()
            late_ones = {item.bundle for item in overdue(map(parse_leaf, rows), then)}
        assert late_ones == {kept}  # until its sweep comes


@pytest.mark.parametrize("step", ["announced", "before the commit", "adopted"])
def test_a_crash_while_reconciling_is_made_good_by_the_next_start(
    installation: Installation, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, _, late, note = drill(installation)
    installation.restore()
    with monkeypatch.context() as patch, installation.service() as (services, world):
        crash = {
            "announced": ("retention.jobs.reconcile.recover_tail", lambda *_: 1 / 0),
            "before the commit": ("audit.log.tail_recovery._check_leads_to", _crash_at(2)),
            "adopted": ("retention.custody.compare_records.gone_by_log", lambda *_: 1 / 0),
        }[step]
        patch.setattr(*crash)
        with pytest.raises(ZeroDivisionError):
            again(services, world)
    with installation.service() as (services, world):
        assert again(services, world).unrecorded == (late,)
        assert world.state(erased) == "erasing"  # begun by the one or the other
        sweep(world.custody)
        assert world.state(erased) == "erased"
        publish(services)
        log_is_good(services)
        extends(services, note)


def _crash_at(call: int) -> Any:
    import audit.log.tail_recovery

    real, calls = audit.log.tail_recovery._check_leads_to, iter(range(call))

    def check(*arguments: Any) -> None:
        if next(calls, None) is None:
            raise ZeroDivisionError
        real(*arguments)

    return check


def test_two_histories_stop_the_service_and_nothing_is_written(installation: Installation) -> None:
    drill(installation)
    installation.restore(log=True)
    with installation.service() as (services, world):
        # A forger's database: the same keys, other entries, signed again over the log of before.
        services.sequencer._asked = 0
        world.open_case("120260301000009")
        services.sequencer.run_once()
    with installation.service() as (services, world):
        before = len(world.leaves())
        with pytest.raises(ForkedError):
            again(services, world)
        assert len(world.leaves()) == before
        assert not witness_once(services)
        with pytest.raises(RolledBackError):
            services.sequencer.run_once()


def test_a_database_of_another_history_does_not_adopt_ours(
    installation: Installation, tmp_path: Path
) -> None:
    drill(installation)
    other = Installation(tmp_path / "other")
    for name in (LOG_KEY, RECEIPT_KEY):
        shutil.copy(installation.settings.state / name, other.settings.state / name)
    with other.service() as (services, world):
        world.open_case()
        services.sequencer.run_once()
    shutil.copy(other.settings.records_file, installation.settings.records_file)
    shutil.copy(other.settings.state / BINDING_KEY, installation.settings.state / BINDING_KEY)
    with installation.service() as (services, world):
        with pytest.raises(NotOurTailError):
            again(services, world)
        assert not leaves(world, "log.adopted")


def test_a_record_that_is_gone_is_found_by_what_is_stored(installation: Installation) -> None:
    _, kept, _, _ = drill(installation)
    with installation.service() as (services, world):
        with world.custody.records.engine.begin() as connection:
            connection.execute(delete(parts).where(parts.c.bundle_id == kept))
            connection.execute(delete(bundles).where(bundles.c.id == kept))
        assert again(services, world).unrecorded == (kept,)
        with world.custody.records.read() as reads:
            by_clock = select(func.count()).where(audit_entries.c.actor == CLOCK.id)
            told = reads.execute(by_clock.where(audit_entries.c.action == "records.reconciled")).scalar()
        assert told == 1


def test_a_restored_engineer_needs_a_reason_again(installation: Installation) -> None:
    drill(installation)
    installation.restore()
    with installation.service() as (services, world):
        again(services, world)
        with pytest.raises(Refused):
            manage_grants.give_grant(
                world.custody, world.engineer, "120260301000001", ".", timedelta(hours=1)
            )
        assert manage_grants.give_grant(
            world.custody, world.engineer, "120260301000001", REASON, timedelta(hours=1)
        )
