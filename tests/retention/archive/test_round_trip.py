"""Whatever files went into an archive are listed, and each is read back singly."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveKind,
    FileKind,
    Limits,
    NoSuchFile,
    NotAnArchive,
    Reason,
    detect,
    list_files,
)
from retention.archive.source import CHUNK
from tests.retention.archive.making import (
    MAKERS,
    SMALL,
    content,
    hand_made,
    listing,
    tar_of,
    whole_entry,
    zip_of,
)

_NAME_PART = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="/\\:!"),
    min_size=1,
    max_size=12,
).filter(lambda part: part.strip(". ") != "")
_NAMES = st.lists(_NAME_PART, min_size=1, max_size=3).map("/".join)
_FILES = st.dictionaries(_NAMES, st.binary(max_size=3000), min_size=1, max_size=6)


@pytest.mark.parametrize("made_as", MAKERS)
@settings(max_examples=40, deadline=None)
@given(files=_FILES)
def test_any_files_are_listed_in_order_and_each_reads_equal(made_as: str, files: dict[str, bytes]) -> None:
    data = MAKERS[made_as](files)
    assert detect(io.BytesIO(data)) == made_as
    listed = listing(data)
    assert [(file.key, file.size, file.reason) for file in listed] == [
        (n, len(c), None) for n, c in files.items()
    ]
    assert {file.key: content(data, file.key) for file in listed} == files


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@settings(max_examples=15, deadline=None)
@given(seed=st.binary(min_size=1, max_size=50), repeats=st.integers(0, 30_000))
def test_every_supported_zip_method_reads_equal(method: int, seed: bytes, repeats: int) -> None:
    expected = seed * repeats
    assert content(zip_of({"log": expected}, method), "log", Limits()) == expected


@settings(max_examples=60, deadline=None)
@given(beyond=st.integers(-2, 600), chunks=st.integers(1, 3))
def test_what_deflate_still_holds_when_a_chunk_is_full_is_not_lost(beyond: int, chunks: int) -> None:
    expected = bytes(chunks * CHUNK + beyond)
    assert content(zip_of({"log": expected}), "log", Limits()) == expected
    assert content(gzip.compress(expected), "bundle", Limits()) == expected


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4), pad=st.integers(0, 600))
def test_a_single_gzip_even_joined_and_padded_reads_whole(parts: list[bytes], pad: int) -> None:
    data = b"".join(gzip.compress(part, mtime=86_400) for part in parts) + bytes(pad)
    (only,) = list_files(io.BytesIO(data), "folder/agent.log.gz", SMALL)
    assert (only.key, only.size, only.packed_size) == ("agent.log", None, len(data))
    assert only.modified == datetime(1970, 1, 2, tzinfo=UTC)
    assert content(data, "bundle") == b"".join(parts)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_tar_format_are_whole(tar_format: int) -> None:
    name = "/".join(["folder-with-a-long-name"] * 8) + "/file.log"
    assert content(tar_of({"first": b"1", name: b"found"}, tar_format), name) == b"found"


def test_zip64_entries_are_listed_and_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big.log", "w", force_zip64=True) as file:
        file.write(b"sixty-four")
    data = out.getvalue()
    assert [file.size for file in listing(data)] == [10]
    assert content(data, "big.log") == b"sixty-four"


def test_a_zip64_directory_of_many_entries_is_listed_whole() -> None:
    files = {f"f{n}": b"" for n in range(65_600)}
    assert len(listing(zip_of(files, zipfile.ZIP_STORED))) == 65_600


def test_data_descriptors_of_a_streamed_zip_do_not_disturb() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"first " * 99)
        archive.writestr("b", b"second")
    data = out.getvalue()
    assert b"PK\x07\x08" in data
    assert (content(data, "a"), content(data, "b")) == (b"first " * 99, b"second")


def test_names_written_by_windows_tools_keep_their_letters() -> None:
    utf8 = whole_entry("Protokoll/Größe.log".encode(), b"utf-8", flags=0x800)
    cp437 = whole_entry("Zähler.log".encode("cp437"), b"cp437")
    backslash = whole_entry(rb"logs\agent\a.log", b"old .NET")
    data = hand_made([utf8, cp437, backslash])
    listed = listing(data)
    assert [file.path for file in listed] == ["Protokoll/Größe.log", "Zähler.log", "logs/agent/a.log"]
    assert [content(data, file.key) for file in listed] == [b"utf-8", b"cp437", b"old .NET"]


def test_times_are_utc_from_the_extended_stamp_or_the_windows_one_or_else_the_dos_time() -> None:
    unix = b"UT\x05\x00\x01" + (1_700_000_000).to_bytes(4, "little")
    filetime = (1_700_000_000 + 11_644_473_600) * 10**7
    ntfs = b"\x0a\x00\x20\x00" + bytes(4) + b"\x01\x00\x18\x00" + filetime.to_bytes(8, "little") + bytes(16)
    entries = [
        whole_entry(name, b"", extra=extra) for name, extra in ((b"u", unix), (b"n", ntfs), (b"d", b""))
    ]
    stamp = datetime.fromtimestamp(1_700_000_000, UTC)
    assert [file.modified for file in listing(hand_made(entries))] == [
        stamp,
        stamp,
        datetime(2025, 1, 1, tzinfo=UTC),
    ]


def test_a_tar_time_beyond_any_calendar_is_no_time() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, mtime in (("a", "nan"), ("b", "1e300"), ("c", "60.5")):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"mtime": mtime}
            archive.addfile(info)
    times = [file.modified for file in listing(out.getvalue())]
    assert times == [None, None, datetime(1970, 1, 1, 0, 1, 0, 500_000, tzinfo=UTC)]


def test_folders_are_listed_and_not_readable() -> None:
    made_zip = zip_of({"logs/": b"", "logs/a": b"1"})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        folder = tarfile.TarInfo("logs")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    for data in (made_zip, out.getvalue()):
        first = listing(data)[0]
        assert (first.key, first.path, first.kind, first.reason) == (
            "logs/",
            "logs/",
            FileKind.FOLDER,
            Reason.FOLDER,
        )


def test_what_the_tar_command_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "größe.log").write_bytes(b"by GNU tar" * 1000)
    made = subprocess.run(
        ["tar", "-C", str(tmp_path / "in"), "-czf", "-", "."], check=True, capture_output=True
    )
    assert [(file.key, file.path) for file in listing(made.stdout)] == [
        ("./", "./"),
        ("./größe.log", "größe.log"),
    ]
    assert content(made.stdout, "./größe.log") == b"by GNU tar" * 1000


def test_an_empty_zip_lists_nothing() -> None:
    assert listing(zip_of({})) == []


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"a log line\n" * 100, bytes(10_240), b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c"]
)
def test_what_is_no_archive_is_said_to_be_none(data: bytes) -> None:
    assert detect(io.BytesIO(data)) is ArchiveKind.PLAIN
    with pytest.raises(NotAnArchive):
        listing(data)


@pytest.mark.parametrize("made_as", MAKERS)
def test_a_file_that_is_not_there_is_no_such_file(made_as: str) -> None:
    with pytest.raises(NoSuchFile):
        content(MAKERS[made_as]({"a": b"1"}), "b")
