"""Seeking in packed files: the same bytes as decoding them in one go, within the memory that all readers share."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import os
import random
import threading
import tracemalloc
import zipfile
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import ArchiveBusy, Limits, Memory, open_file
from retention.archive.codings import BZIP2, GZIP, RAW_DEFLATE
from retention.archive.inflate import Coding, Forward
from retention.archive.limits import Bounds
from retention.archive.seekable import Unpacked
from retention.archive.source import whole
from tests.retention.archive.making import Entry, content, hand_made, raw_deflated, zip_of

_PLAIN = b"".join(b"%07d %s\r\n" % (n, random.Random(n).randbytes(8).hex().encode()) for n in range(20_000))
_PACKED: dict[str, tuple[bytes, Coding]] = {}


def _packed(kind: str) -> tuple[bytes, Coding]:
    if not _PACKED:
        half = len(_PLAIN) // 2
        _PACKED["deflate"] = raw_deflated(_PLAIN), RAW_DEFLATE
        _PACKED["gzip, joined"] = gzip.compress(_PLAIN[:half]) + gzip.compress(_PLAIN[half:]), GZIP
        _PACKED["bzip2"] = bz2.compress(_PLAIN), BZIP2
    return _PACKED[kind]


def _unpacked(kind: str, memory: Memory, size: int | None, every: int = 50_000) -> Unpacked:
    data, coding = _packed(kind)
    bounds = Bounds.of(replace(Limits(), seek_point_every=every), memory)
    return Unpacked(lambda: Forward(whole(io.BytesIO(data)), coding, size, bounds), size, bounds)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["deflate", "gzip, joined", "bzip2"])
@settings(max_examples=25, deadline=None)
@given(
    spans=st.lists(
        st.tuples(st.integers(0, len(_PLAIN) + 100), st.integers(0, 70_000)), min_size=1, max_size=6
    ),
    room=st.sampled_from([5 << 20, 150_000 + (4 << 20), 20 << 20]),
)
def test_any_span_reads_as_it_does_in_one_go(
    kind: str, known: bool, spans: list[tuple[int, int]], room: int
) -> None:
    source = _unpacked(kind, Memory(room), len(_PLAIN) if known else None)
    buffered = io.BufferedReader(source, 4096)
    for start, length in spans:
        buffered.seek(start)
        assert buffered.read(length) == _PLAIN[start : start + length]
    assert buffered.seek(0, io.SEEK_END) == len(_PLAIN)


def test_seek_points_thin_out_when_the_memory_is_taken_and_nothing_is_refused() -> None:
    memory = Memory(300_000)
    source = _unpacked("deflate", memory, len(_PLAIN), every=10_000)
    assert source.readall() == _PLAIN
    assert 1 <= source.seek_points <= 300_000 // (48 << 10)
    assert memory.peak <= 300_000
    source.seek(10)
    assert source.read(10) == _PLAIN[10:20]


def test_going_back_decodes_no_more_than_from_the_nearest_seek_point() -> None:
    data = raw_deflated(_PLAIN)
    bounds = Bounds.of(replace(Limits(), seek_point_every=50_000), Memory(20 << 20))
    spent: list[int] = []
    bounds.work.spend = spent.append  # type: ignore[method-assign]
    source = Unpacked(
        lambda: Forward(whole(io.BytesIO(data)), RAW_DEFLATE, len(_PLAIN), bounds), len(_PLAIN), bounds
    )
    source.readall()
    spent.clear()
    source.seek(300_000)
    source.read(10)
    assert sum(spent) < 2 * 50_000 + (64 << 10)


def test_a_decoder_that_has_no_memory_left_is_refused_as_busy() -> None:
    memory = Memory(5 << 20)
    taken = memory.lease(2 << 20)
    with pytest.raises(ArchiveBusy):
        _unpacked("bzip2", memory, len(_PLAIN))
    assert taken is not None
    taken.release()
    assert _unpacked("bzip2", memory, len(_PLAIN)).readall() == _PLAIN


def test_24_readers_of_a_60_mb_archive_inside_a_zip_stay_under_one_budget() -> None:
    noise, log = os.urandom(1 << 20), b"the line that matters\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number in range(60):
            archive.writestr(f"{number}.bin", noise)
        archive.writestr("a.log", log)
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)  # the outer one stores in deflate: fast to make
    inner = out.getvalue()
    packed = packer.compress(inner) + packer.flush()
    data = hand_made([Entry(b"in.zip", packed, len(inner), zlib.crc32(inner))])
    memory, found = Memory(8 << 20), []

    def read() -> None:
        opened = open_file(io.BytesIO(data), "bundle", "in.zip!/a.log", memory=memory)
        found.append(b"".join(opened.chunks))

    threads = [threading.Thread(target=read) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [log] * 24
    assert 0 < memory.peak <= 8 << 20
    gc.collect()
    assert memory.held == 0


def test_what_is_held_decoded_takes_what_is_leased_and_its_decoder_is_let_go() -> None:
    size = 24 << 20
    packed, memory = bz2.compress(bytes(size)), Memory(64 << 20)
    bounds = Bounds.of(Limits(), memory)
    source = Unpacked(lambda: Forward(whole(io.BytesIO(packed)), BZIP2, size, bounds), size, bounds)
    source.seek(100)
    source.read(10)
    tracemalloc.start()
    try:
        source.seek(0)
        assert source.read(10) == bytes(10)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= memory.peak + (2 << 20)
    assert held <= memory.held + (1 << 20)
    assert memory.held == size


def test_what_is_held_may_be_shorter_than_was_declared() -> None:
    packed, memory = bz2.compress(_PLAIN), Memory(64 << 20)
    bounds, size = Bounds.of(Limits(), memory), len(_PLAIN) + 1000
    source = Unpacked(lambda: Forward(whole(io.BytesIO(packed)), BZIP2, size, bounds), size, bounds)
    source.seek(100)
    source.read(10)
    source.seek(0)
    assert source.readall() == _PLAIN


def test_a_decoder_that_could_not_be_begun_anew_is_begun_once_there_is_memory() -> None:
    memory = Memory(6 << 20)
    source = _unpacked("bzip2", memory, None)
    source.seek(50_000)
    assert source.read(10) == _PLAIN[50_000:50_010]
    begin, source._begin = source._begin, _busy
    source.seek(0)
    with pytest.raises(ArchiveBusy):
        source.read(10)
    source._begin = begin
    source.seek(60_000)
    assert source.read(10) == _PLAIN[60_000:60_010]
    assert source.seek(0, io.SEEK_END) == len(_PLAIN)


def _busy() -> Forward:
    raise ArchiveBusy


def test_an_archive_in_bzip2_is_held_when_there_is_room_and_begun_anew_when_not() -> None:
    inner = zip_of({"a.log": b"found it", "noise": os.urandom(200_000)})
    data = zip_of({"in.zip": inner}, zipfile.ZIP_BZIP2)
    for room in (4 << 20, 8 << 20):
        opened = open_file(io.BytesIO(data), "bundle", "in.zip!/a.log", memory=Memory(room))
        assert b"".join(opened.chunks) == b"found it"
    assert content(data, "in.zip!/noise") == zipfile.ZipFile(io.BytesIO(inner)).read("noise")
