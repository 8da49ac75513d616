"""The operations that the matrix breaks: how the state before is made, and the operation with what it acknowledged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.entry import Action
from audit.log.sequencer import Sequencer
from retention.assembly import assemble, initialise
from retention.config import Settings
from retention.custody.contents_index import Pace, index_next
from retention.custody.context import entry
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import completion
from retention.jobs.sweep import sweep
from tests.faults.injector import Faulty, FaultyEngine, FaultyRecords, Injector
from tests.retention.custody.world import DAY, FakeClock, World
from tests.servers.schema import copied_schema

MARKER = b"PLAINTEXT-MARKER"
CONTENT = b"".join(MARKER + b" line %d of the log\n" % line for line in range(60))
PART, FIRST_REQUEST = 1000, 1500
assert 2 * PART < len(CONTENT) <= 3 * PART


@dataclass(frozen=True)
class Acknowledged:
    """What the operation told its caller, kept outside the state folder; survives the operation's death."""

    file: Path

    def add(self, name: str, value: object) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps([name, value]) + "\n")

    def all(self, name: str) -> list[Any]:
        if not self.file.exists():
            return []
        return [value for key, value in map(json.loads, self.file.read_text().splitlines()) if key == name]


def settings(state: Path) -> Settings:
    return Settings(state=state)


def start(state: Path, clock: FakeClock | None = None, injector: Injector | None = None) -> World:
    """Custody assembled on the state folder, as at the start of the service; faults only after that."""
    if not settings(state).records_file.exists():
        with copied_schema():
            initialise(settings(state))
    services = assemble(settings(state))
    clock = clock or FakeClock()
    custody = dataclasses.replace(services.custody, clock=clock, triggers=services.custody.triggers)
    world = World(state, custody, clock, services.log_signer, services.receipt_signer)
    if injector is not None:
        world.custody = dataclasses.replace(
            custody,
            objects=Faulty(custody.objects, injector, "objects"),
            keys=Faulty(custody.keys, injector, "keys"),
            records=FaultyRecords(custody.records, injector),
            tiles=Faulty(custody.tiles, injector, "tiles", OSError("injected")),
        )
    return world


@dataclass(frozen=True)
class Scenario:
    """`prepare` makes the state and names its bundles; `operate` is what is broken."""

    prepare: Callable[[World], list[str]]
    operate: Callable[[World, list[str], Acknowledged, Injector], None]


def _announced(world: World) -> list[str]:
    world.open_case()
    world.assign(world.engineer)
    return [world.announce(len(CONTENT))]


def _receive(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    done.add("offset", world.send(bundles[0], CONTENT[:FIRST_REQUEST]))
    done.add("offset", world.send(bundles[0], CONTENT[FIRST_REQUEST:], FIRST_REQUEST))


def _received(world: World) -> list[str]:
    bundles = _announced(world)
    world.send(bundles[0], CONTENT)
    return bundles


def _complete(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    done.add("state", completion.verify_bundle(world.custody, bundles[0]))


def _whole(world: World) -> list[str]:
    bundles = _received(world)
    completion.verify_bundle(world.custody, bundles[0])
    return bundles


def _index(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    index_next(world.custody, Pace(60))


def _indexed(world: World) -> list[str]:
    bundles = _granted(world)
    assert index_next(world.custody, Pace(60))
    return bundles


def _granted(world: World) -> list[str]:
    bundles = _whole(world)
    world.grant()
    return bundles


def _open(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    opened = world.open(bundles[0])
    try:
        for piece in opened.pieces(opened.spans[0]):
            done.add("plaintext", len(piece))
        opened.done()
    finally:
        opened.close()


def _erase(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, bundles[0])
    done.add("confirmation", erasure.confirmation)
    done.add("state", erasure_steps.erase_bundle(world.custody, bundles[0]))


def _due(world: World) -> list[str]:
    """One bundle due, and one just received for a case that is open."""
    bundles = _granted(world)
    world.close_case()
    world.clock.move(90 * DAY)
    other = "120260301000007"
    world.open_case(other)
    world.assign(world.engineer, number=other)
    bundles.append(world.announce(len(CONTENT), other))
    world.send(bundles[1], CONTENT)
    return bundles


def _sweep(world: World, bundles: list[str], done: Acknowledged, _: Injector) -> None:
    sweep(world.custody)


def _logged(world: World) -> list[str]:
    """A checkpoint, and more entries behind it than one tile holds."""
    bundles = _granted(world)
    world.sequence()
    now = world.clock.now()
    more = [entry(world.auditor, Action.AUDIT_QUERIED, now, details={"n": n}) for n in range(300)]
    world.custody.records.write(lambda tx: tx.audit(*more))
    return bundles


def _sequence(world: World, bundles: list[str], done: Acknowledged, injector: Injector) -> None:
    engine: Any = FaultyEngine(world.custody.records.engine, injector)
    checkpoint = Sequencer(engine, world.custody.tiles, world.log_signer, world.clock).run_once()
    done.add("checkpoint", checkpoint.size if checkpoint else 0)


SCENARIOS = {
    "receive": Scenario(_announced, _receive),
    "complete": Scenario(_received, _complete),
    "index": Scenario(_whole, _index),
    "open": Scenario(_granted, _open),
    "erase": Scenario(_indexed, _erase),
    "sweep": Scenario(_due, _sweep),
    "sequence": Scenario(_logged, _sequence),
}
