"""Kept lists give back the files that were kept, in the memory that is leased and one block beside it."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from datetime import UTC, datetime
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import ArchivedFile, FileKind, Memory, Reason, list_files
from retention.custody.reading.kept_lists import BLOCK_BYTES, ListKeeper
from tests.retention.archive.making import zip_of

MIB = 1 << 20
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_files = st.builds(
    ArchivedFile,
    key=st.tuples(_names, st.sampled_from([1, 1, 20_000])).map(lambda pair: pair[0] * pair[1]),
    path=_names,
    kind=st.sampled_from(FileKind),
    size=st.none() | st.integers(0, 1 << 40),
    packed_size=st.none() | st.integers(0, 1 << 40),
    modified=st.none() | st.just(datetime(2026, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC)),
    reason=st.none() | st.sampled_from(Reason),
    guessed=st.none() | st.just("cp437"),
)


def _kept(files: list[ArchivedFile], memory: Memory) -> ListKeeper:
    keeper = ListKeeper(memory)
    for file in files:
        keeper.add(file)
    keeper.finish()
    return keeper


def _page(kept: ListKeeper, start: int, limit: int) -> list[ArchivedFile]:
    return list(islice(kept.files(start), limit))


@settings(max_examples=60, deadline=None)
@given(
    few=st.lists(_files, min_size=1, max_size=8),
    times=st.integers(1, 100),
    start=st.integers(0, 900),
    limit=st.integers(1, 400),
)
def test_any_page_is_that_part_of_the_list(
    few: list[ArchivedFile], times: int, start: int, limit: int
) -> None:
    files, memory = few * times, Memory(64 * MIB)
    kept = _kept(files, memory)
    page = _page(kept, start, limit)
    shown = [file.key if file.readable else file.path for file in files[start : start + limit]]
    assert [file.key for file in page] == shown
    assert [(file.path, file.kind, file.size, file.packed_size) for file in page] == [
        (file.path, file.kind, file.size, file.packed_size) for file in files[start : start + limit]
    ]
    assert [(file.modified, file.reason, file.guessed) for file in page] == [
        (file.modified, file.reason, file.guessed) for file in files[start : start + limit]
    ]
    assert memory.held == kept.size == sum(map(len, kept.blocks))


def test_the_longest_names_take_a_block_of_memory_unpacked_and_no_more() -> None:
    long, refused = "\U0001f4c1" * 1024, "\x01" * 65_000
    memory = Memory(64 * MIB)
    tracemalloc.start()
    try:
        keeper = ListKeeper(memory)
        for number in range(600):
            keeper.add(ArchivedFile(refused + str(number), "p", FileKind.FILE, 1, 1, None, Reason.LONG_NAME))
            keeper.add(ArchivedFile(f"{long}{number}", f"{long}{number}", FileKind.FILE, 1, 1, None, None))
        keeper.finish()
        page = _page(keeper, 700, 4)
        assert tracemalloc.get_traced_memory()[1] < memory.held + 8 * BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert [file.path for file in page] == ["p", f"{long}350", "p", f"{long}351"]


def test_the_list_of_an_archive_of_the_longest_names_is_kept_and_shown_in_little_memory() -> None:
    data = zip_of({"\x01" * 60_000 + str(number): b"" for number in range(300)}, zipfile.ZIP_STORED)
    memory = Memory(64 * MIB)
    tracemalloc.start()
    try:
        files = list(list_files(io.BytesIO(data), "bundle", memory=memory))
        assert len(_page(_kept(files, memory), 100, 200)) == 200
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
