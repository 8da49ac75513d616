"""Archives in archives: reached by `!/`, opened one at a time, never deeper or larger than the limits."""

from __future__ import annotations

import gc
import gzip
import io
import os
import zipfile

import pytest

from retention.archive import FileKind, FileNotReadable, Memory, NotAnArchive, Reason, open_file, walk_files
from tests.retention.archive.making import MAKERS, SMALL, CountingSource, content, listing, tar_of, zip_of

_DEEP = {"a/b.log": b"found it"}


@pytest.mark.parametrize("outer", MAKERS)
@pytest.mark.parametrize("inner", MAKERS)
def test_any_archive_is_listed_and_read_inside_any_other(outer: str, inner: str) -> None:
    data = MAKERS[outer]({"x": b"", f"in.{inner}": MAKERS[inner](_DEEP)})
    assert [file.kind for file in listing(data)] == [FileKind.FILE, FileKind.ARCHIVE]
    (file,) = listing(data, inside=f"in.{inner}")
    assert (file.key, file.path) == (f"in.{inner}!/a/b.log",) * 2
    assert content(data, file.key) == b"found it"


def test_a_nested_archive_may_also_be_read_as_the_file_it_is() -> None:
    inner = zip_of(_DEEP)
    assert content(zip_of({"in.zip": inner}), "in.zip") == inner


def test_a_gzipped_log_inside_a_zip_is_one_archive_deeper() -> None:
    data = zip_of({"logs/agent.log.gz": gzip.compress(b"lines")})
    (file,) = listing(data, inside="logs/agent.log.gz")
    assert content(data, file.key) == b"lines"
    assert file.key == "logs/agent.log.gz!/agent.log"


def test_an_archive_is_known_by_its_bytes_whatever_its_name() -> None:
    data = zip_of({"picture.jpg": zip_of(_DEEP), "fake.zip": b"text"})
    assert content(data, "picture.jpg!/a/b.log") == b"found it"
    with pytest.raises(NotAnArchive):
        listing(data, inside="fake.zip")


@pytest.mark.parametrize("outer", MAKERS)
def test_a_walk_reads_what_only_has_an_archives_name_from_its_beginning(outer: str) -> None:
    data = MAKERS[outer]({"fake.zip": b"text", "after.log": b"more"})
    walk = walk_files(io.BytesIO(data), "bundle")
    assert [b"".join(met.opened.chunks) for met in walk if met.opened] == [b"text", b"more"]


def test_depth_stops_at_the_limit_for_listing_and_reading() -> None:
    data = zip_of(_DEEP)
    for level in range(6):
        data = zip_of({f"{level}.zip": data})
    five = "5.zip!/4.zip!/3.zip!/2.zip!/1.zip"
    assert listing(data, inside="5.zip")[0].kind is FileKind.ARCHIVE
    assert [(file.key, file.kind) for file in listing(data, inside=five)] == [
        (f"{five}!/0.zip", FileKind.FILE)
    ]
    for attempt in (
        lambda: listing(data, inside=f"{five}!/0.zip"),
        lambda: content(data, f"{five}!/0.zip!/x"),
    ):
        with pytest.raises(FileNotReadable) as refused:
            attempt()
        assert refused.value.reason is Reason.DEPTH
    assert content(data, f"{five}!/0.zip", SMALL)[:2] == b"PK"


def test_a_chain_of_archives_as_deep_as_a_quine_is_never_followed_past_the_limit() -> None:
    data = b"kernel"
    for _ in range(60):
        data = gzip.compress(data, mtime=0)
    with pytest.raises(FileNotReadable):
        content(data, "!/".join(["bundle"] * 60))


@pytest.mark.parametrize("made_as", ["zip", "tar.gz"])
def test_a_packed_nested_archive_is_read_without_being_held_whatever_its_size(made_as: str) -> None:
    noise = os.urandom(9_000_000)
    data = MAKERS[made_as]({"in.zip": zip_of({"noise": noise, "a.log": b"found it"}, zipfile.ZIP_STORED)})
    memory = Memory(1 << 20)
    opened = open_file(io.BytesIO(data), "bundle", "in.zip!/a.log", memory=memory)
    assert b"".join(opened.chunks) == b"found it"
    assert 0 < memory.peak <= 1 << 20
    del opened
    gc.collect()
    assert memory.held == 0


def test_a_gzip_of_unknown_size_holds_an_archive() -> None:
    inner = zip_of({"noise": os.urandom(70_000), "a": b"found it"})
    assert content(gzip.compress(gzip.compress(inner)), "bundle!/bundle!/a") == b"found it"


@pytest.mark.parametrize("outer", ["zip", "tar"])
def test_a_stored_nested_archive_is_read_in_place_whatever_its_size(outer: str) -> None:
    inner = zip_of({"noise": os.urandom(2_000_000), "a.log": b"found it"}, zipfile.ZIP_STORED)
    make = {"zip": lambda files: zip_of(files, zipfile.ZIP_STORED), "tar": tar_of}[outer]
    source = CountingSource(make({"noise": os.urandom(1_000_000), "in.zip": inner}))
    opened = open_file(source, "bundle", "in.zip!/a.log", memory=Memory(0))
    assert b"".join(opened.chunks) == b"found it"
    assert source.total < 600_000
