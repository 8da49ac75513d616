"""Archives made to cost more than they are: refused before, or cut while, they do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from dataclasses import replace

import pytest

from retention.archive import (
    ArchiveDamaged,
    ArchiveTooLarge,
    FileNotReadable,
    Limits,
    Reason,
    list_files,
    open_file,
    walk_files,
)
from tests.retention.archive.making import (
    MAKERS,
    SMALL,
    CountingSource,
    Entry,
    content,
    hand_made,
    listing,
    raw_deflated,
    read_until_refused,
    sealed_zip,
    tar_of,
    whole_entry,
    zip_of,
)


def _refused(data: bytes, path: str, limits: Limits = SMALL) -> Reason:
    with pytest.raises(FileNotReadable) as refused:
        content(data, path, limits)
    return refused.value.reason


@pytest.mark.parametrize("line", [b"0x80070005 access denied\r\n" * 400_000, bytes(10 << 20)])
def test_what_only_streams_is_read_whatever_its_ratio(line: bytes) -> None:
    data = zip_of({"circular.etl": line, "log": b"fine"})
    assert [file.reason for file in listing(data)] == [None, None]
    assert content(data, "circular.etl") == line


@pytest.mark.parametrize("declared", [0, 1, 9_999])
def test_an_entry_that_inflates_past_its_declared_size_is_cut_with_an_error(declared: int) -> None:
    data = hand_made([Entry(b"a", raw_deflated(bytes(10_000)), declared, zlib.crc32(bytes(declared)))])
    sizes: list[int] = []
    with pytest.raises(ArchiveDamaged, match="past its declared size"):
        read_until_refused(open_file(io.BytesIO(data), "bundle", "a", SMALL).chunks, sizes)
    assert sum(sizes) <= declared


def test_an_entry_that_declares_more_than_it_holds_is_damaged() -> None:
    data = hand_made([Entry(b"a", raw_deflated(b"short"), 6, zlib.crc32(b"short"))])
    with pytest.raises(ArchiveDamaged, match="shorter"):
        content(data, "a")


def test_a_huge_declared_size_is_a_claim_that_reading_finds_false() -> None:
    data = hand_made([Entry(b"a", raw_deflated(b"short"), 0xFFFF_FFF0, 0)])
    assert listing(data)[0].size == 0xFFFF_FFF0
    with pytest.raises(ArchiveDamaged, match="shorter"):
        content(data, "a")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_inflating_takes_a_few_chunks_of_memory_whatever_comes_out(method: int) -> None:
    zeros = bytes(1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, archive.open("zeros", "w") as file:
        for _ in range(64):
            file.write(zeros)
    opened = open_file(out, "bundle", "zeros", Limits())
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in opened.chunks) == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def _quoting(count: int, kernel: bytes) -> bytes:
    """Fifield's quoted overlap: each entry's deflate stream quotes the next local header and runs on through it."""
    entry = whole_entry(b"f0", kernel)
    stack, plain = [(entry, entry.local() + entry.packed)], kernel
    for number in range(1, count):
        inner, header = stack[-1][1], stack[-1][0].local()
        quoted = struct.pack("<BHH", 0, len(header), 0xFFFF - len(header)) + inner
        plain = header + plain
        entry = Entry(f"f{number}".encode(), quoted, len(plain), zlib.crc32(plain))
        stack.append((entry, entry.local() + quoted))
    body = stack[-1][1]
    directory = b"".join(entry.central(len(body) - len(run)) for entry, run in stack)
    return sealed_zip(body, directory, len(stack))


def test_overlapping_entries_are_refused_all_but_the_kernel() -> None:
    data = _quoting(20, b"log" * 1000)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[7].file_size > 3000
    reasons = [file.reason for file in listing(data)]
    assert reasons == [None] + [Reason.OVERLAP] * 19
    assert content(data, "f0") == b"log" * 1000
    assert _refused(data, "f7") is Reason.OVERLAP


def test_entries_that_share_one_offset_are_refused_all_but_one() -> None:
    shared = whole_entry(b"a", b"log" * 1000)
    directory = b"".join(shared.central(0) for _ in range(30))
    reasons = [file.reason for file in listing(sealed_zip(shared.local() + shared.packed, directory, 30))]
    assert reasons.count(Reason.OVERLAP) == 29


def test_an_overlap_hidden_behind_a_long_local_extra_field_is_refused_when_opened() -> None:
    entry = whole_entry(b"a", b"log" * 1000)
    local = bytearray(entry.local())
    local[28:30] = (20).to_bytes(2, "little")
    data = sealed_zip(bytes(local) + entry.packed, entry.central(0), 1)
    assert _refused(data, "a") is Reason.OVERLAP


def test_a_file_that_is_refused_when_opened_ends_no_walk() -> None:
    wrong, other, whole_one = (whole_entry(name, b"x") for name in (b"a", b"b", b"c"))
    data = bytearray(hand_made([wrong, other, whole_one]))
    data[6] |= 1  # encrypted, by its own header alone
    data[data.index(b"b", 31)] = ord("B")  # the first b is the local header's
    found = list(walk_files(io.BytesIO(bytes(data)), "bundle"))
    assert [(one.file.key, one.fault is None) for one in found] == [("a", False), ("b", False), ("c", True)]
    nested = list(walk_files(io.BytesIO(zip_of({"in.zip": bytes(data), "d": b"d"})), "bundle"))
    assert [one.file.key for one in nested] == ["in.zip", "in.zip!/a", "in.zip!/b", "in.zip!/c", "d"]


def test_a_local_header_that_names_another_file_is_damage() -> None:
    data = hand_made([whole_entry(b"honest.log", b"x")])
    with pytest.raises(ArchiveDamaged):
        content(data.replace(b"honest.log", b"forged.log", 1), "honest.log")


@pytest.mark.parametrize("made_as", MAKERS)
def test_too_many_entries_stop_the_listing(made_as: str) -> None:
    data = MAKERS[made_as]({f"f{n}": b"" for n in range(101)})
    assert len(listing(data, replace(SMALL, max_entries=101))) == 101
    with pytest.raises(ArchiveTooLarge):
        listing(data, replace(SMALL, max_entries=100))


def test_a_zip_directory_past_either_limit_is_listed_up_to_it() -> None:
    data = zip_of({f"{n:0200}": b"" for n in range(2000)})
    for limits in (replace(SMALL, max_entries=1999), replace(SMALL, max_directory_bytes=200_000)):
        found: list[str] = []
        with pytest.raises(ArchiveTooLarge):
            found.extend(file.key for file in list_files(io.BytesIO(data), "bundle", limits))
        assert 800 < len(found) < 2000


def test_a_directory_that_claims_more_bytes_than_the_file_has_is_damage() -> None:
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 0xFFFF_FFF0, 0, 0)
    data = b"PK\3\4" + bytes(100) + end
    with pytest.raises(ArchiveDamaged):
        listing(data)


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2001])
def test_an_encrypted_entry_is_listed_and_not_readable(flags: int) -> None:
    data = hand_made([whole_entry(b"secret", b"x", flags=flags), whole_entry(b"log", b"y")])
    assert [file.reason for file in listing(data)] == [Reason.ENCRYPTED, None]
    assert _refused(data, "secret") is Reason.ENCRYPTED


def test_an_entry_encrypted_only_by_its_local_header_is_refused_when_opened() -> None:
    entry = whole_entry(b"a", b"x")
    data = sealed_zip(whole_entry(b"a", b"x", flags=1).local() + entry.packed, entry.central(0), 1)
    assert _refused(data, "a") is Reason.ENCRYPTED


@pytest.mark.parametrize("method", [1, 6, 10, 97, 99])
def test_an_unsupported_method_is_listed_and_not_readable(method: int) -> None:
    data = hand_made([whole_entry(b"a", b"x", method=method)])
    assert _refused(data, "a") is Reason.METHOD


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (0o120777, Reason.LINK),
        (0o020600, Reason.DEVICE),
        (0o010600, Reason.DEVICE),
        (0o040755, Reason.FOLDER),
    ],
)
def test_links_devices_and_folders_by_unix_mode_are_not_readable(mode: int, reason: Reason) -> None:
    assert _refused(hand_made([whole_entry(b"a", b"/etc/passwd", mode=mode)]), "a") is reason


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (tarfile.SYMTYPE, Reason.LINK),
        (tarfile.LNKTYPE, Reason.LINK),
        (tarfile.CHRTYPE, Reason.DEVICE),
        (tarfile.FIFOTYPE, Reason.DEVICE),
        (tarfile.GNUTYPE_SPARSE, Reason.SPARSE),
        (b"Z", Reason.METHOD),
    ],
)
def test_what_is_no_plain_file_in_a_tar_is_not_readable(type_: bytes, reason: Reason) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = type_, "/etc/passwd"
    assert _refused(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024), "a") is reason


def _lzma_entry(dictionary: int, size: int, properties: int = 0x5D) -> bytes:
    packed = b"\x09\x04\x05\x00" + struct.pack("<BI", properties, dictionary) + bytes(64)
    return hand_made([Entry(b"a", packed, size, 0, method=zipfile.ZIP_LZMA)])


def test_an_lzma_dictionary_past_the_limit_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(ArchiveTooLarge):
        content(_lzma_entry(0xFFFF_FFFF, 0x7FFF_FFFF), "a")


@pytest.mark.parametrize("properties", [0xE1, 0xFF, 8 + 9 * 4])
def test_lzma_properties_that_make_no_sense_are_damage(properties: int) -> None:
    with pytest.raises(ArchiveDamaged):
        content(_lzma_entry(1 << 16, 1000, properties), "a")


def test_a_gzip_is_read_to_its_end_whatever_its_ratio_in_a_few_chunks_of_memory() -> None:
    data = gzip.compress(bytes(50_000_000))
    opened = open_file(io.BytesIO(data), "bundle", "bundle", SMALL)
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in opened.chunks) == 50_000_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_tar_gz_bomb_is_cut_while_it_is_listed() -> None:
    data = gzip.compress(tar_of({"first": b"1", "zeros": bytes(50_000_000), "after": b"x"}))
    found: list[str] = []
    with pytest.raises(ArchiveTooLarge, match="bomb"):
        found.extend(
            file.key for file in list_files(io.BytesIO(data), "bundle", replace(SMALL, max_work=10_000_000))
        )
    assert found == ["first", "zeros"]


@pytest.mark.parametrize("inside", ["", "in.tgz"])
def test_each_name_that_is_handed_over_renews_the_work_of_a_long_list(inside: str) -> None:
    data = gzip.compress(tar_of({f"{number}.log": bytes(300_000) for number in range(20)}))
    data = zip_of({"in.tgz": data}, zipfile.ZIP_STORED) if inside else data
    limits = replace(SMALL, max_work=1 << 20)
    assert len(list(list_files(io.BytesIO(data), "bundle", limits, inside=inside))) == 20
    with pytest.raises(ArchiveTooLarge, match="bomb"):  # on the way to a file nothing is handed over
        content(data, "in.tgz!/19.log" if inside else "19.log", limits)


def test_a_bomb_before_the_file_asked_for_is_cut_on_the_way() -> None:
    data = zip_of({"in.zip": zip_of({"bomb": bytes(20_000_000), "a": b"x"}, zipfile.ZIP_STORED)})
    assert content(data, "in.zip!/a") == b"x"
    with pytest.raises(ArchiveTooLarge):
        content(data, "in.zip!/a", replace(SMALL, max_work=10_000_000))


def test_a_long_file_may_take_more_work_than_the_limit_since_each_piece_renews_it() -> None:
    data = gzip.compress(bytes(5_000_000))
    assert len(content(data, "bundle", replace(SMALL, max_work=600_000))) == 5_000_000


def test_packed_bytes_that_decode_to_nothing_are_work_too() -> None:
    """Empty stored blocks of deflate may go on for ever, and outer levels pack them a thousandfold."""
    empty = b"\x00\x00\x00\xff\xff" * 400_000
    with pytest.raises(ArchiveTooLarge):
        content(hand_made([Entry(b"a", empty, 1, 0)]), "a", replace(SMALL, max_work=100_000))


def test_a_gzip_joined_from_too_many_empty_ones_is_refused() -> None:
    with pytest.raises(ArchiveTooLarge):
        content(gzip.compress(b"") * 60, "bundle", replace(SMALL, max_entries=50))


def _tar_header(type_: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("a")
    info.type, info.size = type_, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("type_", [b"x", b"g", b"L", b"K"])
def test_an_extended_header_past_the_limit_is_refused_before_it_is_read(type_: bytes) -> None:
    source = CountingSource(_tar_header(type_, 4_000_000) + bytes(4_000_256) + tar_of({"a": b"x"}))
    with pytest.raises(ArchiveTooLarge):
        list(list_files(source, "bundle", SMALL))
    assert source.total < 100_000


@pytest.mark.parametrize(
    ("type_", "size"),
    [
        (b"0", -1),
        (b"0", -512),
        (b"0", -100_000),
        (b"S", -512),
        (b"S", -100_000),
        (b"x", -512),
        (b"L", -100_000),
    ],
)
def test_negative_sizes_are_damage_and_never_walk_backwards(type_: bytes, size: int) -> None:
    before = tar_of({"first": b"x"})[:1024]
    with pytest.raises(ArchiveDamaged):
        listing(before + _tar_header(type_, size) + bytes(512) + tar_of({"z": b"x"}))


@pytest.mark.parametrize(
    "body",
    [
        b"1" * 20_000,
        b"1 " * 10_000 + b"=",
        b"9 k=" + b"v" * 100,
        b"5 k=v",
        b"0 k=v\n",
        b"999999 k=v\n",
        b"20010 k=" + b"7" * 20_001 + b"\n",
    ],
)
def test_pax_records_that_are_not_well_formed_are_damage(body: bytes) -> None:
    padded = body + bytes(-len(body) % 512)
    with pytest.raises(ArchiveDamaged):
        listing(_tar_header(b"x", len(body)) + padded + tar_of({"a": b"x"}))


def _pax(records: list[bytes]) -> bytes:
    body = b"".join(b"%d %s" % (len(record) + 4, record + b"\n") for record in records)
    return _tar_header(b"x", len(body)) + body + bytes(-len(body) % 512)


def test_a_sparse_map_cut_short_ends_in_an_error_and_not_never() -> None:
    sparse = [b"GNU.sparse.major=1", b"GNU.sparse.minor=0"]
    with pytest.raises(ArchiveDamaged):
        listing(_pax(sparse) + _tar_header(b"0", 512) + b"99999\n0\n".ljust(512, b"0"))


def test_global_headers_do_not_pile_up() -> None:
    record = [b"%05d=%s" % (n, b"v" * 4) for n in range(150)]
    header = bytearray(_pax(record))
    header = bytearray(_tar_header(b"g", sum(len(r) + 4 for r in record))) + header[512:]
    with pytest.raises(ArchiveTooLarge):
        listing(bytes(header) + tar_of({"a": b"x"}))


@pytest.mark.parametrize("packer", [bz2.compress, lzma.compress])
def test_archives_of_other_kinds_are_plain_files(packer: object) -> None:
    data = zip_of({"a.xz": packer(b"x")})  # type: ignore[operator]
    assert listing(data)[0].readable
