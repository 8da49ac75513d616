"""On SQLite no query of the clock, of an upload or of a read reads a big table from end to end, and each partial index
serves the query that it was made for: a query whose states are bound parameters cannot use one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from audit.entry import Action, Outcome
from audit.log import query
from audit.log.sequencer import Sequencer
from audit.log.tail_recovery import RowGaps
from retention.custody import resending
from retention.custody.access import manage_approvals, manage_consents, manage_reviews
from retention.custody.access.approval_policies import set_policy
from retention.custody.access.manage_grants import Asked, give_grant
from retention.custody.backlog import measure
from retention.custody.compare_records import STEP, Comparison, gone_by_log
from retention.custody.contents_index import Pace as IndexPace
from retention.custody.contents_index import index_next
from retention.custody.erasure import erasure_steps
from retention.custody.notices import manage_receivers
from retention.custody.receipts import sign_waiting
from retention.custody.uploads import block_staging, declaration
from retention.domain.actor import Role
from retention.domain.approval import Rule
from retention.domain.approval import State as ApprovalState
from retention.domain.bundle import BundleState
from retention.domain.notice import KEPT, Message, Target, Way
from retention.domain.review import Verdict
from retention.jobs.scrub import Pace, scrub_next
from retention.jobs.send_notices import send_notices
from retention.jobs.sweep import (
    SweepReport,
    begin_due,
    begin_expired,
    erase_pending,
    failed_erasures,
    lapse_requests,
    pending_erasures,
    remove_orphans,
    verify_received,
)
from tests.bench.plans_sqlite import PARTIAL, watching
from tests.retention.custody.world import DAY, HOUR, NUMBER, REASON, World, strict_world

Act = Callable[[World], Any]


def _reading(look: Callable[..., Any]) -> Act:
    def act(world: World) -> None:
        with world.custody.records.read() as reads:
            look(reads)

    return act


def _due(world: World) -> None:
    world.clock.move(91 * DAY)
    assert begin_due(world.custody) == 2
    world.clock.move(-91 * DAY)


def _scrub(world: World) -> None:
    verify_received(world.custody, SweepReport(), 8)
    world.clock.move(2 * DAY)
    for _ in range(3):
        scrub_next(world.custody, Pace(timedelta(days=1)))


def _sequence(world: World) -> None:
    signed = Sequencer(world.custody.records.engine, world.custody.tiles, world.log_signer, world.clock)
    signed.run_once()
    world.erase_on_demand()
    signed.run_once()


def _compare(world: World) -> None:
    comparison = Comparison()
    while comparison.step(world.custody):
        pass


def _blobs(world: World) -> None:
    with world.custody.records.read() as reads:
        block_staging.find_blob(reads, "lnk_1", "logs.zip")


def _ask(world: World) -> None:
    set_policy(world.custody, world.operator, None, Rule.ASK, None)
    asked = give_grant(world.custody, world.engineer, NUMBER, REASON, HOUR)
    assert isinstance(asked, Asked)
    manage_approvals.give_approval(world.custody, world.operator, asked.approval, None)


def _review(world: World) -> None:
    grant = world.grant().id
    world.clock.move(DAY)
    manage_reviews.review_grant(world.custody, world.auditor, grant, Verdict.SIGNED_OFF, None)


def _answer(world: World) -> None:
    set_policy(world.custody, world.operator, None, Rule.ASK, None)
    asked = give_grant(world.custody, world.engineer, NUMBER, REASON, HOUR)
    assert isinstance(asked, Asked)
    manage_approvals.decline_approval(world.custody, world.operator, asked.approval, None)


class _Nowhere:
    def send(self, message: Message, target: Target, now: datetime) -> None:
        """Take everything."""


def _send(world: World) -> None:
    assert send_notices(world.custody, dict.fromkeys(Way, _Nowhere())).delivered
    world.clock.move(KEPT)
    send_notices(world.custody, dict.fromkeys(Way, _Nowhere()))
    world.clock.move(-KEPT)


ACTS: Mapping[str, Act] = {
    "begin what is due": _due,
    "begin what expired": lambda w: begin_expired(w.custody),
    "list what is to be erased": lambda w: pending_erasures(w.custody, 200),
    "list what failed to be erased": lambda w: failed_erasures(w.custody, 200),
    "list what failed and waits": lambda w: failed_erasures(w.custody, 200, early=True),
    "erase": lambda w: erase_pending(w.custody, SweepReport(), 200),
    "read back": lambda w: verify_received(w.custody, SweepReport(), 8),
    "read back early": lambda w: verify_received(w.custody, SweepReport(), 8, early=True),
    "scrub": _scrub,
    "index": lambda w: index_next(w.custody, IndexPace(60)),
    "forget resending": lambda w: resending.forget(w.custody),
    "lapse requests": lambda w: lapse_requests(w.custody),
    "ask for approval": _ask,
    "list requests": lambda w: manage_approvals.list_approvals(
        w.custody, w.operator, None, ApprovalState.ASKED, None, 50
    ),
    "list reviews": lambda w: manage_reviews.list_reviews(w.custody, w.auditor, None, "open", None, 50),
    "review": _review,
    "sign receipts": lambda w: sign_waiting(w.custody.records, w.receipt_signer),
    "sequence": _sequence,
    "count lost rows": _reading(lambda reads: RowGaps().look(reads)),
    "figures": lambda w: _reading(lambda reads: measure(reads, w.clock.now()))(w),
    "look for orphans": lambda w: remove_orphans(w.custody),
    "compare records and stores": _compare,
    "find a blob": _blobs,
    "declare an upload": lambda w: w.announce(10),
    "upload": lambda w: w.upload(b"again"),
    "grant": lambda w: w.grant(w.engineer),
    "read": lambda w: (w.grant(w.engineer), w.read(w.whole)),
    "erase a bundle on demand": lambda w: w.erase_on_demand(),
    "erase a case on demand": lambda w: erasure_steps.request_case_erasure(w.custody, w.operator, NUMBER, ""),
    "close a case": lambda w: w.close_case(NUMBER),
    "add and remove a receiver": lambda w: manage_receivers.remove_receiver(
        w.custody, w.operator, w.receiver("https://again.example/")
    ),
    "list receivers": lambda w: manage_receivers.list_receivers(w.custody, w.operator, None, 50),
    "list notices": lambda w: manage_receivers.list_notices(w.custody, w.operator, w.told, None, 50),
    "answer a request": _answer,
    "send notices": _send,
    "give and revoke a consent": lambda w: manage_consents.revoke_consent(
        w.custody, w.operator, w.consent().id
    ),
}


class _World(World):
    """A world with something in every state, made before its plans are watched."""

    whole: str
    told: str

    def receiver(self, address: str) -> str:
        return str(manage_receivers.add_receiver(self.custody, self.operator, Way.WEBHOOK, address).row.id)

    def erase_on_demand(self) -> str:
        bundle = self.upload(b"unwanted")
        erasure_steps.request_bundle_erasure(self.custody, self.operator, bundle, "")
        return bundle


@pytest.fixture
def world() -> Iterator[_World]:
    with strict_world() as made:
        made.__class__ = _World
        assert isinstance(made, _World)
        made.open_case()
        made.assign(made.engineer)
        made.whole = made.upload(b"whole")
        made.told = made.receiver("https://told.example/")
        made.upload(b"unclaimed", None)
        made.announce(10)
        waiting = made.announce(4)
        made.send(waiting, b"logs")
        made.upload(b"claimed by none", None)
        made.erase_on_demand()
        yield made


@pytest.mark.parametrize("act", ACTS)
def test_nothing_reads_a_big_table_from_end_to_end(world: _World, act: str) -> None:
    with watching(world.custody.records.engine) as seen:
        ACTS[act](world)
    assert seen.plans
    assert seen.complaints() == []


def _list(who: str = "auditor", **conditions: Any) -> Act:
    return lambda w: declaration.list_bundles(w.custody, getattr(w, who), None, 50, **conditions)


def _entries(**conditions: Any) -> Act:
    return _reading(lambda reads: query.find(reads, query.Filter(**conditions), None, 50))


SERVES: Mapping[str, Act] = {
    "ix_approvals_asked": ACTS["lapse requests"],
    "ix_audit_entries_approvals": ACTS["grant"],
    "ix_audit_entries_reviews": ACTS["review"],
    "ix_grants_to_review": ACTS["list reviews"],
    "ix_audit_entries_receivers": ACTS["list receivers"],
    "ix_notice_receivers_tenant": ACTS["grant"],
    "ix_notice_receivers_actor": ACTS["answer a request"],
    "ix_notices_waiting": ACTS["send notices"],
    "ix_notices_ended": ACTS["send notices"],
    "ix_notices_given_up": ACTS["figures"],
    "ix_audit_entries_access": ACTS["read"],
    "ix_audit_entries_action_outcome": _entries(action=Action.GRANT_GIVEN, outcome=Outcome.REFUSED),
    "ix_audit_entries_actor_outcome": _entries(actors=("act_1",), outcome=Outcome.REFUSED),
    "ix_audit_entries_bundle": _entries(bundle="bun_1"),
    "ix_audit_entries_case_id": _entries(case="cas_1"),
    "ix_audit_entries_gone": lambda w: gone_by_log(
        w.custody, [w.whole, *(f"bun_{number}" for number in range(STEP))]
    ),
    "ix_audit_entries_outcome": _entries(outcome=Outcome.REFUSED),
    "ix_audit_entries_placed": ACTS["read"],
    "ix_audit_entries_tenant": _entries(tenant="ten_1"),
    "ix_audit_entries_tenant_action": _entries(tenant="ten_1", action=Action.GRANT_GIVEN),
    "ix_audit_entries_tenant_actor": _entries(tenant="ten_1", actors=("act_1",)),
    "ix_audit_entries_tenant_outcome": _entries(tenant="ten_1", outcome=Outcome.REFUSED),
    "ix_audit_entries_unsequenced": ACTS["sequence"],
    "ix_bundles_checked": ACTS["scrub"],
    "ix_bundles_damaged": ACTS["figures"],
    "ix_bundles_due": ACTS["begin what is due"],
    "ix_bundles_erasing": ACTS["figures"],
    "ix_bundles_expiring": ACTS["begin what expired"],
    "ix_bundles_failing": ACTS["list what failed to be erased"],
    "ix_bundles_partial": ACTS["begin what expired"],
    "ix_bundles_received": ACTS["read back"],
    "ix_bundles_resendable": ACTS["forget resending"],
    "ix_bundles_state": _list(states=[BundleState.COMPLETE]),
    "ix_bundles_unindexed": ACTS["index"],
    "ix_bundles_tenant_state": _list("operator", states=[BundleState.COMPLETE]),
    "ix_bundles_tenant_unclaimed": _list("operator", unclaimed=True),
    "ix_erasures_pending": ACTS["list what is to be erased"],
    "ix_grants_consent": ACTS["give and revoke a consent"],
    "ix_grants_live": ACTS["erase a case on demand"],
    "ix_receipts_unsigned": ACTS["sign receipts"],
    "ux_audit_entries_leaf_index": ACTS["sequence"],
    "ux_bundles_blob": ACTS["find a blob"],
    "ux_stamps_subject": lambda w: w.actor("stamp-contoso", Role.STAMP, directory="contoso"),
}


def test_every_partial_index_is_listed_with_the_query_that_it_serves() -> None:
    assert set(SERVES) == PARTIAL


@pytest.mark.parametrize("index", SERVES)
def test_a_partial_index_serves_its_query(world: _World, index: str) -> None:
    with watching(world.custody.records.engine) as seen:
        SERVES[index](world)
    assert index in seen.indexes


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("SELECT id FROM bundles WHERE state IN (?, 'complete')", "from end to end"),
        ("SELECT id FROM bundles WHERE state <> ? ORDER BY time_collected, id", "walked"),
        (
            "SELECT id FROM bundles WHERE file_name = ? ORDER BY file_name LIMIT 1",
            "from end to end",
        ),
        (
            "SELECT b.part_id FROM parts b, parts c WHERE b.part_id = c.part_id AND b.digest > ?",
            "one statement",
        ),
    ],
)
def test_a_plan_that_grows_with_the_service_would_be_noticed(
    world: _World, statement: str, wrong: str
) -> None:
    with watching(world.custody.records.engine) as seen, world.custody.records.read() as reads:
        reads.exec_driver_sql(statement, ("received",))
    assert [wrong in told for told in seen.complaints()] == [True]
