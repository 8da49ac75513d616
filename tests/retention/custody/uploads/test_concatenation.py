"""Concatenation when something comes between: a crash, a second request, an erasure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Row, select

from retention.custody.erasure import erasure_steps
from retention.custody.uploads import concatenation, upload_session
from retention.custody.uploads.concatenation import concatenate, create_partial
from retention.custody.uploads.lease import Uploads
from retention.domain.faults import Conflict, Erased, TakenOver
from retention.jobs.sweep import remove_orphans, sweep
from retention.records.tables import receipts
from tests.retention.custody.world import NUMBER, World

PIECES = [bytes([n]) * (1500 + n) for n in range(3)]
WHOLE = b"".join(PIECES)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)


@pytest.fixture
def partials(world: World) -> list[str]:
    world.open_case()
    made = [create_partial(world.custody, world.stamp, len(piece), None).id for piece in PIECES]
    for one, piece in zip(made, PIECES, strict=True):
        world.send(one, piece)
    return made


def join(world: World, partials: list[str]) -> Row:
    collection = world.collection(0)
    return concatenate(
        world.custody, world.uploads, world.stamp, collection, partials, case_number=NUMBER, stamp_id=None
    )


def interrupted(world: World, partials: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A final upload whose request died after some parts; its id."""
    real, pieces = concatenation._pieces, 0

    def dying(*args: object):
        nonlocal pieces
        for piece in real(*args):  # type: ignore[arg-type]
            pieces += 1
            if pieces > 3:
                raise ConnectionError("the process ends here")
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(concatenation, "_pieces", dying)
        with pytest.raises(ConnectionError):
            join(world, partials)
    (final,) = {row.bundle for row in map(_Leaf, world.leaves()) if row.action == "upload.created"} - {
        *partials
    }
    return final


class _Leaf:
    def __init__(self, leaf: dict[str, object]) -> None:
        self.action, self.bundle = str(leaf["action"]), str(leaf.get("bundle", ""))


def test_an_interrupted_concatenation_goes_on_where_it_stood(
    world: World, partials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    final = interrupted(world, partials, monkeypatch)
    kept = world.row(final).offset
    assert 0 < kept < len(WHOLE)
    remove_orphans(world.custody)
    assert join(world, partials).id == final
    sweep(world.custody)
    assert (world.state(final), world.row(final).sha256) == ("complete", hashlib.sha256(WHOLE).hexdigest())
    assert {world.state(one) for one in partials} == {"erased"}


def test_a_used_partial_upload_waits_for_its_final_one_and_expires_with_it(
    world: World, partials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    final = interrupted(world, partials, monkeypatch)
    with pytest.raises(Conflict):
        join(world, partials[:1])
    world.clock.move(world.custody.limits.upload_lifetime)
    with pytest.raises(Erased):
        join(world, partials)
    assert sweep(world.custody).expired == 1
    assert {world.state(one) for one in [final, *partials]} == {"erased"}


def test_who_erases_a_bundle_erases_what_it_was_being_made_of(
    world: World, partials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    final = interrupted(world, partials, monkeypatch)
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, final)
    with pytest.raises(Erased):
        join(world, partials)
    sweep(world.custody)
    custody = world.custody
    for one in [final, *partials]:
        assert world.state(one) == "erased"
        assert custody.objects.remains(one) == custody.keys.remains(one) == []
    with custody.records.read() as reads:
        body = reads.execute(select(receipts.c.body).where(receipts.c.subject_id == erasure.id)).scalar_one()
    assert all(one in body for one in partials)


def test_each_seal_names_the_bundle_it_is_in(world: World, partials: list[str]) -> None:
    final = join(world, partials).id
    keys = {world.custody.keys.exists(one) for one in [final, *partials]}
    assert keys == {True}  # one key each: none is shared
    parts = {part for one in partials for part in world.custody.objects.list_parts(one)}
    assert not parts & set(world.custody.objects.list_parts(final))


def test_who_meets_the_erasure_of_partial_uploads_that_another_made_whole_destroys_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "PART_SIZE", 1000)
    world.open_case()
    partials = [create_partial(world.custody, world.stamp, len(piece), None).id for piece in PIECES]
    for one, piece in zip(partials, PIECES, strict=True):
        world.send(one, piece)
    whole = b"".join(PIECES)
    real = concatenation._pieces
    finals: list[str] = []

    def join(uploads: Uploads) -> str:
        said = world.collection(0)
        ids = {"case_number": NUMBER, "stamp_id": None}
        return str(concatenate(world.custody, uploads, world.stamp, said, partials, **ids).id)

    def hanging(*args: Any) -> Iterator[bytes]:
        """It hangs after the first partial upload; its client asks again, in another process, and is answered."""
        taken = 0
        for piece in real(*args):
            taken += len(piece)
            yield piece
            if taken == len(PIECES[0]):
                with monkeypatch.context() as patch:
                    patch.setattr(concatenation, "_pieces", real)
                    finals.append(join(Uploads()))
                world.custody.keys.destroy(partials[1])  # the sweep, at the first step of their erasure

    monkeypatch.setattr(concatenation, "_pieces", hanging)
    with pytest.raises(TakenOver):
        join(Uploads())
    (final,) = finals
    sweep(world.custody)
    assert world.state(final) == "complete"
    assert world.row(final).sha256 == hashlib.sha256(whole).hexdigest()
