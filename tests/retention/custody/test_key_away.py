"""An upload is refused at its creation, before its sender has sent anything, when its data key could not be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from retention.custody.access import manage_links
from retention.custody.uploads import block_list, block_staging, concatenation, declaration
from retention.custody.uploads.block_staging import Stoppable, Through
from retention.domain.bundle import CollectionType
from retention.domain.upload_link import Declared, LinkTerms
from retention.envelope.data_keys import USABLE_SECONDS, DataKey, WrappedKey, WrapperCheck
from retention.envelope.format import KeyWrapperUnavailable
from retention.records.tables import bundles
from tests.fakes.stores import MemoryKeyWrapper
from tests.retention.custody.world import NUMBER, World, but, strict_world


class Disabled(MemoryKeyWrapper):
    """A key that is there and cannot be used, as one that was disabled in its vault."""

    def __init__(self) -> None:
        super().__init__()
        self.disabled, self.asked = True, 0

    def wrap(self, data_key: DataKey, bundle_id: str) -> WrappedKey:
        self.asked += 1
        if self.disabled:
            raise KeyWrapperUnavailable("the key https://vault.example/keys/k is disabled", "is disabled")
        return super().wrap(data_key, bundle_id)


@pytest.fixture
def key() -> Disabled:
    return Disabled()


@pytest.fixture
def world(key: Disabled) -> Iterator[World]:
    with strict_world() as made:
        made.open_case()
        yield but(made, wrapper=key)


def by_link(world: World) -> Through:
    expires = world.clock.now() + timedelta(days=1)
    terms = LinkTerms(expires_at=expires, type=CollectionType.ON_DEMAND)
    issued = manage_links.create_case_link(world.custody, world.operator, NUMBER, None, terms)
    link = manage_links.find_link(world.custody, issued.id)
    assert link is not None
    return Through(world.custody, link, link.actor("192.0.2.7", "r-1"))


def preflight(world: World) -> object:
    wanted = world.collection(100)
    return declaration.check_upload(world.custody, world.stamp, wanted, case_number=NUMBER, stamp_id=None)


BEGUN: dict[str, Callable[[World], object]] = {
    "an upload": lambda world: world.announce(100),
    "an empty one": lambda world: world.announce(0),
    "a partial upload": lambda world: concatenation.create_partial(world.custody, world.stamp, 100, None),
    "a blob's first block": lambda world: block_staging.begin_block(
        by_link(world), Stoppable(), "a.zip", "QUFB", 10, Declared()
    ),
    "an empty blob": lambda world: block_list.commit_blocks(by_link(world), "a.zip", [], Declared(), {}),
    "a preflight": preflight,
}


@pytest.mark.parametrize("begin", BEGUN.values(), ids=BEGUN.keys())
def test_nothing_is_begun_that_could_not_be_sealed(
    world: World, key: Disabled, begin: Callable[[World], object]
) -> None:
    with pytest.raises(KeyWrapperUnavailable, match="is disabled"):
        begin(world)
    with world.custody.records.read() as reads:
        assert reads.execute(select(func.count()).select_from(bundles)).scalar() == 0
    assert [row.action for row in world.entries() if row.action == "upload.created"] == []
    key.disabled = False
    begin(world)


def test_what_was_begun_before_goes_on_by_its_own_data_key(world: World, key: Disabled) -> None:
    key.disabled = False
    bundle = world.announce(2000)
    world.send(bundle, bytes(1000))
    key.disabled = True
    assert world.send(bundle, bytes(1000), 1000) == 2000


def test_many_uploads_ask_for_the_key_once_in_some_seconds_and_a_refusal_is_not_kept() -> None:
    key, now = Disabled(), [0.0]
    check = WrapperCheck(lambda: now[0])
    for asked in (1, 2):
        with pytest.raises(KeyWrapperUnavailable):
            check.require(key)
        assert key.asked == asked
    key.disabled = False
    for _ in range(50):
        check.require(key)
    assert key.asked == 3
    now[0] += USABLE_SECONDS
    check.require(key)
    assert key.asked == 4
    other = Disabled()
    with pytest.raises(KeyWrapperUnavailable):
        check.require(other)
