"""What only a child decodes: as its own tools make it, joined, nested, cut, claiming too much."""

from __future__ import annotations

import gc
import io
import os
import random
import zlib
from collections.abc import Iterator

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveBusy,
    ArchiveDamaged,
    ArchiveTooLarge,
    Limits,
    Memory,
    limits,
    open_file,
    walk_files,
)
from retention.sandbox.children import Sandbox
from tests.retention.archive.by_tools import archive, run, seven_zip
from tests.retention.archive.making import (
    SMALL,
    Entry,
    content,
    hand_made,
    listing,
    tar_of,
    zip_of,
)

_TEXT = b"".join(b"%d line of a log, %d\n" % (n, n * 7919 % 10007) for n in range(60_000))
_SKIPPED = b"\x53\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skip me"


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Children of this test alone, of which none is left."""
    made = Sandbox(3, wait_s=0.05)
    monkeypatch.setattr(limits, "CHILDREN", made)
    yield made
    gc.collect()
    assert made.living == 0


def _zipped(method: str, files: dict[str, bytes]) -> bytes:
    return archive(["7z", "a", "-tzip", f"-mm={method}"], files, "made.zip")


def _zstd_entry(name: bytes, data: bytes, level: int = 3) -> Entry:
    return Entry(name, zstd.compress(data, level), len(data), zlib.crc32(data), method=93)


@pytest.mark.parametrize("method", ["Deflate64", "xz", "PPMd:mem=1m", "PPMd:o=16:mem=2m"])
def test_a_zip_by_7_zip_of_a_method_beyond_python_is_read(method: str) -> None:
    files = {"a.log": _TEXT, "zeros": bytes(3 << 20), "small": b"x", "noise": os.urandom(100_000)}
    data = _zipped(method, files)
    assert {file.key: content(data, file.key) for file in listing(data)} == files


def test_a_zip_of_zstd_is_read_also_by_the_number_that_zstd_had_first() -> None:
    old = _zstd_entry(b"old", _TEXT)
    old.method = 20
    data = hand_made([_zstd_entry(b"a.log", _TEXT), _zstd_entry(b"empty", b""), old])
    assert [content(data, key) for key in ("a.log", "empty", "old")] == [_TEXT, b"", _TEXT]


@pytest.mark.parametrize("options", [["-3"], ["-19", "--long=27"], ["-1", "--no-check", "--no-content-size"]])
def test_what_zstd_makes_is_read_as_one_file(options: list[str]) -> None:
    packed = run("zstd", *options, "-c", given=_TEXT)
    assert content(packed, "bundle") == _TEXT
    (file,) = listing(zip_of({"a.log.zst": packed}), inside="a.log.zst")
    assert (file.key, file.size) == ("a.log.zst!/a.log", None)


@pytest.mark.parametrize("outer", ["zst", "zip"])
def test_a_tar_in_zstd_is_read_at_any_depth(outer: str) -> None:
    inner = run("zstd", "-c", given=tar_of({"deep.log": _TEXT, "after": b"x"}))
    files = {"in.tar.zst": inner, "z": b"z"}
    data = zstd.compress(tar_of(files)) if outer == "zst" else zip_of(files)
    assert [file.key for file in listing(data)] == ["in.tar.zst", "z"]
    assert [file.key for file in listing(data, inside="in.tar.zst")] == [
        "in.tar.zst!/deep.log",
        "in.tar.zst!/after",
    ]
    assert content(data, "in.tar.zst!/deep.log") == _TEXT


def test_frames_joined_and_frames_to_be_skipped_are_one_file() -> None:
    packed = _SKIPPED + zstd.compress(_TEXT) + _SKIPPED + zstd.compress(b"more") + bytes(512)
    assert content(packed, "bundle") == _TEXT + b"more"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), spans=st.lists(st.integers(0, 2_000_000), min_size=1, max_size=4))
def test_any_part_of_what_a_child_decodes_is_as_if_all_had_been(seed: int, spans: list[int]) -> None:
    text = random.Random(seed).randbytes(40_000) + _TEXT
    data = hand_made([_zstd_entry(b"a", text, 1)])
    opened = open_file(io.BytesIO(data), "bundle", "a", SMALL)
    for start in spans:
        start %= len(text)
        length = min(70_000, len(text) - start)
        assert b"".join(opened.part(start, length)) == text[start : start + length]


def test_a_walk_over_many_files_has_one_child(children: Sandbox) -> None:
    data = hand_made([_zstd_entry(b"%d" % n, b"file %d" % n) for n in range(200)])
    begun: list[int] = []
    take = children.take

    def noted(kind: object, session: int) -> object:
        child = take(kind, session)  # type: ignore[arg-type]
        begun.append(child.pid)
        return child

    children.take = noted  # type: ignore[method-assign, assignment]
    found = {
        w.file.key: b"".join(w.opened.chunks) for w in walk_files(io.BytesIO(data), "bundle") if w.opened
    }
    assert found == {str(n): b"file %d" % n for n in range(200)}
    assert (len(begun), len(set(begun))) == (200, 1)


@pytest.mark.parametrize("method", [9, 93])
def test_damage_is_the_damage_of_the_one_file(method: int) -> None:
    packed = zstd.compress(_TEXT)
    if method == 9:
        made = _zipped("Deflate64", {"a": _TEXT})
        packed = made[30 + 1 : made.rfind(b"PK\x01\x02")]
    good = Entry(b"good", packed, len(_TEXT), zlib.crc32(_TEXT), method=method)
    cut = Entry(b"cut", packed[: len(packed) // 2], len(_TEXT), zlib.crc32(_TEXT), method=method)
    changed = bytearray(packed)
    changed[len(packed) // 2] ^= 0xFF
    bad = Entry(b"bad", bytes(changed), len(_TEXT), zlib.crc32(_TEXT), method=method)
    noise = Entry(b"noise", b"\xff" * 100, 1000, 0, method=method)
    data = hand_made([cut, bad, noise, good])
    for name in ("cut", "bad", "noise"):
        with pytest.raises(ArchiveDamaged):
            content(data, name)
    assert content(data, "good") == _TEXT


def test_a_bomb_streams_in_bounded_memory_and_past_its_declared_size_it_ends() -> None:
    packed = zstd.compress(bytes(300 << 20))
    honest = hand_made([Entry(b"zeros", packed, 300 << 20, zlib.crc32(bytes(300 << 20)), method=93)])
    chunks = open_file(io.BytesIO(honest), "bundle", "zeros", SMALL).chunks
    assert max(len(chunk) for chunk in chunks) <= 256 << 10
    lying = hand_made([Entry(b"zeros", packed, 1000, 0, method=93)])
    with pytest.raises(ArchiveDamaged, match="past its declared size"):
        content(lying, "zeros")


def test_a_frame_that_claims_a_large_window_is_refused_before_a_child_is_begun(children: Sandbox) -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    packed = packer.compress(b"small") + packer.flush()
    with pytest.raises(ArchiveTooLarge, match="dictionary of 134217728 bytes; the limit is 8388608"):
        content(packed, "bundle", Limits(max_dictionary=8 << 20))
    assert children.living == 0


def test_a_header_that_claims_less_than_its_frame_needs_is_the_frames_error() -> None:
    packed = bytearray(zstd.compress(_TEXT * 20))
    lying = bytes(packed[:4]) + b"\x00\x00" + bytes(packed[6:])  # a window of 1 KiB, no content size
    with pytest.raises(ArchiveDamaged):
        content(lying, "bundle")


def test_a_childs_memory_is_leased_while_it_decodes() -> None:
    memory = Memory(40 << 20)
    chunks = open_file(io.BytesIO(zstd.compress(_TEXT)), "bundle", "bundle", SMALL, memory=memory).chunks
    next(chunks)
    assert len(_TEXT) < memory.held <= 20 << 20
    del chunks
    gc.collect()
    assert memory.held == 0


def test_who_finds_no_child_hears_that_it_is_busy(children: Sandbox) -> None:
    data = hand_made([_zstd_entry(b"a", _TEXT)])
    opened = [open_file(io.BytesIO(data), "bundle", "a", SMALL) for _ in range(4)]
    for one in opened[:3]:
        next(one.chunks)
    with pytest.raises(ArchiveBusy):
        next(opened[3].chunks)
    del opened, one
    gc.collect()
    assert content(data, "a") == _TEXT


@pytest.mark.parametrize("repeated", [50, 200, 2000])
def test_ppmd_that_is_packed_to_a_thousandth_is_read_to_its_end(repeated: int) -> None:
    """The decoder has the last packed byte long before it has given what that becomes."""
    text = b"".join(
        b"line %d of a log, all is well\n" % (n // repeated * 7919 % 100_003) for n in range(400_000)
    )
    for data in (_zipped("PPMd", {"a.log": text}), seven_zip({"a.log": text}, "-m0=ppmd")):
        assert content(data, "a.log", Limits()) == text


@pytest.mark.parametrize("claimed", [b"\xf7\x1f", b"\x00\x00", b"\x17\x20"])
def test_a_ppmd_header_that_claims_too_much_or_makes_no_sense_is_the_files_error(claimed: bytes) -> None:
    data = hand_made([Entry(b"a", claimed + os.urandom(500), 3000, 0, method=98)])
    with pytest.raises((ArchiveDamaged, ArchiveTooLarge)):
        content(data, "a")


def test_changed_ppmd_is_the_files_damage() -> None:
    data = bytearray(_zipped("PPMd:mem=1m", {"a": _TEXT}))
    data[2000] ^= 0xFF
    with pytest.raises(ArchiveDamaged):
        content(bytes(data), "a")
