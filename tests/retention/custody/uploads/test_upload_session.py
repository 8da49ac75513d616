from __future__ import annotations

import dataclasses
import hashlib
import threading

import pytest

from retention.custody.access import manage_stamps
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import completion, declaration, handover, unfinished, upload_session
from retention.domain.faults import (
    Conflict,
    Erased,
    NotFound,
    OffsetMismatch,
    QuotaExceeded,
    TakenOver,
    TooLarge,
    Unavailable,
)
from retention.jobs.sweep import remove_orphans, sweep
from retention.objects.store_errors import KeyMissing, StoreFull
from retention.records.tables import parts
from tests.fakes.silent_records import SilentRecords
from tests.fakes.stores import StrictKeyStore
from tests.retention.custody.world import DAY, NUMBER, World, but

CONTENT = bytes(range(256)) * 16
PART = 1000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", PART)


@pytest.fixture
def bundle(world: World) -> str:
    world.open_case()
    return world.announce(len(CONTENT))


def begin(world: World, bundle: str, offset: int) -> upload_session.UploadSession:
    return upload_session.begin(world.custody, world.uploads, world.stamp, bundle, offset)


def stored_parts(world: World, bundle: str) -> int:
    return sum(name.startswith("prt_") for name in world.custody.objects.list_parts(bundle))


def assert_nothing_is_left(world: World, bundle: str) -> None:
    custody = world.custody
    assert world.state(bundle) == "erased"
    assert custody.objects.remains(bundle) == custody.keys.remains(bundle) == []
    assert bundle not in set(custody.objects.list_bundles())


def assert_completes(world: World, bundle: str) -> None:
    """The sender asks for the offset, goes on there, and what is stored is what was sent."""
    offset = world.row(bundle).offset
    world.send(bundle, CONTENT[offset:], offset)
    sweep(world.custody)
    assert (world.state(bundle), world.row(bundle).sha256) == (
        "complete",
        hashlib.sha256(CONTENT).hexdigest(),
    )


def test_what_was_not_parked_is_lost_and_full_parts_are_kept(world: World, bundle: str) -> None:
    with begin(world, bundle, 0) as session:
        session.feed(CONTENT[: 2 * PART + 500])
    assert world.row(bundle).offset == 2 * PART
    assert stored_parts(world, bundle) == 2
    assert_completes(world, bundle)


def test_a_second_writer_makes_the_first_save_and_stop(world: World, bundle: str) -> None:
    first = begin(world, bundle, 0)
    first.feed(CONTENT[:100])
    taken: list[upload_session.UploadSession | Exception] = []

    def second() -> None:
        try:
            taken.append(begin(world, bundle, 0))
        except OffsetMismatch as error:
            taken.append(error)

    other = threading.Thread(target=second)
    other.start()
    assert first.stop.wait(5)
    with pytest.raises(TakenOver):
        first.feed(CONTENT[100:200])
    with first:
        assert first.park() == 200  # the piece had arrived
    other.join()
    assert isinstance(taken[0], OffsetMismatch) and taken[0].expected == 200
    assert_completes(world, bundle)


def test_a_writer_of_another_process_is_fenced_off_at_its_next_part(world: World, bundle: str) -> None:
    with begin(world, bundle, 0) as first:
        first.feed(CONTENT[:100])
        world.uploads = upload_session.Uploads()  # as another process has its own
        with begin(world, bundle, 0) as second:
            second.feed(CONTENT[:200])
            with pytest.raises(TakenOver):
                first.feed(CONTENT[100 : PART + 1])
            assert second.park() == 200
    assert stored_parts(world, bundle) == 1
    assert_completes(world, bundle)


def test_a_writer_whose_upload_another_completed_is_told_so(world: World, bundle: str) -> None:
    with begin(world, bundle, 0) as first:
        first.feed(CONTENT[:100])
        world.uploads = upload_session.Uploads()
        assert world.send(bundle, CONTENT) == len(CONTENT)
        with pytest.raises(TakenOver):
            first.park()
    assert sweep(world.custody).verified == 1
    assert world.state(bundle) == "complete"


def test_a_slow_writer_hears_of_a_takeover_before_its_part_is_full(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "RECHECK_SECONDS", 0.0)
    with begin(world, bundle, 0) as first:
        first.feed(b"1")
        world.uploads = upload_session.Uploads()
        with begin(world, bundle, 0), pytest.raises(TakenOver):
            first.feed(b"2")


@pytest.mark.parametrize("erased", [False, True], ids=["begun", "carried through"])
def test_the_next_piece_fails_once_the_bundle_is_erased_and_nothing_is_left(
    world: World, bundle: str, erased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "RECHECK_SECONDS", 0.0)
    with begin(world, bundle, 0) as session:
        session.feed(CONTENT[: PART + 10])
        erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
        if erased:
            erasure_steps.erase_bundle(world.custody, bundle)
        with pytest.raises(Erased):
            session.feed(CONTENT[PART + 10 : PART + 20])
    sweep(world.custody)
    assert_nothing_is_left(world, bundle)
    with pytest.raises(Erased):
        begin(world, bundle, PART)


@pytest.mark.parametrize("erased", [False, True], ids=["begun", "carried through"])
def test_a_part_that_ends_after_the_erasure_is_not_kept(world: World, bundle: str, erased: bool) -> None:
    with begin(world, bundle, 0) as session:
        session.feed(CONTENT[:10])
        erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
        if erased:
            erasure_steps.erase_bundle(world.custody, bundle)
        with pytest.raises(Erased):
            session.park()
    sweep(world.custody)
    assert_nothing_is_left(world, bundle)


def test_a_part_that_became_durable_after_the_erasure_is_an_orphan_and_goes(local: World) -> None:
    local.open_case()
    bundle = local.announce(len(CONTENT))
    erasure_steps.request_bundle_erasure(local.custody, local.operator, bundle)
    sweep(local.custody)
    writer = local.custody.objects.new_part(bundle, "prt_" + "a" * 26)
    writer.reserve(10)
    writer.advance(10)
    writer.commit()  # and its process dies here, before it hears that the bundle is erased
    kept = local.upload(CONTENT, file_name="another.zip")
    assert local.custody.objects.remains(bundle) != []
    assert remove_orphans(local.custody) == 1
    assert_nothing_is_left(local, bundle)
    assert stored_parts(local, kept) == 5
    assert remove_orphans(local.custody) == 0


def test_an_erasure_between_the_takeover_and_the_first_key_is_heard(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key store answers 'never had one', then refuses the key: the bundle was erased in between."""
    strict.open_case()
    bundle = strict.announce(10)
    keys = strict.custody.keys
    put = keys.put

    def late(bundle_id: str, wrapped: object) -> None:
        erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle_id)
        erasure_steps.erase_bundle(strict.custody, bundle_id)
        keys.violations.clear()  # type: ignore[attr-defined]
        put(bundle_id, wrapped)  # type: ignore[arg-type]

    monkeypatch.setattr(keys, "put", late)
    with pytest.raises(Erased):
        strict.send(bundle, b"0123456789")
    keys.violations.clear()  # type: ignore[attr-defined]  # the race is what is tested
    assert_nothing_is_left(strict, bundle)


def test_more_bytes_than_announced_are_refused_and_what_fits_is_kept(world: World, bundle: str) -> None:
    with begin(world, bundle, 0) as session:
        session.feed(CONTENT[:-1])
        with pytest.raises(TooLarge):
            session.feed(b"22")
        assert session.park() == len(CONTENT) - 1
    assert_completes(world, bundle)


@pytest.mark.parametrize("offset", [-1, 1, len(CONTENT)])
def test_an_upload_goes_on_at_its_own_offset_only(world: World, bundle: str, offset: int) -> None:
    with pytest.raises(OffsetMismatch) as answer:
        begin(world, bundle, offset)
    assert answer.value.expected == 0


def test_a_full_disk_drops_the_part_and_keeps_those_before_it(world: World, bundle: str) -> None:
    class Full:
        """The object store, whose disk is full from the third part on."""

        def __init__(self) -> None:
            self.left = 2

        def __getattr__(self, name: str) -> object:
            return getattr(world.custody.objects, name)

        def new_part(self, bundle_id: str, part_id: str) -> object:
            writer = world.custody.objects.new_part(bundle_id, part_id)
            self.left -= 1
            if self.left < 0:
                writer.abort()
                raise StoreFull("a part cannot be started: No space left on device")
            return writer

    full = but(world, objects=Full())
    with pytest.raises(StoreFull, match="No space left"):
        full.send(bundle, CONTENT)
    assert world.row(bundle).offset == 2 * PART
    assert stored_parts(world, bundle) == 2
    assert_completes(world, bundle)


@pytest.mark.parametrize("held", [False, True])
def test_a_part_whose_record_may_have_been_made_is_kept(world: World, bundle: str, held: bool) -> None:
    silent = but(world, records=SilentRecords(world.custody.records, parts))

    def send() -> None:
        with upload_session.begin(
            silent.custody, world.uploads, world.stamp, bundle, 0, held=held
        ) as session:
            session.feed(CONTENT[: 2 * PART])
            session.park()

    with pytest.raises(Unavailable, match="stopped responding"):
        send()
    assert world.row(bundle).offset == (2 * PART if held else PART)
    assert_completes(world, bundle)


def test_an_upload_that_is_given_up_is_erased_and_a_received_one_is_not_given_up(
    world: World, bundle: str
) -> None:
    world.send(bundle, CONTENT[:1500])
    with pytest.raises(NotFound):
        unfinished.terminate_upload(world.custody, world.other_stamp, bundle)
    unfinished.terminate_upload(world.custody, world.stamp, bundle)
    for ask in (unfinished.find_upload, unfinished.terminate_upload):
        with pytest.raises(Erased):
            ask(world.custody, world.stamp, bundle)
    sweep(world.custody)
    assert_nothing_is_left(world, bundle)
    whole = world.announce(len(CONTENT))
    world.send(whole, CONTENT)
    with pytest.raises(Conflict):
        unfinished.terminate_upload(world.custody, world.stamp, whole)
    assert sweep(world.custody).verified == 1


def test_a_bundle_that_is_not_what_was_announced_is_damaged(world: World) -> None:
    world.open_case()
    bundle = world.announce(4, sha256=hashlib.sha256(b"abcd").hexdigest())
    world.send(bundle, b"abce")
    assert completion.verify_bundle(world.custody, bundle) == "damaged"
    assert world.last() == ("bundle.damaged", "failed", "digest-mismatch")


def test_a_key_that_is_not_found_is_not_made_anew_under_parts_that_count(world: World, bundle: str) -> None:
    """Its folder is not mounted, say: what another key seals, the first one does not open."""
    world.send(bundle, CONTENT[:1500])
    away = but(world, keys=StrictKeyStore())
    with pytest.raises(KeyMissing):
        away.send(bundle, CONTENT[1500:], 1500)
    assert_completes(world, bundle)


def test_requests_that_bring_nothing_keep_an_upload_no_longer_than_its_staged_blocks(
    world: World, bundle: str
) -> None:
    world.send(bundle, CONTENT[:1500])
    kept_until = world.row(bundle).expires_at
    world.clock.move(3 * DAY)
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 1500) as session:
        session.park()  # the line broke before the first byte
    assert world.row(bundle).expires_at == kept_until
    world.send(bundle, CONTENT[1500:2000], 1500)
    assert world.row(bundle).expires_at == kept_until + 3 * DAY


def test_a_stamp_that_is_deregistered_meanwhile_uploads_nothing_more(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "RECHECK_SECONDS", 0.0)
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session:
        session.feed(CONTENT[:500])
        manage_stamps.deregister_stamp(world.custody, world.operator, world.stamp.stamp)
        with pytest.raises(TakenOver, match="deregistered"):
            session.feed(CONTENT[500:])
    assert world.state(bundle) == "receiving"


def test_what_comes_of_a_length_that_was_not_told_is_held_to_the_quota(world: World) -> None:
    limits = dataclasses.replace(world.custody.limits, stamp_quota=100)
    narrow = but(world, limits=limits)
    narrow.open_case()
    made = declaration.create_upload(
        narrow.custody, narrow.stamp, narrow.collection(1), case_number=NUMBER, stamp_id=None, deferred=True
    )
    with pytest.raises(QuotaExceeded):
        narrow.send(made.id, CONTENT)
    assert (world.state(made.id), world.row(made.id).offset) == ("receiving", 0)


class Hours:
    """A clock that is set by hand; seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(upload_session, "_now", lambda: self.now)


def test_what_is_older_than_a_parts_time_counts_while_the_request_goes_on(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, most = Hours(monkeypatch), world.custody.limits.part_seconds
    with begin(world, bundle, 0) as session:
        session.feed(CONTENT[:10])
        hours.now = most - 0.1
        session.feed(b"")
        assert world.row(bundle).offset == 0
        hours.now = most
        session.feed(b"")  # nothing comes, and what came is committed all the same
        assert world.row(bundle).offset == 10
        hours.now = 10 * most
        session.feed(b"")  # no part without a byte
        session.feed(CONTENT[10:30])
        hours.now = 11 * most
        session.feed(CONTENT[30:40])
        assert world.row(bundle).offset == 40
        session.feed(CONTENT[40:50])  # then the process dies
    assert stored_parts(world, bundle) == 2
    assert_completes(world, bundle)


def test_under_a_checksum_no_part_ends_for_its_age(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours(monkeypatch)
    with upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0, held=True) as session:
        for number in range(5):
            session.feed(CONTENT[number * 10 : number * 10 + 10])
            hours.now += 3600
        session.feed(b"")
        assert world.row(bundle).offset == 0
        assert session.park() == 50
    assert stored_parts(world, bundle) == 1


def test_an_upload_that_came_in_too_many_parts_is_not_gone_on_with(
    world: World, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MOST_PARTS", 2)
    for number in range(2):
        world.send(bundle, CONTENT[number : number + 1], number)
    with pytest.raises(Conflict) as told:
        world.send(bundle, CONTENT[2:3], 2)
    assert told.value.reason == "too-many-parts"
    assert world.row(bundle).writer is None
