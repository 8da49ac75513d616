"""The crash-point matrix: every call of every operation, in every mode; then a new start, and everything is checked.

A row of CALLS is the exact order of calls that an operation makes: a test holds the operation to it, so the matrix
cannot silently shrink, and each call gives four tests.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from audit.tlog.overdue import overdue
from retention.custody import receipts
from retention.custody.contents_index import LEASE as INDEX_LEASE
from retention.custody.contents_index import Pace, index_next, recheck_index
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import upload_session
from retention.custody.uploads.read_back_claim import LEASE
from retention.domain.faults import CustodyError, Erased
from retention.domain.receipt import check
from retention.jobs.sweep import remove_orphans, sweep
from retention.objects.store_errors import StoreError
from retention.records.queries import bundle_parts
from tests.faults.injector import KILLED, Injector, Mode, in_a_process_of_its_own
from tests.faults.scenarios import CONTENT, MARKER, SCENARIOS, Acknowledged, start
from tests.retention.custody.world import FakeClock, World
from tests.servers.schema import QUICK

_PART = "objects.new_part part.reserve part.advance part.commit records.write "
_READ = "objects.open_part part.read_at part.read_at part.read_at " * 3 + "part.close part.close part.close "
_READ_THROUGH = "objects.open_part part.read_at part.read_at part.close " * 3
_SEALED = "part.reserve part.advance part.reserve part.advance part.commit "
_COMPLETE = "keys.get objects.new_part " + _SEALED + "objects.complete "
_KEPT = "objects.list_parts objects.open_part part.read_at part.read_at part.read_at part.close "
CALLS = {
    "receive": "records.read records.write keys.get keys.put " + 2 * _PART + "records.read records.write "
    "keys.get " + _PART + "records.read " + _COMPLETE + "records.write",
    "complete": "records.read records.read keys.get " + _READ_THROUGH + _KEPT + "records.write",
    "index": "records.read records.write records.read keys.get objects.new_part "
    + 3 * "objects.open_part part.read_at part.read_at part.read_at "
    + "part.reserve part.advance part.commit part.close part.close part.close objects.keep_index records.write",
    "open": "records.read records.write records.read records.read keys.get " + _READ + "records.write",
    "erase": "records.write records.read keys.destroy objects.destroy keys.remains objects.remains records.write",
    "sweep": 4 * "records.read "
    + "records.write "
    + 6 * "records.read "
    + "keys.destroy objects.destroy keys.remains objects.remains records.write records.read records.read "
    "records.read records.read records.read records.read records.write records.read records.read keys.get "
    + _READ_THROUGH
    + _KEPT
    + "records.write",
    "sequence": "tiles.get engine.commit tiles.get tiles.get tiles.get engine.commit engine.commit tiles.get "
    "engine.commit tiles.get tiles.get "
    + 5 * "tiles.put "
    + "tiles.get tiles.get engine.commit tiles.get tiles.put engine.commit engine.commit",
}
POINTS = [
    pytest.param(name, at, mode, id=f"{name}-{at:02}-{call}-{mode}")
    for name, calls in CALLS.items()
    for at, call in enumerate(calls.split())
    for mode in Mode
]


@dataclass(frozen=True)
class Prepared:
    """A state folder before the operation; copied for each crash."""

    folder: Path
    bundles: list[str]
    now: datetime


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload_session, "PART_SIZE", 1000)
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, small_parts: None) -> dict[str, Prepared]:
    made = {}
    for name, scenario in SCENARIOS.items():
        folder = tmp_path_factory.mktemp(name) / "state"
        world = start(folder)
        bundles = scenario.prepare(world)
        world.custody.records.close()
        made[name] = Prepared(folder, bundles, world.clock.at)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Where the copy stands: in memory, for what is tested is the order of calls."""
    folder = Path(
        tempfile.mkdtemp(dir=QUICK or tmp_path)
    )  # a name of its own: others may run these tests too
    yield folder / "state"
    shutil.rmtree(folder, ignore_errors=True)


def operate(name: str, before: Prepared, state: Path, done: Acknowledged, injector: Injector) -> None:
    world = start(state, FakeClock(before.now), injector)
    try:
        SCENARIOS[name].operate(world, before.bundles, done, injector)
    finally:
        world.custody.records.close()


@pytest.mark.parametrize("name", CALLS)
def test_the_matrix_covers_every_call(
    name: str, prepared: dict[str, Prepared], state: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared[name].folder, state)
    injector, done = Injector(), Acknowledged(tmp_path / "done")
    operate(name, prepared[name], state, done, injector)
    assert injector.trace == CALLS[name].split()
    assert_sound(name, prepared[name], state, done)


@pytest.mark.parametrize(("name", "at", "mode"), POINTS)
def test_after_a_crash_the_next_start_finds_everything_in_order(
    name: str, at: int, mode: Mode, prepared: dict[str, Prepared], state: Path, tmp_path: Path
) -> None:
    before = prepared[name]
    shutil.copytree(before.folder, state)
    injector, done = Injector(at, mode), Acknowledged(tmp_path / "done")
    if mode in (Mode.KILL_BEFORE, Mode.KILL_AFTER):
        code = in_a_process_of_its_own(lambda: operate(name, before, state, done, injector))
        assert code == KILLED, "the crash point was not reached"
    else:
        with suppress(StoreError, CustodyError, OperationalError, OSError):
            operate(name, before, state, done, injector)
        assert len(injector.trace) > at, "the crash point was not reached"
    assert_sound(name, before, state, done)


def assert_sound(name: str, before: Prepared, state: Path, done: Acknowledged) -> None:
    """What a start, a sweep and a run of the sequencer make of what the crash left."""
    assert_no_plaintext(state)
    # Who died while it read a bundle back holds it for LEASE.
    world = start(state, FakeClock(before.now + LEASE))
    try:
        sweep(world.custody)
        remove_orphans(world.custody)
        assert_acknowledged(world, before.bundles[0], done)
        for bundle in before.bundles:
            assert_indexed_once(world, bundle)
            if world.state(bundle) == "erased":
                assert_gone(world, bundle)
            else:
                assert_goes_on_to_its_content(world, bundle)
        if name == "erase":
            assert_erasure_completes(world, before.bundles[0])
        world.sequence()
        assert world.log_problems() == []
        assert overdue(world.leaves(), world.clock.now()) == []
        assert [path for path in state.rglob("*") if path.name.endswith((".partial", ".new"))] == []
    finally:
        world.custody.records.close()
    assert_no_plaintext(state)


def assert_acknowledged(world: World, bundle: str, done: Acknowledged) -> None:
    row = world.row(bundle)
    assert row.offset >= max(done.all("offset"), default=0)
    assert set(done.all("state")) <= {row.state}
    for confirmation in done.all("confirmation"):
        assert erasure_steps.find_erasure(world.custody, world.operator, confirmation).proven_at is not None
    actions = [leaf["action"] for leaf in world.leaves() if leaf["outcome"] == "success"]
    assert not done.all("plaintext") or "bundle.opened" in actions, "plaintext left before its entry stood"
    world.sequence()
    assert sum(row.leaf_index is not None for row in world.entries()) >= max(
        done.all("checkpoint"), default=0
    )


def assert_goes_on_to_its_content(world: World, bundle: str) -> None:
    """The sender asks for the offset and goes on; the bundle is complete, with the bytes that were sent."""
    row = world.row(bundle)
    if row.state == "receiving":
        assert row.offset < row.size, "the sweep finishes what came whole"
        world.send(bundle, CONTENT[row.offset :], row.offset)
        sweep(world.custody)
    row = world.row(bundle)
    assert (row.state, row.sha256) == ("complete", hashlib.sha256(CONTENT).hexdigest())
    with world.custody.records.read() as reads:
        recorded = sorted(part.part_id for part in bundle_parts(reads, bundle))
    manifest, *stored = world.custody.objects.list_parts(bundle)
    assert manifest.startswith("mft_")
    assert stored == recorded, "strays, or parts that are missing"
    case = next(leaf["case"] for leaf in world.leaves() if leaf.get("bundle") == bundle)
    number = next(
        row.particulars for row in world.entries() if row.action == "case.opened" and row.case_id == case
    )
    world.grant(number=number.split('"case_number":"')[1][:15])
    assert world.read(bundle) == CONTENT


def assert_indexed_once(world: World, bundle: str) -> None:
    """A complete bundle gets its index, and one only is kept, which opens; no other has any."""
    kept = world.row(bundle).index_id
    world.clock.move(2 * INDEX_LEASE)  # who died while indexing holds the bundle for that long
    while index_next(world.custody, Pace(60)):
        pass
    row, stored = world.row(bundle), world.custody.objects.remains(bundle)
    indexes = [name for name in stored if "/idx_" in name]
    assert indexes == ([f"{bundle}/{row.index_id}.sealed"] if row.state == "complete" else [])
    if row.state == "complete":
        recheck_index(world.custody, row)
        assert world.row(bundle).index_id == row.index_id
        assert kept in (None, row.index_id), "what is kept is not made again"


def assert_gone(world: World, bundle: str) -> None:
    custody = world.custody
    assert custody.keys.remains(bundle) == custody.objects.remains(bundle) == []
    assert [path for path in world.folder.rglob(f"*{bundle}*") if path.suffix != ".destroyed"] == []
    for attempt in (lambda: world.read(bundle), lambda: world.send(bundle, CONTENT)):
        with pytest.raises(Erased):
            attempt()


def assert_erasure_completes(world: World, bundle: str) -> None:
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    sweep(world.custody)
    world.sequence()
    document = receipts.hand_out(world.custody, erasure.id)
    checked = check(document, world.receipt_signer.verifier, world.log_signer.verifier)
    assert [item["bundle"] for item in checked.fields["bundles"]] == [bundle]
    assert_gone(world, bundle)


def assert_no_plaintext(state: Path) -> None:
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if MARKER in path.read_bytes()] == []
