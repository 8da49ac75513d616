"""Custody under a key vault: what a disabled or rotated key does to uploads and reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from retention.custody import receiving
from retention.custody.rekeying import rewrap_all
from retention.envelope.errors import KeyWrapperUnavailable
from retention.envelope.key_vault import KeyVaultWrapper
from tests.keyvault.vault import Vault
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
