"""Cabs by gcab and as Windows writes them: stored, MSZIP and LZX; of a set, damaged and hostile."""

from __future__ import annotations

import io
import os
import random
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveDamaged,
    ArchiveError,
    ArchiveKind,
    Limits,
    Memory,
    Reason,
    detect,
    list_files,
    open_file,
    walk_files,
)
from retention.sandbox.lzx import Lzx
from tests.retention.archive.by_tools import archive, run, seven_zip
from tests.retention.archive.cab_writing import (
    ALIGNED,
    FRAME,
    UNCOMPRESSED,
    VERBATIM,
    LzxWriter,
    cab,
    lzx_cab,
    ms_zip,
    stored,
)
from tests.retention.archive.making import SMALL, CountingSource, content, listing, tgz_of, zip_of

_TEXT = b"".join(b"%d line of a log, %d\n" % (n, n * 7919 % 10007) for n in range(12_000))
_PROGRAM = Path("/bin/sh").read_bytes()[:100_000]
_FILES = {"logs/a.log": _TEXT, "größe.log": b"small", "sh.exe": _PROGRAM, "zeros": bytes(200_000), "z": b""}
_WHOLE = b"".join(_FILES.values())
_WRITERS = {
    "verbatim": LzxWriter(15),
    "aligned": LzxWriter(18, ((1, ALIGNED),)),
    "blocks over several frames": LzxWriter(21, ((3, VERBATIM), (2, ALIGNED), (1, VERBATIM))),
    "not packed": LzxWriter(16, ((2, UNCOMPRESSED), (1, VERBATIM), (1, UNCOMPRESSED))),
    "all in one block": LzxWriter(21, ((1000, ALIGNED),)),
}
_CABS = {name: lzx_cab(_FILES, writer) for name, writer in _WRITERS.items()} | {
    "MSZIP": cab(_FILES, 1, ms_zip(_WHOLE)),
    "stored": cab(_FILES, 0, stored(_WHOLE)),
}


@pytest.mark.parametrize("data", _CABS.values(), ids=_CABS.keys())
def test_a_cab_is_listed_and_read_as_cabextract_reads_it(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "made.cab").write_bytes(data)
    run("cabextract", "-q", "-d", str(tmp_path / "out"), str(tmp_path / "made.cab"))
    by_tool = {name: (tmp_path / "out" / name).read_bytes() for name in _FILES}
    assert by_tool == _FILES, "what was written is a cab"
    assert detect(io.BytesIO(data)) is ArchiveKind.CAB
    assert {file.path: (file.size, file.reason) for file in listing(data)} == {
        n: (len(c), None) for n, c in _FILES.items()
    }
    assert {file.path: content(data, file.key) for file in listing(data)} == _FILES
    walked = {
        w.file.path: b"".join(w.opened.chunks) for w in walk_files(io.BytesIO(data), "bundle") if w.opened
    }
    assert walked == _FILES


@pytest.mark.parametrize("options", [[], ["-z"]])
def test_what_gcab_makes_is_read(options: list[str]) -> None:
    files = {"a.log": _TEXT, "b.exe": _PROGRAM}
    data = archive(["gcab", "-c", *options], files, "made.cab")
    assert {file.key: content(data, file.key) for file in listing(data)} == files


def test_calls_in_programs_have_their_own_targets_again(tmp_path: Path) -> None:
    program = random.Random(1).randbytes(3000).replace(b"\xe8", b"\0") + b"\xe8\x10\x20\0\0text" * 200
    data = lzx_cab({"a.exe": program * 3}, LzxWriter(17, ((1, VERBATIM),), calls_up_to=20_000))
    (tmp_path / "made.cab").write_bytes(data)
    run("cabextract", "-q", "-d", str(tmp_path), str(tmp_path / "made.cab"))
    by_tool = (tmp_path / "a.exe").read_bytes()
    assert by_tool != program * 3, "the writer does not translate: reading changes the targets"
    assert content(data, "a.exe") == by_tool


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    size=st.integers(1, 3 * FRAME),
    letters=st.integers(1, 256),
    bits=st.integers(15, 21),
    blocks=st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from((VERBATIM, ALIGNED, UNCOMPRESSED))),
        min_size=1,
        max_size=3,
    ),
)
def test_any_bytes_come_out_of_lzx_as_they_went_in(
    seed: int, size: int, letters: int, bits: int, blocks: list[tuple[int, int]]
) -> None:
    made = random.Random(seed)
    words = [bytes(made.randrange(letters) for _ in range(made.randint(1, 40))) for _ in range(30)]
    data = b"".join(made.choice(words) for _ in range(size))[:size]
    decoder = Lzx(bits)
    frames = LzxWriter(bits, blocks).frames(data)
    assert b"".join(decoder.frame(packed, length) for packed, length in frames) == data


_FRAMES = {n: LzxWriter(w.bits, w.blocks).frames(_TEXT[: 3 * FRAME]) for n, w in _WRITERS.items()}


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
    name=st.sampled_from(sorted(_WRITERS)),
)
def test_lzx_that_was_changed_is_other_bytes_or_an_error(changes: list[tuple[int, int]], name: str) -> None:
    frames, decoder = _FRAMES[name], Lzx(_WRITERS[name].bits)
    with suppress(ValueError, IndexError):
        for number, (packed, size) in enumerate(frames):
            changed = bytearray(packed)
            for place, new in changes if number else changes[:1]:
                changed[place % len(changed)] = new
            assert len(decoder.frame(bytes(changed), size)) == size


@pytest.mark.parametrize("kind", ["MSZIP", "aligned"])
@settings(max_examples=20, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 70_000)), min_size=1, max_size=4))
def test_parts_of_a_file_are_those_bytes_in_any_order(kind: str, spans: list[tuple[int, int]]) -> None:
    opened = open_file(io.BytesIO(_CABS[kind]), "bundle", "sh.exe", SMALL)
    for start, length in spans:
        start %= len(_PROGRAM)
        assert (
            b"".join(opened.part(start, min(length, len(_PROGRAM) - start)))
            == _PROGRAM[start : start + length]
        )


def test_going_back_in_mszip_decodes_from_a_seek_point() -> None:
    noise = os.urandom(6 << 20)
    source = CountingSource(cab({"a": noise}, 1, ms_zip(noise)))
    opened = open_file(source, "bundle", "a", Limits(seek_point_every=1 << 20))
    assert b"".join(opened.part(len(noise) - 10, 10)) == noise[-10:]
    source.ranges.clear()
    assert b"".join(opened.part(len(noise) - 600_000, 10)) == noise[-600_000:][:10]
    assert source.total < 3 << 20


@pytest.mark.parametrize("make", [zip_of, tgz_of, seven_zip])
def test_a_cab_is_read_in_other_archives_and_others_in_it(make: object) -> None:
    outer = make({"x": b"1", "in.cab": _CABS["aligned"]})  # type: ignore[operator]
    assert content(outer, "in.cab!/logs\\a.log") == _TEXT
    inner = make({"deep.log": _TEXT})  # type: ignore[operator]
    data = lzx_cab({"a": b"2", "in.bin": inner}, LzxWriter(16))
    assert content(data, f"in.bin!/{listing(inner)[0].key}") == _TEXT


@pytest.mark.parametrize("folder", [0xFFFD, 0xFFFE, 0xFFFF])
def test_a_file_that_lies_in_several_cabs_of_a_set_is_listed_with_the_reason(folder: int) -> None:
    data = bytearray(cab({"a": b"text"}, 0, stored(b"text")))
    struct.pack_into("<H", data, 44 + 8, folder)
    assert [file.reason for file in listing(bytes(data))] == [Reason.OTHER_VOLUME]


def test_quantum_is_listed_and_not_read() -> None:
    assert [file.reason for file in listing(cab({"a": b"text"}, 0x1222, stored(b"text")))] == [Reason.METHOD]


@pytest.mark.parametrize("kind", _CABS)
def test_a_changed_block_is_told_by_its_checksum_and_one_cut_off_is_said_to_be(kind: str) -> None:
    data = bytearray(_CABS[kind])
    with pytest.raises(ArchiveDamaged, match="cut off"):
        content(bytes(data[:-10]), "zeros")
    data[len(data) - 10] ^= 0xFF
    with pytest.raises(ArchiveDamaged, match="checksum"):
        content(bytes(data), "zeros")
    assert content(bytes(data), "logs\\a.log") == _TEXT


_HOSTILE: Mapping[str, bytes] = {
    "MSZIP": cab({"a": _TEXT[:70_000], "b": b"x"}, 1, ms_zip(_TEXT[:70_000] + b"x")),
    "stored": cab({"a": b"1" * 500, "b": b"2"}, 0, stored(b"1" * 500 + b"2")),
    "LZX": lzx_cab({"a": _TEXT[:70_000], "b": b"x"}, LzxWriter(15)),
}


@pytest.mark.parametrize("made", _HOSTILE.values(), ids=_HOSTILE.keys())
@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 250), st.binary(min_size=1, max_size=5)), min_size=1, max_size=3
    ),
    cut=st.integers(0, 400),
)
def test_whatever_a_cab_says_is_listed_or_one_clear_error(
    made: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(made)
    for place, new in changes:
        data[4 + place : 4 + place + len(new)] = new
    hostile, memory = bytes(data[: len(data) - cut]), Memory(64 << 20)
    with suppress(ArchiveError):
        for file in list_files(io.BytesIO(hostile), "bundle", SMALL, memory=memory):
            with suppress(ArchiveError):
                for _ in open_file(io.BytesIO(hostile), "bundle", file.key, SMALL, memory=memory).chunks:
                    pass
