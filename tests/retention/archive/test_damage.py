"""Damaged archives end in one clear error; a fault of the source is never called damage."""

from __future__ import annotations

import gzip
import io
import random
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import ArchiveDamaged, ArchivedFile, ArchiveError, list_files, open_file
from tests.retention.archive.making import (
    MAKERS,
    SMALL,
    content,
    hand_made,
    listing,
    raw_deflated,
    tar_of,
    whole_entry,
)

_NOISE = random.Random(3000).randbytes(3000)  # the same in each run: a found example can be tried again
_FILES = {
    "a.log": b"line\n" * 500,
    "noise": _NOISE,
    "größe": b"",
    "in.zip": MAKERS["zip"]({"deep": b"x" * 90}),
}
_DATA = {kind: make(_FILES) for kind, make in MAKERS.items()} | {"gzip": gzip.compress(_NOISE)}


def _read_everything(data: bytes) -> dict[str, bytes]:
    """Return all that can be read. Only an ArchiveError may end the list, or one file of it."""
    listed: list[ArchivedFile] = []
    with suppress(ArchiveError):
        listed.extend(list_files(io.BytesIO(data), "bundle", SMALL))
    found: dict[str, bytes] = {}
    for file in listed:
        if file.readable:
            with suppress(ArchiveError):
                found[file.key] = content(data, file.key)
    return found


@pytest.mark.parametrize("kind", _DATA)
def test_what_is_whole_is_read_whole(kind: str) -> None:
    expected = _FILES if kind != "gzip" else {"bundle": _NOISE}
    assert _read_everything(_DATA[kind]) == expected


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("damaged", [name for name, data in _FILES.items() if data])
def test_damage_inside_one_file_costs_no_other(kind: str, damaged: str) -> None:
    data, packed = bytearray(_DATA[kind]), _DATA[kind].find(damaged.encode())
    position = packed + (512 if kind == "tar" else len(damaged.encode()) + 1)
    data[position] ^= 0x55
    found = _read_everything(bytes(data))
    assert {name for name in _FILES if found.get(name) != _FILES[name]} <= {damaged}


@pytest.mark.parametrize("kind", _DATA)
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_an_archive_cut_anywhere_gives_whole_files_or_a_clear_error(kind: str, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(_DATA[kind]) - 1))
    expected = _FILES if kind != "gzip" else {"bundle": _NOISE}
    for name, got in _read_everything(_DATA[kind][:cut]).items():
        assert got == expected[name]


@pytest.mark.parametrize("kind", _DATA)
@settings(max_examples=120, deadline=None)
@given(draw=st.data())
def test_whatever_bytes_are_changed_nothing_but_an_archive_error_comes(
    kind: str, draw: st.DataObject
) -> None:
    data = bytearray(_DATA[kind])
    for _ in range(draw.draw(st.integers(1, 4))):
        # Headers stand at both ends, so half of the changes go there.
        position = draw.draw(st.one_of(st.integers(0, len(data) - 1), st.integers(-200, 199)))
        data[position] = draw.draw(st.integers(0, 255))
    _read_everything(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08"]), st.binary(max_size=400))
def test_bytes_that_only_begin_like_an_archive_end_in_an_archive_error(magic: bytes, rest: bytes) -> None:
    _read_everything(magic + rest)


@pytest.mark.parametrize("kind", ["zip", "gzip", "tar.gz"])
def test_a_truncated_archive_is_said_to_be_damaged(kind: str) -> None:
    with pytest.raises(ArchiveDamaged):
        listing(_DATA[kind][:-800]) if kind != "gzip" else content(_DATA[kind][:-800], "bundle")


@pytest.mark.parametrize(
    ("kept", "keys"),
    [(512, ["a"]), (600, ["a"]), (1024, ["a"]), (1535, ["a"]), (1536, ["a", "b"]), (2048, ["a", "b"])],
)
def test_a_tar_without_its_end_lists_what_stands_before_and_then_says_so(kept: int, keys: list[str]) -> None:
    data = tar_of({"a": b"1", "b": b"2"})[:kept]
    found: list[ArchivedFile] = []
    with pytest.raises(ArchiveDamaged):
        found.extend(list_files(io.BytesIO(data), "bundle", SMALL))
    assert [file.key for file in found] == keys


def test_a_wrong_checksum_is_an_error_after_the_last_byte() -> None:
    entry = whole_entry(b"a", b"content")
    entry.crc ^= 1
    chunks = open_file(io.BytesIO(hand_made([entry])), "bundle", "a", SMALL).chunks
    assert next(chunks) == b"content"
    with pytest.raises(ArchiveDamaged, match="checksum"):
        next(chunks)


def test_a_gzips_wrong_checksum_is_an_error() -> None:
    data = bytearray(gzip.compress(b"content"))
    data[-6] ^= 1
    with pytest.raises(ArchiveDamaged):
        content(bytes(data), "bundle")


def test_bytes_after_a_gzip_that_are_not_gzip_are_an_error() -> None:
    with pytest.raises(ArchiveDamaged, match="follow"):
        content(gzip.compress(b"content") + b"appended", "bundle")


def test_deflate_without_its_end_is_judged_by_its_size_and_checksum() -> None:
    packed = raw_deflated(b"content")
    for cut, whole in ((1, True), (5, False)):
        entry = whole_entry(b"a", b"content")
        entry.packed = packed[:-cut]
        with nullcontext() if whole else pytest.raises(ArchiveDamaged):
            assert content(hand_made([entry]), "a") == b"content"


class StoreFault(OSError):
    pass


class SealBroken(ValueError):
    pass


class FailingSource(io.BytesIO):
    """Errs from the read after the allowed ones."""

    def __init__(self, data: bytes, allowed: int, fault: type[Exception]) -> None:
        super().__init__(data)
        self._allowed, self._fault = allowed, fault

    def readinto(self, buffer: object, /) -> int:
        self._allowed -= 1
        if self._allowed < 0:
            raise self._fault
        return super().readinto(buffer)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", [StoreFault, SealBroken])
@pytest.mark.parametrize("kind", _DATA)
def test_a_fault_of_the_source_passes_as_it_is(kind: str, fault: type[Exception]) -> None:
    faults = 0
    for allowed in range(12):
        source = FailingSource(_DATA[kind], allowed, fault)
        try:
            for file in list_files(source, "bundle", SMALL):
                b"".join(open_file(source, "bundle", file.key, SMALL).chunks)
        except fault:
            faults += 1
    assert faults >= 2
