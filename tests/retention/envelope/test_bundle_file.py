"""Reading a bundle across its parts, and what an adversary with the store can do to whole parts."""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.envelope import format as fmt
from retention.envelope.bundle_file import OPEN_PARTS, BundleOpener, SealedFile
from retention.envelope.data_keys import DataKey
from retention.envelope.format import SealBroken
from retention.envelope.manifest import Manifest, PartEntry
from tests.fakes.ids import part
from tests.fakes.sealing import B, Sealed, patterned, seal

KEY = DataKey(b"k" * 32)


class Shelf:
    """Stored parts by id; counts what is open."""

    def __init__(self, stored: dict[str, bytes]) -> None:
        self.stored = stored
        self.open_now = 0
        self.most_open = 0

    def open_part(self, part_id: str) -> _Stored:
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        return _Stored(self, self.stored[part_id])


class _Stored:
    def __init__(self, shelf: Shelf, content: bytes) -> None:
        self._shelf = shelf
        self._content = content

    def read_at(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    def close(self) -> None:
        self._shelf.open_now -= 1


def sealed_bundle(*contents: bytes) -> tuple[Manifest, dict[str, Sealed]]:
    parts = [seal(KEY, content, part_id=part(number)) for number, content in enumerate(contents)]
    offsets = [0, *itertools.accumulate(each.length for each in parts)]
    entries = [
        PartEntry(each.part_id, offset, each.length, each.digest)
        for each, offset in zip(parts, offsets, strict=False)
    ]
    return Manifest(B, entries), {each.part_id: each for each in parts}


def shelf_of(parts: dict[str, Sealed]) -> Shelf:
    return Shelf({part_id: each.sealed for part_id, each in parts.items()})


CONTENTS = [
    patterned(length, str(number))
    for number, length in enumerate([1, 5000, fmt.segment_start(1), fmt.segment_start(2) + 9, 1, 70_000, 3])
]
WHOLE = b"".join(CONTENTS)
MANIFEST, PARTS = sealed_bundle(*CONTENTS)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))
def test_any_range_crosses_parts_unseen(one: int, other: int) -> None:
    start, end = sorted((one, other))
    with BundleOpener(KEY, MANIFEST, shelf_of(PARTS).open_part) as opener:
        assert b"".join(opener.read(start, end - start)) == WHOLE[start:end]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(CONTENTS))), st.data())
def test_parts_received_in_any_order_read_in_the_manifests(order: list[int], data: st.DataObject) -> None:
    """The parts' ids, names and times of sealing say nothing about their order; the manifest alone does."""
    parts = [seal(KEY, CONTENTS[place][:2000], part_id=part(number)) for number, place in enumerate(order)]
    by_place = [parts[order.index(place)] for place in range(len(CONTENTS))]
    offsets = [0, *itertools.accumulate(each.length for each in by_place)]
    entries = [PartEntry(p.part_id, o, p.length, p.digest) for p, o in zip(by_place, offsets, strict=False)]
    shelf = shelf_of({each.part_id: each for each in parts})
    expected = b"".join(content[:2000] for content in CONTENTS)
    with BundleOpener(KEY, Manifest(B, entries), shelf.open_part) as opener:
        start = data.draw(st.integers(0, opener.length))
        assert b"".join(opener.read(start, opener.length - start)) == expected[start:]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, len(WHOLE) + 1), (len(WHOLE), 1), (5, -1)])
def test_a_range_outside_the_bundle_is_refused(offset: int, length: int) -> None:
    with (
        BundleOpener(KEY, MANIFEST, shelf_of(PARTS).open_part) as opener,
        pytest.raises(ValueError, match="is outside the bundle"),
    ):
        list(opener.read(offset, length))


def test_few_parts_are_open_at_a_time_and_none_afterwards() -> None:
    shelf = shelf_of(PARTS)
    with BundleOpener(KEY, MANIFEST, shelf.open_part) as opener:
        for _ in range(2):
            assert b"".join(opener.read(0, opener.length)) == WHOLE
        assert shelf.most_open == OPEN_PARTS
    assert shelf.open_now == 0


def test_read_through_is_all_of_it_and_reads_every_byte_of_the_store_once() -> None:
    shelf, read = shelf_of(PARTS), 0

    class Counted(_Stored):
        def read_at(self, offset: int, length: int) -> bytes:
            nonlocal read
            piece = super().read_at(offset, length)
            read += len(piece)
            return piece

    def counted(part_id: str) -> Counted:
        shelf.open_part(part_id)
        return Counted(shelf, shelf.stored[part_id])

    with BundleOpener(KEY, MANIFEST, counted) as opener:
        assert b"".join(opener.read_through()) == WHOLE
    assert read == sum(map(len, shelf.stored.values()))
    assert shelf.open_now == 0


def test_a_part_that_is_refused_is_closed() -> None:
    shelf = shelf_of(PARTS)
    shelf.stored[part(0)] = b""
    opener = BundleOpener(KEY, MANIFEST, shelf.open_part)
    with pytest.raises(SealBroken):
        opener.segment_at(0)
    assert shelf.open_now == 0


Tamper = Callable[[dict[str, bytes]], None]


def _swap(stored: dict[str, bytes]) -> None:
    stored[part(1)], stored[part(2)] = stored[part(2)], stored[part(1)]


def _copy_over(stored: dict[str, bytes]) -> None:
    stored[part(2)] = stored[part(1)]


def _replay(stored: dict[str, bytes]) -> None:
    """An earlier sealing under the same key and name, which would open by itself."""
    stored[part(1)] = seal(KEY, patterned(600, "earlier"), part_id=part(1)).sealed


def _of_another_bundle(stored: dict[str, bytes]) -> None:
    stored[part(1)] = seal(KEY, patterned(600, "1"), part_id=part(1), bundle_id="bdl_" + "z" * 26).sealed


def _truncate(stored: dict[str, bytes]) -> None:
    stored[part(1)] = stored[part(1)][:-1]


def _extend(stored: dict[str, bytes]) -> None:
    stored[part(1)] += b"\0"


@pytest.mark.parametrize("tamper", [_swap, _copy_over, _replay, _of_another_bundle, _truncate, _extend])
def test_a_swapped_replayed_or_resized_part_is_refused_by_name_before_any_byte(tamper: Tamper) -> None:
    manifest, parts = sealed_bundle(*(patterned(600, str(number)) for number in range(3)))
    shelf = shelf_of(parts)
    tamper(shelf.stored)
    seen: list[bytes] = []
    with BundleOpener(KEY, manifest, shelf.open_part) as opener, pytest.raises(SealBroken) as caught:
        seen.extend(opener.read(0, opener.length))
    assert b"".join(seen) in (b"", *itertools.accumulate(patterned(600, str(number)) for number in range(2)))
    assert caught.value.part_id in (part(1), part(2))
    assert caught.value.part_id in str(caught.value)


@pytest.mark.parametrize("tamper", [_swap, _copy_over, _replay, _of_another_bundle, _truncate, _extend])
def test_reading_through_does_not_end_well_on_such_a_part_either(tamper: Tamper) -> None:
    manifest, parts = sealed_bundle(*(patterned(600, str(number)) for number in range(3)))
    shelf = shelf_of(parts)
    tamper(shelf.stored)
    with BundleOpener(KEY, manifest, shelf.open_part) as opener, pytest.raises(SealBroken) as caught:
        list(opener.read_through())
    assert caught.value.part_id in (part(1), part(2))
    assert shelf.open_now == 0


def test_a_manifest_with_reordered_parts_opens_other_bytes_only_under_another_hash() -> None:
    manifest, parts = sealed_bundle(b"a" * 10, b"b" * 10)
    first, second = manifest.parts
    reordered = Manifest(
        B,
        [
            PartEntry(second.part_id, 0, 10, second.digest),
            PartEntry(first.part_id, 10, 10, first.digest),
        ],
    )
    with BundleOpener(KEY, reordered, shelf_of(parts).open_part) as opener:
        assert b"".join(opener.read(0, 20)) == b"b" * 10 + b"a" * 10
    assert reordered.hash() != manifest.hash()


def test_a_manifest_that_shortens_a_part_does_not_open() -> None:
    manifest, parts = sealed_bundle(patterned(fmt.segment_start(1) + 5))
    (entry,) = manifest.parts
    shorter = Manifest(B, [PartEntry(entry.part_id, 0, fmt.segment_start(1), entry.digest)])
    with BundleOpener(KEY, shorter, shelf_of(parts).open_part) as opener, pytest.raises(SealBroken):
        opener.segment_at(0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]), st.integers(-4000, 4000)),
        max_size=8,
    ),
    st.integers(0, 8000),
)
def test_the_sealed_file_behaves_as_a_file_in_memory(seeks: list[tuple[int, int]], length: int) -> None:
    with BundleOpener(KEY, MANIFEST, shelf_of(PARTS).open_part) as opener:
        ours, plain = io.BufferedReader(SealedFile(opener), 100), io.BytesIO(WHOLE)
        for whence, offset in seeks:
            origin = {os.SEEK_SET: 0, os.SEEK_CUR: plain.tell(), os.SEEK_END: len(WHOLE)}[whence]
            if origin + offset < 0:
                with pytest.raises((ValueError, OSError)):
                    ours.seek(offset, whence)
                continue
            assert ours.seek(offset, whence) == plain.seek(offset, whence)
            assert ours.read(length) == plain.read(length)
            assert ours.tell() == plain.tell()


def test_a_sealed_file_is_read_only_and_ends() -> None:
    with BundleOpener(KEY, MANIFEST, shelf_of(PARTS).open_part) as opener, SealedFile(opener) as file:
        assert file.readable() and file.seekable() and not file.writable()
        assert file.seek(0, os.SEEK_END) == len(WHOLE)
        assert file.read(10) == b""
        assert file.readinto(bytearray(0)) == 0
        file.seek(0)
        assert file.readall() == WHOLE


def test_an_archive_reader_works_on_it_and_opens_only_what_it_needs() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("large.log", patterned(fmt.segment_start(3)))
        archive.writestr("small.log", b"found")
    manifest, parts = sealed_bundle(made.getvalue())
    opened: list[int] = []

    class Counting(BundleOpener):
        def segment_at(self, offset: int) -> tuple[int, bytes]:
            opened.append(fmt.segment_of(offset)[0])
            return super().segment_at(offset)

    with Counting(KEY, manifest, shelf_of(parts).open_part) as opener:
        with zipfile.ZipFile(io.BufferedReader(SealedFile(opener), 4096)) as archive:
            assert archive.read("small.log") == b"found"
        assert set(opened) == {3}


def test_a_broken_seal_is_an_error_of_the_file_too() -> None:
    shelf = shelf_of(PARTS)
    shelf.stored[part(1)] = shelf.stored[part(1)][:-1] + b"\0"
    with BundleOpener(KEY, MANIFEST, shelf.open_part) as opener:
        file = SealedFile(opener)
        assert file.read(1) == WHOLE[:1]
        with pytest.raises(SealBroken):
            file.read(1)
