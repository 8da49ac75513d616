"""Only what is needed is read, and nothing is ever written (P1)."""

from __future__ import annotations

import builtins
import io
import os
import random
import tempfile
import zipfile
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import ArchiveDamaged, Memory, list_files, open_file
from tests.retention.archive.making import MAKERS, SMALL, CountingSource, tar_of, zip_of

_FILES = {f"logs/{n:02}.log": random.Random(n).randbytes(100_000) for n in range(50)}
_BLOCK = 512
_READ_AHEAD = 64 * 1024


@pytest.fixture(scope="module")
def zipped() -> bytes:
    return zip_of(_FILES)


def test_listing_a_zip_reads_its_first_block_and_its_end_only(zipped: bytes) -> None:
    source = CountingSource(zipped)
    assert [file.key for file in list_files(source, "bundle", SMALL)] == list(_FILES)
    directory = zipped.index(b"PK\x01\x02")
    assert {start for start, end in source.ranges if start < directory and end > start} == {0}
    assert source.total < _BLOCK + 3 * (len(zipped) - directory)  # places first, then entries; and the end


def test_reading_one_file_of_a_zip_reads_its_extent_once(zipped: bytes) -> None:
    key = "logs/24.log"
    start = zipped.index(key.encode()) - 30
    end = zipped.index(b"logs/25.log") - 30
    source = CountingSource(zipped)
    opened = open_file(source, "bundle", key, SMALL)
    source.ranges.clear()
    assert b"".join(opened.chunks) == _FILES[key]
    inside = [(a, b) for a, b in source.ranges if b > a]
    assert all(start <= a and b <= end for a, b in inside)
    assert sum(b - a for a, b in inside) <= end - start


def test_finding_a_file_of_a_zip_opens_no_other(zipped: bytes) -> None:
    start = zipped.index(b"logs/24.log") - 30
    end = zipped.index(b"logs/25.log") - 30
    directory = zipped.index(b"PK\x01\x02")
    source = CountingSource(zipped)
    b"".join(open_file(source, "bundle", "logs/24.log", SMALL).chunks)
    for a, b in source.ranges:
        assert a == b or b <= _BLOCK or a >= directory or (start <= a and b <= end)


def test_listing_a_tar_hops_from_header_to_header() -> None:
    source = CountingSource(tar_of({name: data * 3 for name, data in _FILES.items()}))
    assert len(list(list_files(source, "bundle", SMALL))) == 50
    assert source.total < 52 * (_READ_AHEAD + _BLOCK) + 2 * _READ_AHEAD
    assert source.total < len(source.getvalue()) / 4


def test_reading_the_first_file_of_a_tar_gz_leaves_the_rest() -> None:
    source = CountingSource(MAKERS["tar.gz"](_FILES))
    opened = open_file(source, "bundle", "logs/00.log", SMALL)
    assert b"".join(opened.chunks) == _FILES["logs/00.log"]
    assert source.highest < 600_000 < len(source.getvalue())


@pytest.mark.parametrize("made_as", MAKERS)
def test_no_file_is_opened_or_made_anywhere(made_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = MAKERS[made_as]({"a.log": b"x" * 70_000, f"in.{made_as}": MAKERS[made_as]({"deep": b"found it"})})

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("something touched a disk")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    for place in (builtins, io):
        monkeypatch.setattr(place, "open", forbidden)
    monkeypatch.setattr(os, "open", forbidden)
    source = io.BytesIO(data)
    keys = [file.key for file in list_files(source, "bundle", SMALL)]
    read = [b"".join(open_file(source, "bundle", key, SMALL).chunks) for key in [*keys, f"{keys[1]}!/deep"]]
    monkeypatch.undo()
    assert read[0] == b"x" * 70_000
    assert read[2] == b"found it"


@pytest.mark.parametrize("made_as", [*MAKERS, "stored", "lzma"])
@settings(max_examples=30, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 100_000)), min_size=1, max_size=5))
def test_parts_of_a_file_are_those_bytes_in_any_order(made_as: str, spans: list[tuple[int, int]]) -> None:
    methods = {"stored": zipfile.ZIP_STORED, "lzma": zipfile.ZIP_LZMA}
    files = dict(islice(_FILES.items(), 3))
    data = zip_of(files, methods[made_as]) if made_as in methods else MAKERS[made_as](files)
    opened = open_file(io.BytesIO(data), "bundle", "logs/01.log", SMALL)
    first = next(opened.chunks)[:10]
    assert first == files["logs/01.log"][:10]
    for start, length in spans:
        length = min(length, 100_000 - start)
        part = b"".join(opened.part(start, length))
        assert part == files["logs/01.log"][start : start + length]
    assert b"".join(opened.part(spans[0][0], None)) == files["logs/01.log"][spans[0][0] :]


def test_a_part_past_the_end_is_an_error_and_not_fewer_bytes(zipped: bytes) -> None:
    opened = open_file(io.BytesIO(zipped), "bundle", "logs/24.log", SMALL)
    with pytest.raises(ArchiveDamaged, match="ends before the bytes"):
        b"".join(opened.part(99_000, 2000))


def test_a_part_of_a_stored_file_reads_those_bytes_only() -> None:
    source = CountingSource(zip_of({"a": bytes(100), "big": random.Random(1).randbytes(5 << 20)}, 0))
    opened = open_file(source, "bundle", "big", SMALL)
    source.ranges.clear()
    assert len(b"".join(opened.part(4 << 20, 1000))) == 1000
    assert source.total <= 2 * _READ_AHEAD


def test_later_parts_of_a_packed_file_go_on_from_seek_points() -> None:
    plain = b"".join(b"%08d some line of a log\r\n" % n for n in range(300_000))
    memory = Memory(64 << 20)
    limits = replace(SMALL, seek_point_every=256 * 1024)
    source = CountingSource(zip_of({"big.log": plain}))
    opened = open_file(source, "bundle", "big.log", limits, memory=memory)
    whole = len(source.getvalue())
    assert b"".join(opened.part(len(plain) - 100, 100)) == plain[-100:]
    source.ranges.clear()
    for start in range(8_000_000, 0, -1_000_000):
        assert b"".join(opened.part(start, 50)) == plain[start : start + 50]
    assert source.total < whole, "eight jumps back cost less than reading the file once"
