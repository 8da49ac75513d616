"""A zip's list of files: as real writers leave it, cut, split, behind a program, and as long as it may be."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveDamaged,
    ArchivedFile,
    ArchiveKind,
    FileNotReadable,
    Reason,
    SplitArchive,
    detect,
    list_files,
)
from tests.retention.archive.making import content, hand_made, listing, whole_entry, zip_of

_RANDOM = random.Random(13)
_FILES = {f"n{number}.log": _RANDOM.randbytes(2000) for number in range(20)}


def _until_error(data: bytes) -> tuple[list[ArchivedFile], Exception | None]:
    found: list[ArchivedFile] = []
    try:
        found.extend(list_files(io.BytesIO(data), "bundle"))
    except ArchiveDamaged as error:
        return found, error
    return found, None


@settings(max_examples=80, deadline=None)
@given(kept=st.integers(100, 20 * 2035))
@example(kept=2066)  # behind a header, before its name
@example(kept=2069)  # in a name
def test_a_zip_cut_short_lists_and_reads_what_stands_before_the_cut_and_says_so(kept: int) -> None:
    data = zip_of(_FILES, zipfile.ZIP_STORED)[:kept]
    found, error = _until_error(data)
    assert error is not None and "directory" in str(error)
    whole = [file for file in found if file.readable]
    assert len(whole) == kept // (2000 + 30 + 6) or len(whole) >= kept // 2040
    assert all(content(data, file.key) == _FILES[file.key] for file in whole)
    assert [file.reason for file in found[len(whole) :]] in ([], [Reason.CUT])


def test_a_zip_behind_a_program_is_opened_by_its_end_record() -> None:
    data = b"MZ" + bytes(510) + zip_of({"setup.log": b"s\n"})
    assert [file.key for file in listing(data)] == ["setup.log"]
    assert content(data, "setup.log") == b"s\n"


@pytest.mark.parametrize("before", [b"", b"MZ" + bytes(510)])
@pytest.mark.parametrize("offset", [1 << 40, 2**64 - 1])
def test_an_offset_past_the_directory_is_refused_and_costs_no_other_file(before: bytes, offset: int) -> None:
    lying = whole_entry(b"b", b"2", extra=struct.pack("<2HQ", 1, 8, offset), offset=0xFFFF_FFFF)
    data = before + hand_made([whole_entry(b"a", b"1"), lying])
    assert [(file.key, file.reason) for file in listing(data)] == [("a", None), ("b", Reason.OVERLAP)]
    assert content(data, "a") == b"1"
    with pytest.raises(FileNotReadable) as refused:
        content(data, "b")
    assert refused.value.reason is Reason.OVERLAP


@pytest.mark.parametrize(
    "end",
    [
        (0, 0, 1, 1, 0x7FFF_FFFF, 0),  # a directory longer than the file
        (7, 9, 1, 2, 46, 0),  # of some other volume
        (0, 0, 1, 1, 46, 0),  # no directory where it says
    ],
)
def test_a_program_that_holds_the_mark_of_an_end_record_is_a_plain_file(end: tuple[int, ...]) -> None:
    data = b"MZ" + bytes(1000) + struct.pack("<4s4H2IH", b"PK\5\6", *end, 0)
    assert detect(io.BytesIO(data)) is ArchiveKind.PLAIN


def test_a_long_comment_hides_no_end_record() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        archive.comment = b"c" * 65_535
    assert content(out.getvalue(), "a") == b"1"


def test_a_name_whose_bytes_are_utf8_is_utf8_whatever_its_flag_says() -> None:
    (file,) = listing(hand_made([whole_entry("Größe.log".encode(), b"u")]))
    assert (file.key, file.guessed) == ("Größe.log", None)


def test_a_unicode_path_field_counts_where_it_is_about_this_name() -> None:
    raw, name = "Größe.log".encode("cp850"), "Größe.log".encode()
    for crc, expected in ((zlib.crc32(raw), ("Größe.log", None)), (1, (raw.decode("cp437"), "cp437"))):
        extra = struct.pack("<2HBI", 0x7075, 5 + len(name), 1, crc) + name
        (file,) = listing(hand_made([whole_entry(raw, b"u", extra=extra)]))
        assert (file.key, file.guessed) == expected


def test_a_name_flagged_as_utf8_that_is_not_costs_no_other_file() -> None:
    data = hand_made([whole_entry(b"caf\x82.log", b"1", flags=0x800), whole_entry(b"b", b"2")])
    assert [(file.key, file.guessed) for file in listing(data)] == [("café.log", "cp437"), ("b", None)]
    assert content(data, "café.log") == b"1"


def test_a_hundred_and_ten_thousand_files_are_listed() -> None:
    data = zip_of({f"{n}": b"" for n in range(110_000)}, zipfile.ZIP_STORED)
    assert sum(1 for _ in list_files(io.BytesIO(data), "bundle")) == 110_000


def test_a_volume_of_a_split_zip_is_said_to_be_one() -> None:
    data = zip_of({"a": b"1"})
    last, first = data[:-18] + b"\1\0" + data[-16:], b"PK\7\x08" + data[:60]
    for volume in (last, first):
        with pytest.raises(SplitArchive, match="volume"):
            listing(volume)


def test_a_split_zip_that_stayed_in_one_piece_is_read() -> None:
    assert content(b"PK00" + zip_of({"a": b"1"}), "a") == b"1"
