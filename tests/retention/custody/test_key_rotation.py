"""Rotation of the key-encryption key comes to its end, whatever is broken, killed or uploaded on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.entry import parse_leaf
from retention.custody import key_rotation
from retention.custody.key_rotation import Rotation
from retention.custody.uploads import upload_session
from retention.envelope.data_keys import WrappedKey
from retention.keys.key_file import LocalKeyWrapper
from retention.objects.store_errors import StoreUnavailable
from tests.retention.custody.world import START, World, but, local_world

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def key_file(tmp_path: Path) -> LocalKeyWrapper:
    return LocalKeyWrapper.create(tmp_path / "kek.json", START)


@pytest.fixture
def world(tmp_path: Path, key_file: LocalKeyWrapper) -> Iterator[World]:
    with local_world(tmp_path) as made:
        made = but(made, wrapper=key_file)
        made.open_case()
        made.assign(made.engineer)
        made.grant()
        yield made


def rotate(world: World, **how: Any) -> Rotation:
    assert isinstance(world.custody.wrapper, LocalKeyWrapper)
    return key_rotation.rotate(world.custody, world.custody.wrapper, world.administrator, **how)


def steps(world: World) -> list[tuple[str, str, dict[str, Any]]]:
    """Of each entry of a rotation: its step, outcome and the rest of its details."""
    found = []
    for row in world.entries():
        if row.action == "key.rotated":
            details = dict(parse_leaf(row.leaf)["details"])
            found.append((details.pop("step"), row.outcome, details))
    return found


def keks(world: World, *bundles: str) -> set[str]:
    return {world.custody.keys.get(bundle).kek_id for bundle in bundles}


def damage(world: World, bundle: str) -> None:
    """One bit of the wrapped key, where it is stored."""
    path = world.folder / "keys" / f"{bundle}.key"
    wrapped = WrappedKey.from_json(path.read_bytes())
    sealed = bytes([wrapped.sealed[0] ^ 1]) + wrapped.sealed[1:]
    path.write_bytes(WrappedKey(wrapped.kek_id, wrapped.algorithm, sealed).to_json())


def test_a_rotation_leaves_an_entry_at_the_switch_and_one_at_its_end(
    world: World, key_file: LocalKeyWrapper
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    old = key_file.current_kek_id
    done = rotate(world)
    assert (done.made, done.rewrapped, done.left) == (True, 3, {})
    assert keks(world, *bundles) == {done.key} == {key_file.current_kek_id}
    assert steps(world) == [
        ("switching", "success", {"from": old}),
        ("switched", "success", {"from": old, "key": done.key}),
        ("rewrapped", "success", {"key": done.key, "rewrapped": 3, "left": 0}),
    ]
    assert all(world.read(bundle) == CONTENT for bundle in bundles)


@pytest.mark.parametrize("place", range(5))
def test_a_damaged_wrapped_key_stops_nothing_and_is_named(world: World, place: int) -> None:
    bundles = [world.upload(CONTENT) for _ in range(5)]
    order = list(world.custody.keys.list_bundles())
    broken = order[place]
    damage(world, broken)
    done = rotate(world)
    assert done.left == {broken: "key-broken"}
    assert done.rewrapped == 4
    assert keks(world, *(bundle for bundle in bundles if bundle != broken)) == {done.key}
    step, outcome, details = steps(world)[-1]
    assert (step, outcome) == ("rewrapped", "failed")
    assert (details["left"], details["bundles"]) == (1, [broken])
    assert world.entries()[-1].reason == "keys-left"


def test_every_kind_of_what_is_left_is_named_by_its_reason(world: World) -> None:
    harms: dict[str, bytes] = {
        "key-broken": b"not a wrapped key",
        "newer-framing": b'{"framing":3,"kek_id":"k","algorithm":"AES-256-GCM","wrapped":"AAAA"}',
        "wrapped-by-an-unknown-key": WrappedKey("local-0000000000000000", "AES-256-GCM", bytes(60)).to_json(),
    }
    expected = {}
    for reason, content in harms.items():
        bundle = world.upload(CONTENT)
        (world.folder / "keys" / f"{bundle}.key").write_bytes(content)
        expected[bundle] = reason
    whole = world.upload(CONTENT)
    done = rotate(world)
    assert done.left == expected
    assert keks(world, whole) == {done.key}


def test_a_key_that_cannot_be_read_alone_is_left_and_a_store_that_is_away_ends_the_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    get = world.custody.keys.get

    def erring(bundle: str) -> WrappedKey:
        if bundle == bundles[1]:
            raise StoreUnavailable("an unreadable block")
        return get(bundle)

    monkeypatch.setattr(world.custody.keys, "get", erring)
    assert rotate(world).left == {bundles[1]: "store-error"}

    def away() -> None:
        raise StoreUnavailable("nobody answers")

    monkeypatch.setattr(world.custody.keys, "check", away)
    with pytest.raises(StoreUnavailable, match="nobody answers"):
        rotate(world)
    monkeypatch.undo()
    key = steps(world)[-1][2]["key"]
    done = rotate(world)
    assert (done.made, done.key, done.left) == (False, key, {}), "it goes on with the key of before"


def test_what_was_left_is_wrapped_by_resuming_without_a_new_key(world: World) -> None:
    bundle = world.upload(CONTENT)
    path = world.folder / "keys" / f"{bundle}.key"
    sound = path.read_bytes()
    damage(world, bundle)
    first = rotate(world)
    path.write_bytes(sound)
    done = rotate(world, resume=True)
    assert (done.made, done.key, done.rewrapped, done.left) == (False, first.key, 1, {})
    assert world.read(bundle) == CONTENT


class KilledError(Exception):
    """Stands for the end of the process."""


def killed(*_: object, **__: object) -> None:
    raise KilledError


def after(number: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, killed before its `number`th time, from 0."""
    made: list[object] = []

    def counted(*args: Any, **named: Any) -> Any:
        if len(made) == number:
            raise KilledError
        made.append(args)
        return call(*args, **named)

    return counted


@pytest.mark.parametrize(
    ("part", "call", "number"),
    [
        ("wrapper", "rotate", 0),
        ("records", "write", 0),
        ("records", "write", 1),
        ("keys", "replace", 0),
        ("keys", "replace", 2),
        ("records", "write", 2),
    ],
    ids=["before the switch", "before any entry", "at the switch's entry", "first", "third", "at the end"],
)
def test_a_rotation_that_was_killed_goes_on_and_makes_no_second_key(
    world: World,
    key_file: LocalKeyWrapper,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    call: str,
    number: int,
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(4)]
    old = key_file.current_kek_id
    with monkeypatch.context() as patch:
        held = getattr(world.custody, part)
        patch.setattr(held, call, after(number, getattr(held, call)))
        with pytest.raises(KilledError):
            rotate(world)
    switched = key_file.current_kek_id
    done = rotate(world)
    assert done.made == (switched == old)
    assert switched in (old, done.key), "one new key, not two"
    assert keks(world, *bundles) == {done.key}
    assert [step for step, _, _ in steps(world)] == ["switching", "switched", "rewrapped"]
    assert steps(world)[1][2] == {"from": old, "key": done.key}
    assert all(world.read(bundle) == CONTENT for bundle in bundles)


def test_an_ended_rotation_is_followed_by_one_with_a_new_key(world: World) -> None:
    world.upload(CONTENT)
    first, second = rotate(world), rotate(world)
    assert first.made and second.made and first.key != second.key


def test_an_upload_that_wraps_while_the_keys_are_listed_is_found_by_the_next_pass(
    world: World, key_file: LocalKeyWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data key is wrapped by the old key before the switch, and kept when the first pass has listed all."""
    first, late = world.upload(CONTENT), world.announce(len(CONTENT))
    put, list_bundles = world.custody.keys.put, world.custody.keys.list_bundles
    waiting: list[tuple[str, WrappedKey]] = []
    monkeypatch.setattr(world.custody.keys, "put", lambda *args: waiting.append(args))
    upload_session.data_key_of(world.custody, late, first=True)
    (kept,) = waiting
    assert kept[1].kek_id == key_file.current_kek_id

    def listed() -> Iterator[str]:
        yield from list(list_bundles())
        if waiting:
            put(*waiting.pop())

    monkeypatch.setattr(world.custody.keys, "list_bundles", listed)
    done = rotate(world)
    assert (done.rewrapped, done.left) == (2, {})
    assert keks(world, first, late) == {done.key}


def test_a_pass_that_changes_nothing_is_the_only_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upload(CONTENT)
    rotate(world)
    list_bundles, asked = world.custody.keys.list_bundles, []

    def counted() -> Iterator[str]:
        asked.append(1)
        return list_bundles()

    monkeypatch.setattr(world.custody.keys, "list_bundles", counted)
    assert rotate(world, resume=True).rewrapped == 0
    assert len(asked) == 1
