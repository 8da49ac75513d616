"""Archives in archives: reached by `!/`, opened one at a time, never deeper or larger than the limits."""

from __future__ import annotations

import gzip
import os
import zipfile
from dataclasses import replace

import pytest

from retention.archive import ArchiveTooLarge, FileKind, FileNotReadable, NotAnArchive, Reason, open_file
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


def test_depth_stops_at_the_limit_for_listing_and_reading() -> None:
    data = zip_of(_DEEP)
    for level in range(4):
        data = zip_of({f"{level}.zip": data})
    keys = ["3.zip", "3.zip!/2.zip", "3.zip!/2.zip!/1.zip"]
    assert [listing(data, inside=key)[0].kind for key in keys[:2]] == [FileKind.ARCHIVE, FileKind.FILE]
    for attempt in (lambda: listing(data, inside=keys[2]), lambda: content(data, f"{keys[2]}!/0.zip")):
        with pytest.raises(FileNotReadable) as refused:
            attempt()
        assert refused.value.reason is Reason.DEPTH
    assert content(data, keys[2], SMALL)[:2] == b"PK"


def test_a_chain_of_archives_as_deep_as_a_quine_is_never_followed_past_the_limit() -> None:
    data = b"kernel"
    for _ in range(60):
        data = gzip.compress(data, mtime=0)
    with pytest.raises(FileNotReadable):
        content(data, "!/".join(["bundle"] * 60))


@pytest.mark.parametrize("made_as", ["zip", "tar.gz"])
def test_a_packed_nested_archive_past_the_memory_limit_is_refused(made_as: str) -> None:
    data = MAKERS[made_as]({"in.zip": zip_of({"a": os.urandom(70_000)})})
    with pytest.raises(ArchiveTooLarge):
        listing(data, replace(SMALL, max_nested_bytes=65_536), inside="in.zip")


def test_a_gzip_of_unknown_size_past_the_memory_limit_is_refused() -> None:
    data = gzip.compress(gzip.compress(os.urandom(70_000)))
    with pytest.raises(ArchiveTooLarge):
        listing(data, replace(SMALL, max_nested_bytes=65_536), inside="bundle")


@pytest.mark.parametrize("outer", ["zip", "tar"])
def test_a_stored_nested_archive_is_read_in_place_whatever_its_size(outer: str) -> None:
    inner = zip_of({"noise": os.urandom(2_000_000), "a.log": b"found it"}, zipfile.ZIP_STORED)
    make = {"zip": lambda files: zip_of(files, zipfile.ZIP_STORED), "tar": tar_of}[outer]
    source = CountingSource(make({"noise": os.urandom(1_000_000), "in.zip": inner}))
    opened = open_file(source, "bundle", "in.zip!/a.log", replace(SMALL, max_nested_bytes=0))
    assert b"".join(opened.chunks) == b"found it"
    assert source.total < 600_000


def test_all_levels_together_spend_one_budget() -> None:
    inner = zip_of({"a": b"x" * 60_000}, zipfile.ZIP_STORED)
    data = zip_of({"in.zip": inner})
    assert len(content(data, "in.zip!/a", replace(SMALL, max_inflated_bytes=61_000))) == 60_000
    twice = zip_of({"in.zip": zip_of({"a": os.urandom(60_000)})})
    with pytest.raises(ArchiveTooLarge):
        content(twice, "in.zip!/a", replace(SMALL, max_inflated_bytes=100_000))
