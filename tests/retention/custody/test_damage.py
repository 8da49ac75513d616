"""What the read-back finds: a bundle with one wrong byte, part or key is damaged, and never opens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import completion, upload_session
from retention.custody.uploads.manifests import is_kept
from retention.domain.faults import Damaged, Erased, Refused, Unavailable
from retention.envelope.data_keys import WrappedKey
from retention.envelope.format import ciphertext_length
from retention.jobs.sweep import sweep
from retention.objects.store_errors import PartMissing, StoreUnavailable
from retention.records.tables import parts
from tests.fakes.stores import MemoryKeyWrapper, StrictKeyStore, StrictObjectStore
from tests.retention.custody.world import World, but, owned, strict_world

CONTENT = bytes(range(256)) * 8


def received(world: World) -> str:
    world.open_case()
    bundle = world.announce(len(CONTENT))
    world.send(bundle, CONTENT)
    world.assign(world.engineer)
    world.grant()
    return bundle


def assert_never_opens(world: World, bundle: str, reason: str) -> None:
    sweep(world.custody)
    assert world.state(bundle) == "damaged"
    damaged = [row for row in world.entries() if row.action == "bundle.damaged"]
    assert [(row.outcome, row.reason) for row in damaged] == [("failed", reason)]
    with pytest.raises(Refused) as refused:
        world.read(bundle)
    assert refused.value.reason == "bundle-damaged"
    sweep(world.custody)
    assert world.state(bundle) == "damaged", "nothing repairs it"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_one_flipped_bit_anywhere_in_a_part_is_found_by_the_read_back(data: Any) -> None:
    with strict_world() as world:
        bundle = received(world)
        stored = objects(world).parts
        name = data.draw(st.sampled_from(the_parts(world)))
        changed = bytearray(stored[name])
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        stored[name] = bytes(changed)
        assert_never_opens(world, bundle, "seal-broken")


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_a_manifest_that_is_damaged_or_missing_is_written_anew_and_the_entry_says_so(data: Any) -> None:
    with strict_world() as world:
        bundle = received(world)
        stored = objects(world).parts
        (name,) = manifests(world)
        changed = bytearray(stored.pop(name))
        if not data.draw(st.booleans(), label="missing"):
            changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            stored[name] = bytes(changed)
        sweep(world.custody)
        assert world.state(bundle) == "complete"
        assert '"mended":["manifest"]' in said(world, "bundle.verified")
        assert manifests(world) not in ([], [name])
        manifest = completion.read_manifest(world.custody, bundle)
        with completion.opener(world.custody, manifest) as sealed:
            assert is_kept(world.custody, manifest, sealed.stored_manifest)
        assert world.read(bundle) == CONTENT


def test_a_manifest_that_is_there_is_left_as_it_is(strict: World) -> None:
    bundle = received(strict)
    before = manifests(strict)
    sweep(strict.custody)
    assert strict.state(bundle) == "complete"
    assert manifests(strict) == before
    assert "mended" not in said(strict, "bundle.verified")


def said(world: World, action: str) -> str:
    (leaf,) = [row.leaf.decode() for row in world.entries() if row.action == action]
    return leaf


def manifests(world: World) -> list[tuple[str, str]]:
    return [name for name in objects(world).parts if name[1].startswith("mft_")]


def the_parts(world: World) -> list[tuple[str, str]]:
    return sorted(name for name in objects(world).parts if name[1].startswith("prt_"))


def objects(world: World) -> StrictObjectStore:
    assert isinstance(world.custody.objects, StrictObjectStore)
    return world.custody.objects


def lose_a_part(world: World, bundle: str) -> None:
    del objects(world).parts[the_parts(world)[0]]


def swap_parts(world: World, bundle: str) -> None:
    stored = objects(world).parts
    one, other = the_parts(world)[:2]
    stored[one], stored[other] = stored[other], stored[one]


def alter_the_record(world: World, bundle: str) -> None:
    wrong = update(parts).where(parts.c.bundle_id == bundle, parts.c.number == 0).values(digest="00" * 32)
    with owned(world.custody.records) as engine, engine.begin() as connection:
        connection.execute(wrong)


def give_it_another_bundles_key(world: World, bundle: str) -> None:
    other = world.announce(5)
    world.send(other, b"other")
    completion.verify_bundle(world.custody, other)
    assert isinstance(world.custody.keys, StrictKeyStore)
    world.custody.keys.keys[bundle] = world.custody.keys.keys[other]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lose_a_part, "part-missing"),
        (swap_parts, "seal-broken"),
        (alter_the_record, "manifest-mismatch"),
        (give_it_another_bundles_key, "key-broken"),
    ],
)
def test_every_other_harm_is_found_too(
    strict: World, monkeypatch: pytest.MonkeyPatch, harm: Callable[[World, str], None], reason: str
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)
    bundle = received(strict)
    harm(strict, bundle)
    assert_never_opens(strict, bundle, reason)


class OnceWrong:
    """A store (of objects or of keys) whose first answer to `call` is `wrong`; every later one is true."""

    def __init__(self, inner: object, call: str, wrong: Callable[..., object]) -> None:
        self._inner, self._call, self._wrong = inner, call, wrong
        self.given = False

    def __getattr__(self, name: str) -> Any:
        if name != self._call or self.given:
            return getattr(self._inner, name)
        self.given = True
        return self._wrong


def missing(bundle_id: str, part_id: str) -> object:
    raise PartMissing(part_id)


def other_bytes(bundle_id: str, part_id: str) -> object:
    other = StrictObjectStore()
    other.parts[bundle_id, part_id] = bytes(ciphertext_length(len(CONTENT)))
    other.complete(bundle_id, [part_id])
    return other.open_part(bundle_id, part_id)


def no_key(bundle_id: str) -> object:
    return WrappedKey("memory", "memory", b"")


@pytest.mark.parametrize(
    ("store", "call", "wrong"),
    [
        ("objects", "open_part", missing),
        ("objects", "open_part", other_bytes),
        ("keys", "get", no_key),
    ],
)
def test_a_fault_that_passes_damages_nothing(
    strict: World, store: str, call: str, wrong: Callable[..., object]
) -> None:
    bundle = received(strict)
    once = OnceWrong(getattr(strict.custody, store), call, wrong)
    object.__setattr__(strict.custody, store, once)
    assert sweep(strict.custody).verified == 1
    assert once.given, "or nothing was tried"
    assert strict.read(bundle) == CONTENT


def test_a_key_that_is_not_held_now_damages_nothing(strict: World) -> None:
    """Another key file is a mistake of the moment: the read-back waits until the right one is back."""
    bundle = received(strict)
    wrapper = strict.custody.wrapper
    object.__setattr__(strict.custody, "wrapper", MemoryKeyWrapper())
    assert sweep(strict.custody).failed == 1
    assert strict.state(bundle) == "received"
    object.__setattr__(strict.custody, "wrapper", wrapper)
    assert sweep(strict.custody).verified == 1
    assert strict.read(bundle) == CONTENT


def test_a_store_whose_folder_is_away_damages_nothing(local: World) -> None:
    bundle = received(local)
    folder = local.folder / "objects"
    away = folder.rename(local.folder / "away")
    assert sweep(local.custody).failed == 1
    assert local.state(bundle) == "received"
    away.rename(folder)
    local.clock.move(timedelta(minutes=1))
    assert sweep(local.custody).verified == 1


def complete(world: World) -> str:
    """A complete bundle of several segments and parts, with a live grant."""
    world.open_case()
    world.assign(world.engineer)
    made = world.upload(LONG)
    world.grant()
    return made


LONG = bytes(range(256)) * 12_000  # three segments


def flip(world: World, at: int = -1) -> tuple[tuple[str, str], bytes]:
    stored = objects(world).parts
    name = the_parts(world)[0]
    before, changed = stored[name], bytearray(stored[name])
    changed[at] ^= 1
    stored[name] = bytes(changed)
    return name, before


def lose(world: World) -> tuple[tuple[str, str], bytes]:
    name = the_parts(world)[0]
    return name, objects(world).parts.pop(name)


@pytest.mark.parametrize(("harm", "reason"), [(flip, "seal-broken"), (lose, "part-missing")])
def test_damage_that_a_read_meets_is_recorded_and_the_reader_is_told(
    strict: World, harm: Callable[[World], object], reason: str
) -> None:
    bundle = complete(strict)
    harm(strict)
    with pytest.raises(Damaged, match="not those that were sealed") as told:
        strict.read(bundle)
    assert told.value.reason == "bundle-damaged"
    assert strict.state(bundle) == "damaged"
    opened, damaged, ended = strict.leaves()[-3:]
    assert (opened["action"], ended["action"]) == ("bundle.opened", "bundle.read-ended")
    assert (damaged["action"], damaged["outcome"], damaged["reason"]) == ("bundle.damaged", "failed", reason)
    assert (ended["outcome"], ended["reason"]) == ("failed", "damaged")
    with pytest.raises(Refused) as refused:
        strict.read(bundle)
    assert refused.value.reason == "bundle-damaged"


def test_damage_in_the_middle_ends_the_read_with_what_was_handed_over(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1 << 20)
    bundle = complete(strict)
    opened = strict.open(bundle)
    pieces = opened.pieces(opened.spans[0])
    first = next(pieces)
    for name in the_parts(strict):
        part = objects(strict).parts[name]
        objects(strict).parts[name] = part[:-1] + bytes([part[-1] ^ 1])
    with pytest.raises(Damaged):
        list(pieces)
    ended = strict.leaves()[-1]
    assert ended["reason"] == "damaged"
    assert len(first) <= ended["details"]["bytes"] < len(LONG)
    assert strict.state(bundle) == "damaged"


def test_a_store_that_errs_once_damages_nothing_at_a_read(strict: World) -> None:
    bundle = complete(strict)
    name, before = flip(strict)

    class Once:
        """Gives the altered part at the first look, and the true one afterwards."""

        def __getattr__(self, wanted: str) -> object:
            return getattr(strict.custody.objects, wanted)

        def open_part(self, bundle_id: str, part_id: str) -> object:
            part = strict.custody.objects.open_part(bundle_id, part_id)
            objects(strict).parts[name] = before
            return part

    with pytest.raises(Unavailable, match="try again"):
        but(strict, objects=Once()).read(bundle)
    assert strict.state(bundle) == "complete"
    assert strict.last() == ("bundle.read-ended", "failed", "unavailable")
    assert strict.read(bundle) == LONG


def test_an_erasure_that_takes_the_parts_away_from_a_reader_is_no_damage(local: World) -> None:
    bundle = complete(local)
    opened = local.open(bundle)
    erasure_steps.request_bundle_erasure(local.custody, local.operator, bundle)
    erasure_steps.erase_bundle(local.custody, bundle)
    with pytest.raises(Erased):
        list(opened.pieces(opened.spans[0]))
    assert local.last() == ("bundle.read-ended", "failed", "erased")
    assert [row for row in local.entries() if row.action == "bundle.damaged"] == []


def test_a_read_that_its_grant_cut_says_so(strict: World) -> None:
    bundle = complete(strict)
    for reason, end in (
        ("grant-expired", lambda: strict.clock.move(timedelta(days=2))),
        ("grant-ended", lambda: strict.unassign(strict.engineer)),
    ):
        strict.assign(strict.engineer)
        strict.grant()
        opened = strict.open(bundle)
        opened.standing._checked -= 60
        pieces = opened.pieces(opened.spans[0])
        if reason == "grant-ended":
            end()
        else:
            next(pieces)
            end()
        with pytest.raises(Refused):
            list(pieces)
        opened.close()
        assert strict.last() == ("bundle.read-ended", "failed", reason)


def test_a_store_that_is_away_at_the_second_look_damages_nothing_and_the_read_has_an_end(
    strict: World,
) -> None:
    bundle = complete(strict)
    flip(strict)

    class Leaving:
        looks = 0

        def __getattr__(self, wanted: str) -> object:
            return getattr(strict.custody.objects, wanted)

        def open_part(self, bundle_id: str, part_id: str) -> object:
            self.looks += 1
            if self.looks > 1:
                raise StoreUnavailable("no answer")
            return strict.custody.objects.open_part(bundle_id, part_id)

    with pytest.raises(StoreUnavailable):
        but(strict, objects=Leaving()).read(bundle)
    assert strict.state(bundle) == "complete"
    assert strict.last() == ("bundle.read-ended", "failed", "unavailable")


def test_a_reader_hears_of_the_damage_that_another_has_met(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1 << 20)
    bundle = complete(strict)
    opened = strict.open(bundle)
    opened.standing._checked -= 60
    flip(strict)
    with pytest.raises(Damaged):
        strict.read(bundle)
    with pytest.raises(Damaged):
        list(opened.pieces((0, 1)))
    assert strict.last() == ("bundle.read-ended", "failed", "damaged")
