"""The walker against every kind of tampering: it must name the first bad leaf, and say what is wrong with it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.checkpoint import Signer, open_checkpoint, sign_checkpoint, sign_note
from audit.entry import canonical, particulars_hash
from audit.log import append, latest_note, redact
from audit.rebuild import Problem
from audit.verify import Verdict, verify_folder

MakeLog = Callable[[], Any]
SIZES = [1, 5, 200, 256, 300, 600]


@pytest.fixture
def grown(log: Any) -> Any:
    """Six checkpoints over 600 leaves: two full tiles and a partial one, and one level above."""
    log.grow(SIZES)
    assert log.verify() == Verdict(leaves=600, checkpoints=7, problems=())
    return log


def first(verdict: Verdict) -> Problem:
    assert not verdict.good
    return verdict.problems[0]


def leaf_fields(log: Any, index: int) -> dict[str, Any]:
    with log.engine.connect() as connection:
        sql = "SELECT leaf FROM audit_entries WHERE leaf_index = ?"
        fields: dict[str, Any] = json.loads(connection.exec_driver_sql(sql, (index,)).scalar())
    return fields


def set_leaf(log: Any, index: int, leaf: bytes) -> None:
    log.change("UPDATE audit_entries SET leaf = ? WHERE leaf_index = ?", leaf, index)


def tile(log: Any, path: str) -> Path:
    found: Path = log.folder / "tiles" / path
    assert found.is_file()
    return found


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rewrite_actor(log: Any, index: int) -> None:
    """The careful forger: leaf and columns agree, and the leaf is in canonical form."""
    fields = leaf_fields(log, index)
    set_leaf(log, index, canonical({**fields, "actor": "somebody-else"}))
    log.change("UPDATE audit_entries SET actor = 'somebody-else' WHERE leaf_index = ?", index)


@pytest.mark.parametrize("index", [0, 4, 150, 255, 256, 299, 420, 599])
def test_a_rewritten_leaf_is_named(grown: Any, index: int) -> None:
    rewrite_actor(grown, index)
    verdict = grown.verify()
    problem = first(verdict)
    assert problem.leaf_index == index
    assert f"leaf {index} is not the one that was signed" in problem.what
    assert any("does not follow from the leaves" in problem.what for problem in verdict.problems)


def test_a_rewritten_leaf_is_narrowed_down_by_checkpoints_where_there_are_no_tiles(grown: Any) -> None:
    rewrite_actor(grown, 220)
    (problem,) = grown.verify(tiles=None).problems
    assert "one of 200 to 255 is not what was signed" in problem.what
    rewrite_actor(grown, 0)
    assert first(grown.verify(tiles=None)).leaf_index == 0


def test_two_rewritten_leaves_are_both_named(grown: Any) -> None:
    rewrite_actor(grown, 100)
    rewrite_actor(grown, 400)
    named = [problem.leaf_index for problem in grown.verify().problems if problem.leaf_index is not None]
    assert named == [100, 400]


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf + b" ",
        lambda leaf: leaf[:-1],
        lambda leaf: b"",
        lambda leaf: leaf.replace(b'"v":1', b'"v":9'),
        lambda leaf: leaf.replace(b"T09:3", b"T99:3"),
    ],
)
def test_a_leaf_not_in_canonical_form_is_named(grown: Any, change: Callable[[bytes], bytes]) -> None:
    set_leaf(grown, 7, change(canonical(leaf_fields(grown, 7))))
    problem = first(grown.verify())
    assert problem.leaf_index == 7 and "malformed" in problem.what


def test_a_leaf_kept_as_text_is_named(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET leaf = CAST(leaf AS TEXT) WHERE leaf_index = 7")
    problem = first(grown.verify())
    assert problem.leaf_index == 7 and "malformed" in problem.what


@pytest.mark.parametrize(
    "column",
    [
        "entry_id",
        "actor",
        "actor_kind",
        "action",
        "outcome",
        "reason",
        "tenant",
        "case_id",
        "bundle",
        "subject",
    ],
)
def test_a_column_that_disagrees_with_its_leaf_is_named(grown: Any, column: str) -> None:
    grown.change(f"UPDATE audit_entries SET {column} = 'other' WHERE leaf_index = 9")  # noqa: S608
    assert grown.verify().problems == (Problem(9, f"the row says otherwise than its leaf: {column}"),)


def test_a_moment_that_disagrees_with_its_leaf_is_named(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET at_us = at_us + 1, case_id = NULL WHERE leaf_index = 9")
    what = "the row says otherwise than its leaf: case_id, at_us"
    assert grown.verify().problems == (Problem(9, what),)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ('particulars = \'{"name":"Eve"}\'', "not those that the leaf binds"),
        ("salt = x'00'", "not those that the leaf binds"),
        ("salt = NULL", "malformed"),
        ("particulars = 'x'", "malformed"),
        ("particulars = NULL", "malformed"),
        ("particulars = NULL, salt = NULL", "not by redaction"),
        ("redacted_at = 5", "still has particulars"),
    ],
)
def test_changed_particulars_are_named(grown: Any, change: str, what: str) -> None:
    grown.change(f"UPDATE audit_entries SET {change} WHERE leaf_index = 11")  # noqa: S608
    (problem,) = grown.verify().problems
    assert problem.leaf_index == 11 and what in problem.what
    assert "Eve" not in problem.what and "Lovelace" not in problem.what


def test_particulars_put_beside_a_leaf_without_any_are_named(log: Any, make_entry: Any) -> None:
    with log.engine.begin() as connection:
        append(connection, [make_entry(0, particulars={})])
    log.sequence()
    assert log.verify().good
    log.change("UPDATE audit_entries SET particulars = '{}', salt = x'00'")
    problem = first(log.verify())
    assert problem == Problem(0, "the row has particulars that its leaf does not bind")


def test_redacted_entries_still_verify(grown: Any) -> None:
    with grown.engine.begin() as connection:
        for number in (0, 255, 599):
            redact(connection, f"entry-{number}", datetime(2027, 1, 1, tzinfo=UTC))
    assert grown.verify().good


@pytest.mark.parametrize("index", [0, 3, 255, 256, 598])
def test_a_deleted_row_is_named(grown: Any, index: int) -> None:
    grown.change("DELETE FROM audit_entries WHERE leaf_index = ?", index)
    problem = first(grown.verify())
    assert problem == Problem(index, f"leaf {index} is missing: 600 leaves were sequenced")


def test_a_row_taken_out_of_the_sequence_is_named(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET leaf_index = NULL WHERE leaf_index = 42")
    assert first(grown.verify()).leaf_index == 42


def test_a_row_deleted_and_the_gap_closed_is_named(grown: Any) -> None:
    grown.change("DELETE FROM audit_entries WHERE leaf_index = 42")
    for index in range(43, 600):
        grown.change("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = ?", index - 1, index)
    problem = first(grown.verify())
    assert problem.leaf_index == 42 and "not the one that was signed" in problem.what


def test_swapped_rows_are_named(grown: Any) -> None:
    for old, new in ((30, 1000), (31, 30), (1000, 31)):
        grown.change("UPDATE audit_entries SET leaf_index = ? WHERE leaf_index = ?", new, old)
    problem = first(grown.verify())
    assert problem.leaf_index == 30 and "not the one that was signed" in problem.what


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
    grown.tiles.put("checkpoint", str(note).encode())
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
    tile(grown, path).unlink()
    assert any(problem.what == f"{path} is missing" for problem in grown.verify().problems)


def test_a_tile_with_more_behind_it_is_found(grown: Any) -> None:
    path = tile(grown, "tile/entries/000")
    path.write_bytes(path.read_bytes() + b"\x00\x00")
    problem = first(grown.verify())
    assert problem.leaf_index == 255 and "tile/entries/000 is damaged" in problem.what


def test_a_whole_tile_path_forged_to_fit_a_leaf_does_not_hide_it(grown: Any) -> None:
    """The leaf, its entries tiles and its hash tiles agree; the level above and the signatures do not."""
    before = canonical(leaf_fields(grown, 40))
    rewrite_actor(grown, 40)
    after = canonical(leaf_fields(grown, 40))
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
    rewrite_actor(grown, 601)
    assert "frontier" in first(grown.verify()).what


def test_entries_not_sequenced_yet_are_not_missing(grown: Any) -> None:
    grown.write(3)
    assert grown.verify().leaves == 600
    assert grown.verify().good


def test_a_log_that_grows_meanwhile_verifies(grown: Any) -> None:
    class GrowingTileStore:
        def put(self, path: str, data: bytes) -> None:
            raise AssertionError("the walker writes nothing")

        def get(self, path: str) -> bytes:
            if path == "checkpoint":
                grown.grow([grown.written + 50])
            data: bytes = grown.tiles.get(path)
            return data

    assert grown.verify(tiles=GrowingTileStore()).problems == ()


def test_a_log_in_ruins_gives_a_bounded_list(grown: Any) -> None:
    grown.change("UPDATE audit_entries SET actor = 'x'")
    problems = grown.verify().problems
    assert [problem.leaf_index for problem in problems] == list(range(100))


def test_a_mirror_verifies_without_the_database(grown: Any) -> None:
    note = grown.tiles.get("checkpoint").decode()
    assert verify_folder(grown.tiles, grown.signer.verifier) == Verdict(600, 1, ())
    older = sign_checkpoint(200, bytes(32), grown.signer)
    assert verify_folder(grown.tiles, grown.signer.verifier, [note]).good
    assert "at 200 does not follow" in first(verify_folder(grown.tiles, grown.signer.verifier, [older])).what
    assert open_checkpoint(note, grown.signer.verifier).size == 600


def test_a_leaf_rewritten_in_a_mirror_is_named(grown: Any) -> None:
    path = tile(grown, "tile/entries/001")
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
    found = tile(grown, path)
    found.write_bytes(change(found.read_bytes()))
    problem = first(verify_folder(grown.tiles, grown.signer.verifier))
    assert problem.leaf_index == index and what in problem.what


def test_a_mirror_with_parts_missing_is_named(grown: Any) -> None:
    tile(grown, "tile/entries/001").unlink()
    assert first(verify_folder(grown.tiles, grown.signer.verifier)) == Problem(
        256, "tile/entries/001 is missing"
    )
    tile(grown, "checkpoint").unlink()
    assert "checkpoint is missing" in first(verify_folder(grown.tiles, grown.signer.verifier)).what


def test_a_published_checkpoint_that_is_gone_is_found(grown: Any) -> None:
    tile(grown, "checkpoint").unlink()
    assert "the published checkpoint is missing" in first(grown.verify()).what


def test_changing_particulars_and_their_hash_changes_the_leaf(grown: Any) -> None:
    fields = leaf_fields(grown, 50)
    forged = {"name": "Eve"}
    salt = bytes(16)
    set_leaf(grown, 50, canonical({**fields, "particulars": particulars_hash(salt, forged)}))
    grown.change(
        "UPDATE audit_entries SET particulars = ?, salt = ? WHERE leaf_index = 50",
        canonical(forged).decode(),
        salt,
    )
    problem = first(grown.verify())
    assert problem.leaf_index == 50 and "not the one that was signed" in problem.what
