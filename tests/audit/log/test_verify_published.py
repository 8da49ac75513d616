"""The walker against tampering with what is signed and published: tiles, checkpoints, mirrors, whole logs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.entry import canonical
from audit.log.append import append, latest_note
from audit.log.verify import Verdict, verify_folder
from audit.tlog.checkpoint import Signer, open_checkpoint, sign_checkpoint, sign_note
from audit.tlog.rebuild import Problem

MakeLog = Callable[[], Any]


def first(verdict: Verdict) -> Problem:
    assert not verdict.good
    return verdict.problems[0]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_log_cut_short_is_named_by_its_checkpoints(grown: Any) -> None:
    grown.change("DELETE FROM audit_entries WHERE leaf_index >= 300")
    assert first(grown.verify()) == Problem(300, "leaf 300 is missing: 600 leaves were sequenced")


def roll_back(log: Any) -> str:
    """Everything the database knows goes back to 300, as if the last checkpoint had never been; the lost note."""
    with log.engine.connect() as connection:
        lost = latest_note(connection)
    log.change("DELETE FROM audit_entries WHERE leaf_index >= 300")
    log.change("DELETE FROM audit_checkpoints WHERE size > 300")
    with log.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_tree")
    assert lost is not None
    return str(lost)


def test_a_log_rolled_back_whole_is_shown_by_what_was_published(grown: Any) -> None:
    roll_back(grown)
    assert first(grown.verify()).leaf_index == 300


def test_a_log_rolled_back_with_its_tiles_is_shown_by_a_witness(grown: Any) -> None:
    lost = roll_back(grown)
    with grown.engine.connect() as connection:
        note = latest_note(connection)
    (grown.folder / "tiles" / "checkpoint").write_text(str(note))
    assert grown.verify().good  # within itself it is a good log: only the outside knows better
    problem = first(grown.verify(witnessed=[lost]))
    assert problem == Problem(300, "leaf 300 is missing: 600 leaves were sequenced")


def test_a_log_rewritten_with_its_own_key_is_shown_by_a_witness(make_log: MakeLog, make_entry: Any) -> None:
    honest, forged = make_log(), make_log()
    honest.grow([10, 20])
    with forged.engine.begin() as connection:
        entries = [make_entry(number) for number in range(20)]
        append(connection, [*entries[:12], make_entry(12, actor="somebody-else"), *entries[13:]])
    forged.sequence()
    assert forged.verify().good
    problem = first(forged.verify(witnessed=[honest.tiles.get("checkpoint").decode()]))
    assert "the witnessed checkpoint at 20 does not follow from the leaves" in problem.what


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_byte_of_any_tile_is_found(grown: Any, data: st.DataObject) -> None:
    tiles = sorted(path for path in (grown.folder / "tiles").rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(tiles))
    kept = path.read_bytes()
    at = data.draw(st.integers(0, len(kept) - 1))
    flip(path, at)
    verdict = grown.verify()
    path.write_bytes(kept)
    problem = first(verdict)
    name = path.relative_to(grown.folder / "tiles").as_posix()
    if name == "checkpoint":
        assert "the published checkpoint" in problem.what
        return
    assert name in problem.what
    if name.startswith("tile/0/"):
        number = {"000": 0, "001": 256, "002": 512}[name.removeprefix("tile/0/")[:3]]
        assert problem.leaf_index == number + at // 32
        assert "is damaged" in problem.what


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001", "tile/0/000.p/1"]
)
def test_a_missing_tile_is_named(grown: Any, path: str) -> None:
    grown.tile(path).unlink()
    assert any(problem.what == f"{path} is missing" for problem in grown.verify().problems)


def test_a_tile_with_more_behind_it_is_found(grown: Any) -> None:
    path = grown.tile("tile/entries/000")
    path.write_bytes(path.read_bytes() + b"\x00\x00")
    problem = first(grown.verify())
    assert problem.leaf_index == 255 and "tile/entries/000 is damaged" in problem.what


def test_a_whole_tile_path_forged_to_fit_a_leaf_does_not_hide_it(grown: Any) -> None:
    """The leaf, its entries tiles and its hash tiles agree; the level above and the signatures do not."""
    before = canonical(grown.leaf_fields(40))
    grown.rewrite_actor(40)
    after = canonical(grown.leaf_fields(40))
    swaps = [
        (len(before).to_bytes(2, "big") + before, len(after).to_bytes(2, "big") + after),
        (hashlib.sha256(b"\x00" + before).digest(), hashlib.sha256(b"\x00" + after).digest()),
    ]
    for path in (grown.folder / "tiles" / "tile").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for old, new in swaps:
                data = data.replace(old, new)
            path.write_bytes(data)
    problems = grown.verify().problems
    assert any("at 200 does not follow from the leaves: one of 5 to 199" in found.what for found in problems)
    assert any("tile/1/000.p/1 does not follow from the leaves 0 to 255" in found.what for found in problems)


def set_note(log: Any, size: int, note: str) -> None:
    log.change("UPDATE audit_checkpoints SET note = ? WHERE size = ?", note, size)


def test_a_checkpoint_of_another_key_is_found(grown: Any) -> None:
    forger = Signer(grown.signer.name, bytes(32))
    set_note(grown, 256, sign_checkpoint(256, bytes(32), forger))
    (problem,) = grown.verify().problems
    assert problem.leaf_index is None
    assert "the checkpoint at 256 does not verify: the note has no signature by" in problem.what


def test_a_checkpoint_with_a_changed_root_is_found(grown: Any) -> None:
    with grown.engine.connect() as connection:
        note = str(latest_note(connection))
    root = note.split("\n")[2]
    set_note(grown, 600, note.replace(root, base64.b64encode(bytes(32)).decode()))
    problem = first(grown.verify())
    assert problem.leaf_index is None and "is wrong" in problem.what


def test_a_well_signed_checkpoint_of_another_tree_is_found(grown: Any) -> None:
    set_note(grown, 256, sign_checkpoint(256, bytes(32), grown.signer))
    (problem,) = grown.verify().problems
    assert "at 256 does not follow from the leaves" in problem.what


def test_a_checkpoint_filed_under_another_size_is_found(grown: Any) -> None:
    set_note(grown, 256, sign_checkpoint(255, bytes(32), grown.signer))
    (problem,) = grown.verify().problems
    assert problem.what == "the checkpoint on record at 256 is signed for a size of 255"


def test_a_receipt_filed_as_a_checkpoint_is_found(grown: Any) -> None:
    set_note(grown, 256, sign_note("casevault receipt\n256\n", grown.signer))
    assert "the checkpoint at 256 does not verify" in first(grown.verify()).what


def test_a_checkpoint_that_is_no_text_is_found(grown: Any) -> None:
    grown.change("UPDATE audit_checkpoints SET note = x'ff' WHERE size = 256")
    assert "the checkpoint at 256 does not verify" in first(grown.verify()).what


def test_checkpoints_that_shrink_with_time_are_found(grown: Any) -> None:
    grown.change("UPDATE audit_checkpoints SET at_us = 1 WHERE size = 300")
    (problem,) = grown.verify().problems
    assert problem == Problem(None, "the checkpoint at 300 is older than a smaller one")


def test_a_changed_frontier_is_found(grown: Any) -> None:
    grown.change("UPDATE audit_tree SET frontier = zeroblob(8 + 4 * 32)")
    (problem,) = grown.verify().problems
    assert problem.what == "the sequencer's frontier does not follow from the leaves"


def test_a_leaf_changed_before_its_checkpoint_is_found_by_the_frontier(grown: Any) -> None:
    grown.write(3)
    grown.clock = None  # the run dies before its checkpoint: sequenced, not signed
    with pytest.raises(AttributeError):
        grown.sequence()
    assert grown.verify().good
    grown.rewrite_actor(601)
    assert "frontier" in first(grown.verify()).what


def test_a_mirror_verifies_without_the_database(grown: Any) -> None:
    note = grown.tiles.get("checkpoint").decode()
    assert verify_folder(grown.tiles, grown.signer.verifier) == Verdict(600, 1, ())
    older = sign_checkpoint(200, bytes(32), grown.signer)
    assert verify_folder(grown.tiles, grown.signer.verifier, [note]).good
    assert "at 200 does not follow" in first(verify_folder(grown.tiles, grown.signer.verifier, [older])).what
    assert open_checkpoint(note, grown.signer.verifier).size == 600


def test_a_leaf_rewritten_in_a_mirror_is_named(grown: Any) -> None:
    path = grown.tile("tile/entries/001")
    path.write_bytes(path.read_bytes().replace(b'"id":"entry-300"', b'"id":"entry-3OO"'))
    problem = first(verify_folder(grown.tiles, grown.signer.verifier))
    assert problem.leaf_index == 300 and "leaf 300 is not the one that was signed" in problem.what


@pytest.mark.parametrize(
    ("path", "change", "index", "what"),
    [
        ("tile/entries/001", lambda data: data[:-1], 256, "damaged"),
        ("tile/entries/001", lambda data: data[: data.index(b'"entry-300"')], 256, "damaged"),
        ("tile/entries/001", lambda data: data + b"\x00\x00", 256, "257 leaves instead of 256"),
        ("tile/entries/001", lambda data: b"", 256, "0 leaves instead of 256"),
        ("tile/entries/001", lambda data: data.replace(b'"v":1', b'"v":7', 1), 256, "malformed"),
        ("tile/0/001", lambda data: bytes(32) + data[32:], 256, "damaged"),
    ],
)
def test_damage_in_a_mirror_is_named(grown: Any, path: str, change: Any, index: int, what: str) -> None:
    found = grown.tile(path)
    found.write_bytes(change(found.read_bytes()))
    problem = first(verify_folder(grown.tiles, grown.signer.verifier))
    assert problem.leaf_index == index and what in problem.what


def test_a_mirror_with_parts_missing_is_named(grown: Any) -> None:
    grown.tile("tile/entries/001").unlink()
    assert first(verify_folder(grown.tiles, grown.signer.verifier)) == Problem(
        256, "tile/entries/001 is missing"
    )
    grown.tile("checkpoint").unlink()
    assert "checkpoint is missing" in first(verify_folder(grown.tiles, grown.signer.verifier)).what


def test_a_published_checkpoint_that_is_gone_is_found(grown: Any) -> None:
    grown.tile("checkpoint").unlink()
    assert "the published checkpoint is missing" in first(grown.verify()).what
