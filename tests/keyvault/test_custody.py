"""Custody under a key vault: what a disabled or rotated key does to uploads and reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from retention.custody.key_rotation import rewrap_all, rotate
from retention.custody.uploads import upload_session
from retention.envelope.data_keys import WrappedKey
from retention.envelope.format import KeyWrapperUnavailable
from retention.keys.key_vault import KeyVaultWrapper
from tests.keyvault.vault import Fault, Vault
from tests.retention.custody.world import World, but, strict_world

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def world(wrapper: KeyVaultWrapper) -> Iterator[World]:
    with strict_world() as world:
        world = but(world, wrapper=wrapper)
        world.open_case()
        world.assign(world.engineer)
        world.grant()
        yield world


def test_a_disabled_key_refuses_an_upload_before_its_first_byte(world: World, vault: Vault) -> None:
    bundle = world.announce(len(CONTENT))
    attributes = vault.keys["casevault"][0].attributes
    attributes["enabled"] = False
    with pytest.raises(KeyWrapperUnavailable, match="is disabled"):
        upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0)
    assert world.custody.objects.remains(bundle) == world.custody.keys.remains(bundle) == []
    attributes["enabled"] = True
    assert world.send(bundle, CONTENT) == len(CONTENT)


def test_a_disabled_key_refuses_reads_with_its_cause(world: World, vault: Vault) -> None:
    bundle = world.upload(CONTENT)
    vault.keys["casevault"][0].attributes["enabled"] = False
    with pytest.raises(KeyWrapperUnavailable, match="is disabled"):
        world.read(bundle)


def test_rotation_refuses_no_read_and_rewraps_what_is_left(world: World, wrapper: KeyVaultWrapper) -> None:
    bundles = [world.upload(CONTENT) for _ in range(4)]
    fresh = wrapper.rotate(world.clock.now())
    world.custody.keys.replace(
        bundles[0], wrapper.wrap(wrapper.unwrap(world.custody.keys.get(bundles[0]), bundles[0]), bundles[0])
    )  # a run that stopped half way
    assert all(world.read(bundle) == CONTENT for bundle in bundles)
    assert rewrap_all(world.custody, world.administrator).rewrapped == 3
    assert {world.custody.keys.get(bundle).kek_id for bundle in bundles} == {fresh}
    assert all(world.read(bundle) == CONTENT for bundle in bundles)


def test_rewrapping_asks_for_the_current_key_once_and_not_for_each_bundle(
    world: World, wrapper: KeyVaultWrapper, vault: Vault
) -> None:
    for _ in range(4):
        world.upload(CONTENT)
    vault.requests.clear()
    assert rewrap_all(world.custody, world.administrator).rewrapped == 0  # all are wrapped by it
    assert len(vault.requests) == 2  # before, and after: it may have been rotated meanwhile


def test_what_one_disabled_version_wrapped_is_left_and_the_rest_goes_on(
    world: World, wrapper: KeyVaultWrapper, vault: Vault
) -> None:
    left = world.upload(CONTENT)
    wrapper.rotate(world.clock.now())
    other = world.upload(CONTENT)
    vault.keys["casevault"][0].attributes["enabled"] = False
    done = rotate(world.custody, wrapper, world.administrator)
    assert (done.made, done.rewrapped, done.left) == (True, 1, {left: "key-unavailable"})
    assert world.custody.keys.get(other).kek_id == done.key
    vault.keys["casevault"][0].attributes["enabled"] = True
    again = rotate(world.custody, wrapper, world.administrator, resume=True)
    assert (again.made, again.key, again.rewrapped, again.left) == (False, done.key, 1, {})


def test_a_damaged_wrapped_key_stops_no_rotation(
    world: World, wrapper: KeyVaultWrapper, vault: Vault
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    wrapped = world.custody.keys.get(bundles[1])
    world.custody.keys.replace(bundles[1], replace(wrapped, sealed=wrapped.sealed[::-1]))
    done = rotate(world.custody, wrapper, world.administrator)
    assert (done.rewrapped, done.left) == (2, {bundles[1]: "key-broken"})


def test_a_vault_that_falls_silent_ends_the_pass_and_the_rotation_goes_on_later(
    world: World, wrapper: KeyVaultWrapper, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    replaced = world.custody.keys.replace

    def silent_after_the_first(bundle: str, wrapped: WrappedKey) -> None:
        replaced(bundle, wrapped)
        vault.keys["casevault"][-1].attributes["enabled"] = False

    with monkeypatch.context() as patch:
        patch.setattr(world.custody.keys, "replace", silent_after_the_first)
        with pytest.raises(KeyWrapperUnavailable, match="is disabled"):
            rotate(world.custody, wrapper, world.administrator)
    vault.keys["casevault"][-1].attributes["enabled"] = True
    versions = len(vault.keys["casevault"])
    done = rotate(world.custody, wrapper, world.administrator)
    assert (done.made, done.left, len(vault.keys["casevault"])) == (False, {}, versions)
    assert {world.custody.keys.get(bundle).kek_id for bundle in bundles} == {done.key}


def test_a_switch_whose_answer_was_lost_is_not_made_twice(
    world: World, wrapper: KeyVaultWrapper, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = world.upload(CONTENT)

    def lost(now: object) -> str:
        vault.rotate("casevault")
        raise KeyWrapperUnavailable("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(wrapper, "rotate", lost)
        with pytest.raises(KeyWrapperUnavailable):
            rotate(world.custody, wrapper, world.administrator)
    done = rotate(world.custody, wrapper, world.administrator)
    assert (done.made, len(vault.keys["casevault"])) == (False, 2)
    assert world.custody.keys.get(bundle).kek_id == done.key


def test_rewrapping_waits_out_a_throttling_vault(
    world: World, wrapper: KeyVaultWrapper, vault: Vault, waits: list[float]
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    fresh = wrapper.rotate(world.clock.now())
    vault.faults.extend([Fault(429, headers={"Retry-After": "5"})] * 3)
    assert rewrap_all(world.custody, world.administrator).rewrapped == 3
    assert len(waits) == 3 and all(5 <= wait <= 7.5 for wait in waits)
    assert len(set(waits)) == 3  # jitter: not all come back at once
    assert {world.custody.keys.get(bundle).kek_id for bundle in bundles} == {fresh}


def test_a_rotation_in_the_middle_of_a_rewrapping_leaves_nothing_under_the_older_key(
    world: World, wrapper: KeyVaultWrapper, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    wrapper.rotate(world.clock.now())
    replace, replaced = world.custody.keys.replace, []

    def rotate_after_the_first(bundle: str, wrapped: WrappedKey) -> None:
        replace(bundle, wrapped)
        replaced.append(bundle)
        if len(replaced) == 1:
            vault.rotate("casevault")

    monkeypatch.setattr(world.custody.keys, "replace", rotate_after_the_first)
    rewrap_all(world.custody, world.administrator)
    assert {world.custody.keys.get(bundle).kek_id for bundle in bundles} == {wrapper.current_kek_id}
