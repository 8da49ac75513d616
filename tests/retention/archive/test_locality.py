"""Only what is needed is read, and nothing is ever written (P1)."""

from __future__ import annotations

import builtins
import io
import os
import random
import tempfile
from typing import Any

import pytest

from retention.archive import list_files, open_file
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
