"""A case with everything in it, and somebody who can write the database and holds no key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, text

from retention.custody.access.altered_records import find_altered
from retention.domain.actor import Actor, Role
from retention.domain.faults import CustodyError
from retention.domain.row_tag import Binding
from retention.records.postgres_engine import postgres_engine
from tests.retention.custody.conftest import _made as made
from tests.retention.custody.world import OTHER_NUMBER, World, but
from tests.servers.postgres import shared_server

CONTENT = b"PLAINTEXT-MARKER of the customer\n" * 50


@dataclass
class Scene:
    """Erin and Pat may read; Mallory, an engineer of another case of the same customer, must not."""

    world: World
    mallory: Actor
    bundle: str
    unnamed: str
    """In the same case, and not in the scope of the partner's consent."""
    named: dict[str, str]
    """What statements may name: ids by short names."""
    owner: Engine
    keys_asked: list[str] = field(default_factory=list)

    def attack(self, *statements: str) -> None:
        """Write the database as its owner: whatever rights the service's own roles have."""
        with self.owner.begin() as connection:
            for statement in statements:
                wanted = {name: value for name, value in self.named.items() if f":{name}" in statement}
                connection.execute(text(statement), wanted)

    def tried(self, actor: Actor, bundle: str, world: World | None = None) -> CustodyError | bytes:
        """The bytes that come out, or why none do. No key may have been asked for when none do."""
        self.keys_asked.clear()
        try:
            return but(world or self.world, keys=_Keys(self)).read(bundle, actor)
        except CustodyError as error:
            assert self.keys_asked == [], "a key was unwrapped for a read that was refused"
            return error

    def found(self) -> list[str]:
        """What the doctor says of the records."""
        custody = self.world.custody
        return list(find_altered(custody.records, custody.binding, self.world.clock.now()))

    def another_process(self) -> World:
        """One that has seen nothing yet."""
        return but(self.world, binding=Binding(bytes(32)))

    def blinded(self) -> World:
        """One that does not look at the schema: for what holds without that look."""
        return but(self.world, schema=_Blind())

    @property
    def is_postgres(self) -> bool:
        return self.world.custody.records.engine.dialect.name == "postgresql"


class _Keys:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene.world.custody.keys, name)

    def get(self, bundle_id: str) -> object:
        self._scene.keys_asked.append(bundle_id)
        return self._scene.world.custody.keys.get(bundle_id)


class _Blind:
    def require(self, _records: object) -> None:
        pass


def _as_owner(engine: Engine) -> Engine:
    return postgres_engine(shared_server().url(str(engine.url.database)))


@pytest.fixture(params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Scene]:
    with made(request.param, tmp_path) as world:
        mallory = world.actor("mallory@support.example", Role.SUPPORT_ENGINEER)
        world.open_case()
        world.open_case(OTHER_NUMBER)
        bundle, unnamed = world.upload(CONTENT), world.upload(b"another of the case")
        own = world.upload(b"mallory's own", OTHER_NUMBER)
        world.assign(world.engineer, world.partner)
        world.assign(mallory, number=OTHER_NUMBER)
        consent = world.consent(scope=[bundle])
        named = {
            "erin": world.engineer.id,
            "pat": world.partner.id,
            "mallory": mallory.id,
            "bundle": bundle,
            "unnamed": unnamed,
            "own": own,
            "consent": consent.id,
            "case": world.row(bundle).case_id,
            "other": world.row(own).case_id,
            "grant": world.grant().id,
            "partners": world.grant(world.partner).id,
            "mallorys": world.grant(mallory, OTHER_NUMBER).id,
            "stamp": str(world.stamp.stamp),
            "tenant": world.tenant,
            "other_tenant": world.other_tenant,
        }
        engine = world.custody.records.engine
        owner = engine if request.param == "sqlite" else _as_owner(engine)
        yield Scene(world, mallory, bundle, unnamed, named, owner)
        owner.dispose()
