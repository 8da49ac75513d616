from __future__ import annotations

import hashlib

import pytest

from retention.custody import receipts
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration, upload_session
from retention.domain.faults import Erased, OffsetMismatch, Refused
from retention.domain.receipt import check
from retention.jobs.sweep import sweep
from tests.retention.custody.world import DAY, NUMBER, TICK, World

CONTENT = bytes(range(256)) * 20


def test_the_life_of_a_bundle_from_the_case_to_the_erasure_receipt(world: World) -> None:
    world.open_case()
    bundle = world.announce(len(CONTENT))
    assert world.send(bundle, CONTENT[:3000]) == 3000
    with pytest.raises(OffsetMismatch) as answer:
        world.send(bundle, CONTENT[2000:], 2000)
    assert answer.value.expected == 3000
    assert world.send(bundle, CONTENT[3000:], 3000) == len(CONTENT)
    assert world.state(bundle) == "received"
    assert sweep(world.custody).verified == 1
    assert world.row(bundle).sha256 == hashlib.sha256(CONTENT).hexdigest()

    world.assign(world.engineer)
    with pytest.raises(Refused, match="no live grant"):
        world.read(bundle)
    world.grant()
    assert world.read(bundle) == CONTENT

    world.close_case()
    world.clock.move(90 * DAY - TICK)
    sweep(world.custody)
    assert world.state(bundle) == "complete"
    world.clock.move(TICK)
    assert sweep(world.custody).erased == 1
    assert world.state(bundle) == "erased"
    with pytest.raises(Erased) as gone:
        world.read(bundle, world.engineer)
    assert gone.value.facts["cause"] == "deadline"

    world.sequence()
    assert world.log_problems() == []
    erasure = erasure_steps.list_erasures(world.custody, world.operator, None, 1).items[0]
    for subject, fields in ((bundle, {"size": len(CONTENT)}), (erasure.id, {"case": NUMBER})):
        document = receipts.hand_out(world.custody, subject)
        checked = check(document, world.receipt_signer.verifier, world.log_signer.verifier)
        assert fields.items() <= checked.fields.items()


def test_the_life_of_an_empty_bundle_is_as_any_other(world: World) -> None:
    """Nothing of it is sealed or stored; its records, entries and receipts are whole."""
    world.open_case()
    bundle = world.announce(0)
    assert (world.state(bundle), list(world.custody.objects.list_bundles())) == ("received", [])
    assert sweep(world.custody).verified == 1
    assert world.row(bundle).sha256 == hashlib.sha256(b"").hexdigest()
    world.assign(world.engineer)
    with pytest.raises(Refused, match="no live grant"):
        world.read(bundle)
    world.grant()
    assert world.read(bundle) == b""
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    assert sweep(world.custody).erased == 1
    with pytest.raises(Erased):
        world.read(bundle)
    world.sequence()
    assert world.log_problems() == []
    erasure = erasure_steps.list_erasures(world.custody, world.operator, None, 1).items[0]
    for subject in (bundle, erasure.id):
        document = receipts.hand_out(world.custody, subject)
        check(document, world.receipt_signer.verifier, world.log_signer.verifier)


def test_an_empty_bundle_whose_process_died_at_its_creation_is_completed_by_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise MemoryError

    world.open_case()
    monkeypatch.setattr(declaration, "finish_upload", die)
    with pytest.raises(MemoryError):
        world.announce(0)
    (begun,) = [leaf["bundle"] for leaf in world.leaves() if leaf["action"] == "upload.created"]
    assert world.state(begun) == "receiving"
    assert sweep(world.custody).verified == 1
    assert world.state(begun) == "complete"


def test_a_full_part_starts_the_next_and_all_of_them_are_the_bundle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)
    world.open_case()
    bundle = world.upload(CONTENT)
    assert world.row(bundle).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert len(world.custody.objects.list_parts(bundle)) == -(-len(CONTENT) // 1000) + 1, "and the manifest"
