"""7z files by 7-Zip, of every method, solid or not, packed header or not; damaged, hostile and encrypted ones."""

from __future__ import annotations

import gc
import io
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveDamaged,
    ArchiveError,
    ArchiveKind,
    ArchiveTooLarge,
    FileKind,
    FileNotReadable,
    Memory,
    Reason,
    detect,
    list_files,
    open_file,
    walk_files,
)
from tests.retention.archive.by_tools import run, seven_zip
from tests.retention.archive.making import SMALL, CountingSource, content, listing, tgz_of, zip_of

_TEXT = b"".join(b"%d line of a log, %d\n" % (n, n * 7919 % 10007) for n in range(20_000))
_PROGRAM = Path("/bin/sh").read_bytes()[:200_000]
_FILES = {
    "logs/a.log": _TEXT,
    "größe/日誌.log": b"small",
    "sh.exe": _PROGRAM,
    "zeros": bytes(500_000),
    "z": b"",
}
_METHODS = {
    "default": [],
    "lzma": ["-m0=lzma"],
    "lzma with a filter for programs": ["-m0=lzma", "-mf=BCJ"],
    "a filter for programs": ["-mf=BCJ"],
    "ARM": ["-mf=ARM"],
    "delta": ["-mf=Delta:4"],
    "bzip2": ["-m0=bzip2"],
    "deflate": ["-m0=deflate"],
    "deflate64": ["-m0=deflate64"],
    "PPMd": ["-m0=ppmd:mem=2m"],
    "stored": ["-m0=copy"],
    "each by itself": ["-ms=off"],
    "header not packed": ["-mhc=off"],
    "fast": ["-mx=1"],
}


def _read(data: bytes) -> dict[str, bytes]:
    return {file.key: content(data, file.key) for file in listing(data) if file.readable}


@pytest.mark.parametrize("options", _METHODS.values(), ids=_METHODS.keys())
def test_what_7_zip_makes_is_listed_and_read_singly_and_in_one_walk(options: list[str]) -> None:
    data = seven_zip(_FILES, *options)
    assert detect(io.BytesIO(data)) is ArchiveKind.SEVEN_ZIP
    assert {file.key: file.size for file in listing(data)} == {n: len(c) for n, c in _FILES.items()}
    assert _read(data) == _FILES
    walked = {
        w.file.key: b"".join(w.opened.chunks) for w in walk_files(io.BytesIO(data), "bundle") if w.opened
    }
    assert walked == _FILES


def test_folders_links_and_times_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.log").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a.log")
    os.utime(tmp_path / "a.log", (1_700_000_000, 1_700_000_000))
    run("7z", "a", "-snl", "made.7z", "folder", "a.log", "link", cwd=tmp_path)
    listed = {file.key: file for file in listing((tmp_path / "made.7z").read_bytes())}
    assert {key: file.kind for key, file in listed.items()} == {
        "folder/": FileKind.FOLDER,
        "a.log": FileKind.FILE,
        "link": FileKind.LINK,
    }
    assert listed["a.log"].modified == datetime.fromtimestamp(1_700_000_000, UTC)
    assert listed["link"].reason is Reason.LINK


def test_an_empty_7z_lists_nothing(tmp_path: Path) -> None:
    with suppress(Exception):  # 7-Zip warns that it found no file
        run("7z", "a", "made.7z", "nothing", cwd=tmp_path)
    assert listing((tmp_path / "made.7z").read_bytes()) == []


@pytest.mark.parametrize("make", [seven_zip, zip_of, tgz_of])
def test_a_7z_is_read_in_other_archives_and_others_in_it(make: object) -> None:
    outer = make({"x": b"1", "in.7z": seven_zip({"deep.log": _TEXT})})  # type: ignore[operator]
    assert [file.key for file in listing(outer, inside="in.7z")] == ["in.7z!/deep.log"]
    assert content(outer, "in.7z!/deep.log") == _TEXT
    inner = make({"deep.log": _TEXT})  # type: ignore[operator]
    assert content(seven_zip({"a": b"2", "in.bin": inner}), f"in.bin!/{listing(inner)[0].key}") == _TEXT


def test_a_walk_over_a_solid_7z_decodes_it_once() -> None:
    files = {f"{n:03}.log": os.urandom(20_000) for n in range(60)}
    source = CountingSource(seven_zip(files, "-ms=on"))
    read = {w.file.key: b"".join(w.opened.chunks) for w in walk_files(source, "bundle") if w.opened}
    assert read == files
    assert source.total < 1.2 * len(source.getvalue()) + 200_000


def test_the_decoder_of_one_run_is_freed_before_the_next_begins() -> None:
    files = {f"{n}.log": os.urandom(300_000) for n in range(4)}
    data = seven_zip(files, "-ms=off", "-m0=lzma2:d=1m")
    memory = Memory(3 << 20)
    read = {
        w.file.key: b"".join(w.opened.chunks)
        for w in walk_files(io.BytesIO(data), "b", memory=memory)
        if w.opened
    }
    assert read == files
    gc.collect()
    assert memory.held == 0


@settings(max_examples=25, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 70_000)), min_size=1, max_size=4))
def test_parts_of_a_file_in_a_solid_run_are_those_bytes_in_any_order(spans: list[tuple[int, int]]) -> None:
    opened = open_file(io.BytesIO(_SOLID), "bundle", "b.log", SMALL)
    for start, length in spans:
        start %= len(_TEXT)
        assert b"".join(opened.part(start, min(length, len(_TEXT) - start))) == _TEXT[start : start + length]


_SOLID = seven_zip({"a.log": b"before" * 50_000, "b.log": _TEXT}, "-ms=on")


@pytest.mark.parametrize("options", [["-psecret"], ["-psecret", "-mhe=on"]])
def test_an_encrypted_7z_says_so(options: list[str]) -> None:
    data = seven_zip({"a.log": _TEXT}, *options)
    if "-mhe=on" in options:
        with pytest.raises(FileNotReadable) as refused:
            listing(data)
        assert refused.value.reason is Reason.ENCRYPTED
    else:
        assert [file.reason for file in listing(data)] == [Reason.ENCRYPTED]


def test_a_chain_that_is_none_is_listed_as_not_readable() -> None:
    data = seven_zip({"sh.exe": _PROGRAM}, "-mf=BCJ2")
    assert [(file.key, file.reason) for file in listing(data)] == [("sh.exe", Reason.METHOD)]


def test_a_chain_of_more_coders_than_7_zip_makes_by_itself_is_listed_as_not_readable() -> None:
    filters = [f"-m{number}=delta:{number + 1}" for number in range(4)]
    assert content(seven_zip({"a": _TEXT}, *filters[:3], "-m3=lzma2"), "a") == _TEXT
    data = seven_zip({"a": _TEXT}, *filters, "-m4=lzma2")
    assert [file.reason for file in listing(data)] == [Reason.METHOD]


def test_a_7z_cut_short_or_the_first_of_several_volumes_is_said_to_be() -> None:
    data = seven_zip({"a.log": os.urandom(50_000)})
    with pytest.raises(ArchiveDamaged, match="is cut off; or it is the first of several volumes"):
        listing(data[:30_000])


def test_changed_bytes_are_the_damage_of_their_run_alone() -> None:
    data = bytearray(seven_zip({"a": os.urandom(30_000), "b": os.urandom(30_000)}, "-ms=off", "-m0=copy"))
    data[100] ^= 0xFF
    with pytest.raises(ArchiveDamaged, match="CRC-32"):
        content(bytes(data), "a")
    assert len(content(bytes(data), "b")) == 30_000


def test_a_header_beyond_the_limit_is_refused_before_it_is_held() -> None:
    data = seven_zip({f"{n}": b"" for n in range(2000)}, "-mhc=off")
    with pytest.raises(ArchiveTooLarge, match="its header has"):
        listing(data, replace(SMALL, max_index_bytes=1000))
    packed = seven_zip({f"{n}": b"" for n in range(2000)})
    with pytest.raises(ArchiveTooLarge, match="its header has"):
        listing(packed, replace(SMALL, max_index_bytes=5000))
    with pytest.raises(ArchiveTooLarge, match="lists 2000 things; the limit is 100"):
        listing(data, replace(SMALL, max_entries=100))


def test_a_dictionary_beyond_the_limit_is_refused_with_the_first_byte() -> None:
    data = seven_zip({"a": os.urandom(3 << 20)}, "-m0=lzma2:d=64m")
    with pytest.raises(ArchiveTooLarge, match="dictionary"):
        content(data, "a", replace(SMALL, max_dictionary=1 << 20))


def _with_header(data: bytes, header: bytes) -> bytes:
    """The 7z with another header, whose checksums are right."""
    offset = struct.unpack_from("<Q", data, 12)[0]
    rest = struct.pack("<2QI", offset, len(header), zlib.crc32(header))
    return data[:8] + struct.pack("<I", zlib.crc32(rest)) + rest + data[32 : 32 + offset] + header


@pytest.mark.parametrize(
    "header",
    [
        b"\x01\x05\x01" + b"\x0e\x01\x00" + b"\x0f\x00" * 2 + b"\0\0",  # of the files: which are empty ones
        b"\x01\x05\x00" + b"\x15\x02\0\0" * 2 + b"\0\0",
        b"\x01\x04\x06\x00\x01" + b"\x09\x01" * 2 + b"\0\0\0",  # of the packed streams: their sizes
        b"\x01\x04\x06\x00\x01\x09\x01" + b"\x0a\0\0" * 2 + b"\0\0\0",
        b"\x01\x04\x07\x0b\x00\x00\x0c" + b"\x0a\x01" * 2 + b"\0\0\0",  # of the folders: their checksums
    ],
)
def test_a_property_that_stands_twice_is_damage_as_each_one_could_cost_the_time_of_all_files(
    header: bytes,
) -> None:
    with pytest.raises(ArchiveDamaged, match="twice"):
        listing(_with_header(_PLAIN_HEADERS["copied"], header))


_PLAIN_HEADERS: Mapping[str, bytes] = {
    "solid": seven_zip({"a": b"1" * 500, "b.exe": _PROGRAM[:3000], "c": b""}, "-mhc=off", "-mf=BCJ"),
    "copied": seven_zip({"a": b"1" * 500, "b": b"2" * 600}, "-mhc=off", "-ms=off", "-m0=copy"),
    "several": seven_zip({"a": b"1" * 500, "b.exe": _PROGRAM[:3000]}, "-mhc=off", "-mf=BCJ2"),
}


@pytest.mark.parametrize("made", _PLAIN_HEADERS.values(), ids=_PLAIN_HEADERS.keys())
@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=9)), min_size=1, max_size=3
    ),
    cut=st.integers(0, 3),
)
def test_whatever_a_header_says_is_listed_or_one_clear_error(
    made: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    offset = struct.unpack_from("<Q", made, 12)[0]
    header = bytearray(made[32 + offset :])
    for place, new in changes:
        at = place % len(header)
        header[at : at + len(new)] = new
    data = _with_header(made, bytes(header[: len(header) - cut]))
    memory = Memory(64 << 20)
    with suppress(ArchiveError):
        for file in list_files(io.BytesIO(data), "bundle", SMALL, memory=memory):
            with suppress(ArchiveError):
                for _ in open_file(io.BytesIO(data), "bundle", file.key, SMALL, memory=memory).chunks:
                    pass
