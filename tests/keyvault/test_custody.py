"""Custody under a key vault: what a disabled or rotated key does to uploads and reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retention.custody import receiving
from retention.custody.rekeying import rewrap_all
from retention.envelope.errors import KeyWrapperUnavailable
from retention.envelope.key_vault import KeyVaultWrapper
from retention.envelope.keys import WrappedKey
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
        receiving.begin(world.custody, world.uploads, world.stamp, bundle, 0)
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
    assert rewrap_all(world.custody, world.administrator) == 3
    assert {world.custody.keys.get(bundle).kek_id for bundle in bundles} == {fresh}
    assert all(world.read(bundle) == CONTENT for bundle in bundles)


def test_rewrapping_asks_for_the_current_key_once_and_not_for_each_bundle(
    world: World, wrapper: KeyVaultWrapper, vault: Vault
) -> None:
    for _ in range(4):
        world.upload(CONTENT)
    vault.requests.clear()
    assert rewrap_all(world.custody, world.administrator) == 0  # all are wrapped by it
    assert len(vault.requests) == 2  # before, and after: it may have been rotated meanwhile


def test_rewrapping_waits_out_a_throttling_vault(
    world: World, wrapper: KeyVaultWrapper, vault: Vault, waits: list[float]
) -> None:
    bundles = [world.upload(CONTENT) for _ in range(3)]
    fresh = wrapper.rotate(world.clock.now())
    vault.faults.extend([Fault(429, headers={"Retry-After": "5"})] * 3)
    assert rewrap_all(world.custody, world.administrator) == 3
    assert waits == [5, 5, 5]
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
