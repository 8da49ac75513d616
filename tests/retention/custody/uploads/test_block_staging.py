"""Blobs that come in blocks: any order, any number of times, committed once; and everything that can end them."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from retention.custody.access import manage_links
from retention.custody.access import manage_stamps as stamp_verbs
from retention.custody.erasure.erasure_steps import request_bundle_erasure
from retention.custody.uploads import block_list, block_staging, completion, declaration, unfinished
from retention.custody.uploads.block_list import BlockKind
from retention.custody.uploads.block_staging import Stoppable, Through
from retention.domain.bundle import BundleState, CollectionType
from retention.domain.faults import (
    Conflict,
    CustodyError,
    Erased,
    Invalid,
    NotFound,
    QuotaExceeded,
    Refused,
    TakenOver,
    TooLarge,
    Unavailable,
)
from retention.domain.upload_link import Declared, LinkTerms
from retention.jobs import sweep
from retention.objects.store import ObjectStore
from retention.records.tables import bundles, parts, staged_blocks
from tests.fakes.silent_records import SilentRecords
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, TRIGGER, World, but, strict_world

L, U, C = BlockKind.LATEST, BlockKind.UNCOMMITTED, BlockKind.COMMITTED
FACTS = {"metadata": {}, "properties": {}}
NAME = "folder/logs.zip"


def through(world: World, **changes: Any) -> Through:
    """A new link of the open case, and whoever uses it."""
    terms = LinkTerms(**{"expires_at": world.clock.now() + DAY, "type": CollectionType.ON_DEMAND, **changes})
    issued = manage_links.create_case_link(world.custody, world.operator, NUMBER, None, terms)
    return opened(world, issued.id)


def opened(world: World, link_id: str) -> Through:
    link = manage_links.find_link(world.custody, link_id)
    assert link is not None
    return Through(world.custody, link, link.actor("192.0.2.7", "r-1"))


def stage(by: Through, block_id: str | None, content: bytes, name: str = NAME) -> block_staging.StagedBlock:
    with block_staging.begin_block(by, Stoppable(), name, block_id, len(content), Declared()) as block:
        block.feed(content)
        block.keep()
    return block


def commit(by: Through, *ids: str, name: str = NAME, declared: Declared = Declared()) -> Any:  # noqa: B008
    return block_list.commit_blocks(by, name, [(L, block_id) for block_id in ids], declared, FACTS)


def read(world: World, bundle: str) -> bytes:
    completion.verify_bundle(world.custody, bundle)
    world.assign(world.engineer)
    world.grant()
    return world.read(bundle)


def stored(objects: ObjectStore, bundle: str) -> int:
    return sum(name.startswith("prt_") for name in objects.list_parts(bundle))


def test_blocks_staged_in_any_order_become_the_blob_in_the_lists_order(world: World) -> None:
    world.open_case()
    by = through(world)
    for block_id, content in (("CC", b"third"), ("AA", b"first "), ("BB", b"second "), ("DD", b"unused")):
        stage(by, block_id, content)
    bundle = commit(by, "AA", "BB", "CC")
    assert (bundle.state, bundle.size, bundle.offset) == ("received", 18, 18)
    assert (bundle.file_name, bundle.blob_name, bundle.link_id) == ("logs.zip", NAME, by.link.row.id)
    assert stored(world.custody.objects, bundle.id) == 3
    assert read(world, bundle.id) == b"first second third"
    world.sequence()
    assert world.log_problems() == []


def test_a_block_id_that_comes_again_replaces_the_block(world: World) -> None:
    world.open_case()
    by = through(world)
    bundle = stage(by, "AA", b"wrong").bundle_id
    stage(by, "AA", b"right")
    assert stored(world.custody.objects, bundle) == 1
    assert block_list.list_blocks(by, NAME).uncommitted == [("AA", 5)]
    commit(by, "AA")
    assert read(world, bundle) == b"right"


def test_a_blob_in_one_piece_has_no_blocks_to_show(world: World) -> None:
    world.open_case()
    by = through(world)
    block = stage(by, None, b"all of it")
    bundle = block_list.commit_one(by, block, NAME, Declared(), FACTS)
    shown = block_list.list_blocks(by, NAME)
    assert (shown.committed, shown.uncommitted) == ([], [])
    assert read(world, bundle.id) == b"all of it"


blocks_strategy = st.lists(
    st.tuples(st.integers(0, 5), st.binary(min_size=1, max_size=40)), min_size=1, max_size=12
)


@given(blocks_strategy, st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_was_staged_the_commit_is_the_last_of_each_id_in_the_lists_order(
    staged: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    last = {f"{number:02}": content for number, content in staged}
    order = data.draw(st.permutations(sorted(last)))
    order = order[: data.draw(st.integers(1, len(order)))]
    with strict_world() as world:
        world.open_case()
        by = through(world)
        for number, content in staged:
            stage(by, f"{number:02}", content)
        bundle = commit(by, *order)
        expected = b"".join(last[block_id] for block_id in order)
        assert bundle.size == len(expected)
        assert [block_id for block_id, _ in block_list.list_blocks(by, NAME).committed] == order
        assert read(world, bundle.id) == expected
        assert commit(by, *order).id == bundle.id  # an answer that was lost
        with world.custody.records.read() as reads:
            assert reads.execute(select(func.count()).select_from(staged_blocks)).scalar() == 0


@pytest.mark.parametrize(
    "wanted",
    [
        [(L, "ZZ")],
        [(L, "AA"), (L, "ZZ")],
        [(L, "AA"), (L, "AA")],
        [(C, "AA")],
        [(U, "AA"), (C, "BB")],
    ],
)
def test_a_list_that_names_no_staged_block_or_one_twice_changes_nothing(
    strict: World, wanted: list[tuple[BlockKind, str]]
) -> None:
    strict.open_case()
    by = through(strict)
    stage(by, "AA", b"a")
    stage(by, "BB", b"b")
    with pytest.raises((Conflict, TooLarge)) as caught:
        block_list.commit_blocks(by, NAME, wanted, Declared(), FACTS)
    assert caught.value.reason in ("block-list", None)
    assert [block_id for block_id, _ in block_list.list_blocks(by, NAME).uncommitted] == ["AA", "BB"]
    with strict.custody.records.read() as reads:
        assert reads.execute(select(func.count()).select_from(parts)).scalar() == 0
    commit(by, "BB", "AA")


def test_a_commit_without_any_block_says_so(strict: World) -> None:
    strict.open_case()
    with pytest.raises(Conflict) as caught:
        commit(through(strict), "AA")
    assert caught.value.reason == "block-list"


def test_a_complete_blob_takes_no_block_and_no_other_list(world: World) -> None:
    world.open_case()
    by = through(world)
    stage(by, "AA", b"a")
    commit(by, "AA")
    for attempt in (
        lambda: stage(by, "BB", b"b"),
        lambda: stage(by, None, b"b"),
        lambda: commit(by, "BB"),
        lambda: block_list.commit_blocks(by, NAME, [(U, "AA")], Declared(), FACTS),
        lambda: block_list.give_up_blob(by, NAME),
    ):
        with pytest.raises(Conflict) as caught:
            attempt()
        assert caught.value.reason == "blob-complete"


def test_an_empty_list_drops_what_was_staged_and_what_comes_next_takes_the_name(world: World) -> None:
    world.open_case()
    by = through(world)
    stage(by, "AA", b"another client's")
    empty = commit(by)
    assert (empty.state, empty.size) == ("received", 0)
    assert world.custody.objects.remains(empty.id) == [], "what was staged is gone"
    assert commit(by).id == empty.id  # an answer that was lost
    stage(by, "AAAA", b"longer ids")
    assert world.state(empty.id) == "erasing"
    whole = commit(by, "AAAA")
    assert whole.id != empty.id
    assert read(world, whole.id) == b"longer ids"
    sweep.sweep(world.custody)
    assert (world.state(empty.id), world.state(whole.id)) == ("erased", "complete")
    with pytest.raises(Conflict) as caught:
        commit(by)
    assert caught.value.reason == "blob-complete"
    world.sequence()
    assert world.log_problems() == []


def test_what_is_refused_under_an_empty_blobs_name_leaves_it(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    empty = commit(by)
    with pytest.raises(CustodyError):
        block_staging.begin_block(by, Stoppable(), NAME, "AA", 1, Declared(case="999999999999999"))
    assert strict.state(empty.id) == "received"


def test_block_ids_of_a_blob_are_equally_long(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    stage(by, "AA", b"a")
    with pytest.raises(Conflict) as caught:
        stage(by, "AAAA", b"a")
    assert caught.value.reason == "block-id-length"
    stage(by, None, b"whole")  # a blob in one piece has none
    stage(by, "BB", b"b")


def test_a_block_that_is_cut_or_too_long_leaves_nothing(world: World) -> None:
    world.open_case()
    by = through(world)
    with block_staging.begin_block(by, Stoppable(), NAME, "AA", 4, Declared()) as block:
        block.feed(b"abc")
        with pytest.raises(Invalid):
            block.keep()
    with (
        block_staging.begin_block(by, Stoppable(), NAME, "AA", 4, Declared()) as block,
        pytest.raises(TooLarge),
    ):
        block.feed(b"abcde")
    assert block_list.list_blocks(by, NAME).uncommitted == []
    assert stored(world.custody.objects, block.bundle_id) == 0


def test_a_block_whose_record_may_have_been_made_is_kept(world: World) -> None:
    world.open_case()
    by = through(world)
    silent = but(world, records=SilentRecords(world.custody.records, staged_blocks)).custody
    with pytest.raises(Unavailable, match="stopped responding"):
        stage(dataclasses.replace(by, custody=silent), "AA", b"abc")
    assert block_list.list_blocks(by, NAME).uncommitted == [("AA", 3)]
    bundle = commit(by, "AA")
    assert read(world, bundle.id) == b"abc"


def test_two_first_blocks_at_once_begin_one_blob(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    one = block_staging.begin_block(by, Stoppable(), NAME, "AA", 1, Declared())
    two = block_staging.begin_block(by, Stoppable(), NAME, "BB", 1, Declared())
    for block in (two, one):
        with block:
            block.feed(b"x")
            block.keep()
    assert one.bundle_id == two.bundle_id
    assert commit(by, "AA", "BB").size == 2


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_bundle_size": 10}, TooLarge),
        ({"case_quota": 10}, QuotaExceeded),
        ({"stamp_quota": 10}, QuotaExceeded),
    ],
)
def test_blocks_that_come_at_once_are_together_within_the_limits(
    strict: World, limits: dict[str, int], error: type[Exception]
) -> None:
    """Each fits when it begins: what counts is what there is when it is recorded."""
    strict.open_case()
    world = but(strict, limits=dataclasses.replace(strict.custody.limits, **limits))
    by = through(world)
    one = block_staging.begin_block(by, Stoppable(), NAME, "AA", 6, Declared())
    two = block_staging.begin_block(by, Stoppable(), NAME, "BB", 6, Declared())
    with one, two:
        for block in (one, two):
            block.feed(b"123456")
        one.keep()
        with pytest.raises(error):
            two.keep()
    assert block_list.list_blocks(by, NAME).uncommitted == [("AA", 6)]
    assert stored(world.custody.objects, one.bundle_id) == 1
    if error is TooLarge:  # in the place of the one that is there it fits
        stage(by, "AA", b"1234567")
    assert commit(by, "AA").size in (6, 7)


def test_a_blob_has_so_many_blocks_and_no_more_however_they_come(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_staging, "MAX_STAGED", 1)
    strict.open_case()
    by = through(strict)
    one = block_staging.begin_block(by, Stoppable(), NAME, "AA", 1, Declared())
    two = block_staging.begin_block(by, Stoppable(), NAME, "BB", 1, Declared())
    with one, two:
        for block in (one, two):
            block.feed(b"x")
        one.keep()
        with pytest.raises(Conflict) as refused:
            two.keep()
    assert refused.value.reason == "too-many-blocks"


def test_a_block_that_ends_after_the_commit_is_not_kept(local: World) -> None:
    local.open_case()
    by = through(local)
    stage(by, "AA", b"a")
    with block_staging.begin_block(by, Stoppable(), NAME, "BB", 1, Declared()) as late:
        late.feed(b"b")
        bundle = commit(by, "AA")
        with pytest.raises(CustodyError):
            late.keep()
    assert stored(local.custody.objects, bundle.id) == 1
    assert read(local, bundle.id) == b"a"


def test_a_stop_of_the_service_cuts_a_block(strict: World) -> None:
    strict.open_case()
    running = Stoppable()
    with block_staging.begin_block(through(strict), running, NAME, "AA", 4, Declared()) as block:
        running.stop_all()
        with pytest.raises(TakenOver):
            block.feed(b"")


def test_a_revoked_link_stops_the_block_that_comes_through_it(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_staging, "RECHECK_SECONDS", 0)
    strict.open_case()
    by = through(strict)
    with block_staging.begin_block(by, Stoppable(), NAME, "AA", 4, Declared()) as block:
        block.feed(b"ab")
        manage_links.revoke_link(strict.custody, strict.operator, by.link.row.id)
        with pytest.raises(TakenOver, match="revoked"):
            block.feed(b"")


def test_an_erasure_ends_staging_and_its_name_is_taken_again_when_the_mark_of_it_ends(world: World) -> None:
    world.open_case()
    by = through(world, expires_at=world.clock.now() + 30 * DAY)
    with block_staging.begin_block(by, Stoppable(), NAME, "BB", 1, Declared()) as block:
        block.feed(b"b")
        stage(by, "AA", b"a")
        request_bundle_erasure(world.custody, world.operator, block.bundle_id)
        sweep.sweep(world.custody)
        with pytest.raises(Erased):
            block.keep()
    row = world.row(block.bundle_id)
    assert (row.state, row.blob_name, row.blob_facts) == ("erased", None, None)
    with pytest.raises(NotFound):
        block_list.list_blocks(by, NAME)
    with pytest.raises(Refused) as told:
        stage(by, "AA", b"again")
    assert told.value.reason == "erased-lately"
    world.clock.move(7 * DAY)
    stage(by, "AA", b"again")
    assert read(world, commit(by, "AA").id) == b"again"


def test_what_is_never_committed_expires_a_while_after_its_last_block(world: World) -> None:
    world.open_case()
    by = through(world, expires_at=world.clock.now() + 30 * DAY)
    bundle = stage(by, "AA", b"a").bundle_id
    world.clock.move(6 * DAY)
    stage(by, "BB", b"b")
    world.clock.move(6 * DAY)
    assert sweep.sweep(world.custody).expired == 0
    world.clock.move(DAY)
    assert sweep.sweep(world.custody).expired == 1
    assert world.state(bundle) == "erased"
    assert world.custody.objects.remains(bundle) == []


def test_what_is_given_up_is_erased(world: World) -> None:
    world.open_case()
    by = through(world)
    bundle = stage(by, "AA", b"a").bundle_id
    block_list.give_up_blob(by, NAME)
    assert world.state(bundle) == "erasing"
    sweep.sweep(world.custody)
    assert world.state(bundle) == "erased"
    with pytest.raises(NotFound):
        block_list.give_up_blob(by, NAME)


def test_a_process_that_dies_after_the_commit_is_made_good_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open_case()
    by = through(world)
    stage(by, "AA", b"a")

    def dies(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(block_list, "finish_upload", dies)
    with pytest.raises(RuntimeError):
        commit(by, "AA")
    (blob,) = block_list.list_blobs(by, "", None, 10)
    assert blob.state == BundleState.RECEIVING
    sweep.sweep(world.custody)
    assert world.state(blob.id) == "complete"


def test_a_staging_blob_is_not_a_tus_upload(strict: World) -> None:
    strict.open_case()
    bundle = stage(through(strict), "AA", b"a").bundle_id
    with pytest.raises(Conflict) as caught:
        unfinished.find_upload(strict.custody, strict.operator, bundle)
    assert caught.value.reason == "bundle-staging"
    unfinished.terminate_upload(strict.custody, strict.operator, bundle)
    assert strict.state(bundle) == "erasing"


def test_a_links_blobs_are_none_of_another_links(strict: World) -> None:
    strict.open_case()
    mine, other = through(strict), through(strict)
    stage(mine, "AA", b"a")
    commit(mine, "AA")
    with pytest.raises(NotFound):
        block_list.get_blob(other, NAME)
    with pytest.raises(NotFound):
        block_list.list_blocks(other, NAME)
    assert block_list.list_blobs(other, "", None, 10, uncommitted=True) == []
    stage(other, "BB", b"b")
    assert commit(other, "BB").id != block_list.get_blob(mine, NAME).id


def test_blobs_are_listed_by_name_with_prefix_and_marker(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    names = ["b/1", "B/2", "b/2", "b_3", "a", "b/10", "b%2"]
    for name in names:
        stage(by, "AA", b"x", name)
        commit(by, "AA", name=name)
    stage(by, "AA", b"x", "b/uncommitted")

    def listed(prefix: str, after: str | None = None, **more: bool) -> list[str]:
        return [row.blob_name for row in block_list.list_blobs(by, prefix, after, 100, **more)]

    assert listed("") == sorted(names)
    assert listed("b/") == ["b/1", "b/10", "b/2"]
    assert listed("b/", "b/1") == ["b/10", "b/2"]
    assert listed("b/", uncommitted=True) == ["b/1", "b/10", "b/2", "b/uncommitted"]
    assert len(block_list.list_blobs(by, "", None, 2)) == 2


def test_metadata_of_the_commit_decides_the_collection(strict: World) -> None:
    strict.open_case()
    by, now = through(strict, roles=("Compute",)), strict.clock.now()
    bundle = stage(by, "AA", b"a").bundle_id
    assert strict.row(bundle).roles == '["Compute"]'
    said = Declared(logs_start=now - 9 * HOUR, logs_end=now - 8 * HOUR, roles=("Storage",))
    commit(by, "AA", declared=said)
    row = strict.row(bundle)
    assert (row.logs_start, row.logs_end, row.time_collected) == (
        now - 9 * HOUR,
        now - 8 * HOUR,
        now - 8 * HOUR,
    )
    assert row.roles == '["Storage"]'
    (committed,) = [leaf for leaf in strict.leaves() if leaf["action"] == "upload.continued"]
    assert committed["details"] == {
        "blocks": 1,
        "from": 0,
        "to": 1,
        "of": 1,
        "type": "on-demand",
        "window": "declared",
    }


def test_metadata_that_makes_no_collection_changes_nothing(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    bundle = stage(by, "AA", b"a").bundle_id
    with pytest.raises(Invalid):
        commit(by, "AA", declared=Declared(logs_end=strict.clock.now() + DAY))
    with pytest.raises(NotFound):
        commit(by, "AA", declared=Declared(case="999999999999999"))
    assert strict.state(bundle) == "staging"
    commit(by, "AA")


def test_a_cases_link_brings_nothing_to_another_case_of_the_same_customer(strict: World) -> None:
    case = strict.open_case()
    strict.open_case(OTHER_NUMBER)
    by, elsewhere = through(strict), Declared(case=OTHER_NUMBER)
    with pytest.raises(NotFound), block_staging.begin_block(by, Stoppable(), "begun", "AA", 1, elsewhere):
        pass
    assert strict.last()[:2] == ("upload.created", "refused")
    with strict.custody.records.read() as reads:
        assert block_staging.find_blob(reads, by.link.row.id, "begun") is None
    bundle = stage(by, "AA", b"a").bundle_id
    with pytest.raises(NotFound):
        commit(by, "AA", declared=elsewhere)
    assert (strict.state(bundle), strict.row(bundle).case_id) == ("staging", case.id)
    whole = stage(by, None, b"a", "whole")
    with pytest.raises(NotFound):
        block_list.commit_one(by, whole, "whole", elsewhere, FACTS)
    assert commit(by, "AA", declared=Declared(case=NUMBER)).case_id == case.id  # its own may be named


def stamp_through(world: World, **changes: Any) -> Through:
    usual = {"expires_at": world.clock.now() + DAY, "type": CollectionType.PROACTIVE, "trigger": TRIGGER}
    stamp = world.stamp.stamp
    assert stamp is not None
    terms = LinkTerms(**{**usual, **changes})
    return opened(world, manage_links.create_stamp_link(world.custody, world.stamp, stamp, terms).id)


def test_a_stamps_link_brings_proactive_bundles_and_on_demand_ones_for_a_case_it_names(strict: World) -> None:
    strict.open_case()
    by = stamp_through(strict)
    stage(by, "AA", b"a")
    proactive = commit(by, "AA")
    assert (proactive.type, proactive.trigger, proactive.case_id) == ("proactive", TRIGGER, None)
    assert proactive.due_at == proactive.received_at + timedelta(days=90)
    stage(by, "AA", b"a", "other")
    on_demand = commit(by, "AA", name="other", declared=Declared(case=NUMBER))
    assert (on_demand.type, on_demand.trigger, on_demand.due_at) == ("on-demand", None, None)
    assert on_demand.case_id is not None


def test_a_blob_whose_case_comes_with_the_list_is_read_in_that_case(strict: World) -> None:
    strict.open_case()
    by = stamp_through(strict)
    stage(by, "AA", b"a")
    bundle = commit(by, "AA", declared=Declared(case=NUMBER))
    assert read(strict, bundle.id) == b"a"


def test_a_case_that_claims_a_blob_before_its_commit_keeps_it(strict: World) -> None:
    case = strict.open_case()
    strict.assign(strict.engineer)
    by = stamp_through(strict)
    bundle = stage(by, "AA", b"a").bundle_id
    declaration.claim_bundle(strict.custody, strict.engineer, bundle, NUMBER)
    assert (commit(by, "AA").case_id, strict.row(bundle).due_at) == (case.id, None)


def test_without_consent_a_stamps_link_brings_nothing(strict: World) -> None:
    by = stamp_through(strict)
    stage(by, "AA", b"a")
    stamp_verbs.set_proactive(strict.custody, strict.operator, str(strict.stamp.stamp), enabled=False)
    by = opened(strict, by.link.row.id)
    with pytest.raises(Refused) as caught:
        stage(by, "AA", b"a", "another")
    assert caught.value.reason == "no-proactive-consent"
    with pytest.raises(Refused):
        commit(by, "AA")
    assert strict.last() == ("upload.created", "refused", "no-proactive-consent")


def test_a_case_past_its_deadline_takes_no_blob(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    strict.close_case(at=strict.clock.now())
    strict.clock.move(timedelta(days=90))
    with pytest.raises(Conflict) as caught:
        stage(by, "AA", b"a")
    assert caught.value.reason == "case-past-deadline"


def test_more_than_a_bundle_may_hold_is_refused_before_it_is_sealed(strict: World) -> None:
    strict.open_case()
    small = dataclasses.replace(strict.custody.limits, max_bundle_size=10)
    by = dataclasses.replace(through(strict), custody=dataclasses.replace(strict.custody, limits=small))
    stage(by, "AA", b"x" * 6)
    with pytest.raises(TooLarge):
        stage(by, "BB", b"x" * 5)
    with pytest.raises(TooLarge):
        stage(by, "CC", b"")
    stage(by, "BB", b"x" * 4)
    assert commit(by, "AA", "BB").size == 10


def test_too_many_blocks_are_refused(strict: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_staging, "MAX_STAGED", 2)
    strict.open_case()
    by = through(strict)
    stage(by, "AA", b"a")
    stage(by, "BB", b"b")
    with pytest.raises(Conflict) as caught:
        stage(by, "CC", b"c")
    assert caught.value.reason == "too-many-blocks"


def test_a_blobs_name_is_unique_in_its_link_by_the_database_itself(strict: World) -> None:
    strict.open_case()
    by = through(strict)
    stage(by, "AA", b"a")
    with strict.custody.records.read() as reads:
        row = reads.execute(select(bundles)).one()._asdict()
    with pytest.raises(IntegrityError):
        strict.custody.records.write(
            lambda tx: tx.change(bundles.insert().values({**row, "id": "bun_" + "a" * 26}))
        )


def test_a_list_that_names_a_case_past_its_deadline_is_refused_and_the_blob_stays(world: World) -> None:
    world.open_case()
    world.close_case()
    world.clock.move(91 * DAY)
    terms = LinkTerms(expires_at=world.clock.now() + DAY, type=CollectionType.PROACTIVE, trigger=TRIGGER)
    issued = manage_links.create_stamp_link(world.custody, world.operator, world.stamp.stamp, terms)
    by = opened(world, issued.id)
    stage(by, "AA", b"content")
    with pytest.raises(Conflict) as caught:
        commit(by, "AA", declared=Declared(case=NUMBER))
    assert caught.value.reason == "case-past-deadline"
    sweep.sweep(world.custody)
    assert commit(by, "AA").state == "received"
