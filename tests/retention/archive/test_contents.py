"""A contents index says what a walk of the archives says, and what reading each file finds."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import zipfile
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import (
    ArchiveBusy,
    ArchivedFile,
    ArchiveError,
    FileKind,
    Limits,
    Memory,
    Reason,
    list_files,
)
from retention.archive import contents as contents_module
from retention.archive.contents import (
    ContentsIndex,
    IndexedFile,
    UnknownIndex,
    file_fields,
    file_from,
)
from retention.archive.indexing import write_index
from retention.sandbox.children import Child
from retention.text.line_index import Seen
from tests.retention.archive.making import MAKERS, hand_made, tar_of, tgz_of, whole_entry, zip_of

MIB = 1 << 20
LOG = b"".join(
    b"2026-11-29 02:%02d:%02d, Info CBS line %d\r\n" % (n // 60 % 60, n % 60, n) for n in range(30_000)
)
FILES = {
    "health.log": LOG,
    "wide.log": "Größe\r\n2026-11-29T10:00:00Z end".encode("utf-16"),
    "System.evtx": b"ElfFile\0" + bytes(5000),
    "empty": b"",
    "noise.bin": random.Random(7).randbytes(70_000),
    "no.zip": b"only its name is an archive's",
}


def made(data: bytes, name: str = "bundle", **more: Any) -> tuple[ContentsIndex, bool]:
    out = bytearray()
    is_whole = write_index(io.BytesIO(data), name, out.extend, Memory(64 * MIB), **more)
    return reading(bytes(out)), is_whole


def reading(raw: bytes) -> ContentsIndex:
    return ContentsIndex(lambda at, length: raw[at : at + length], len(raw))


def walked(data: bytes, inside: str) -> tuple[list[ArchivedFile], str | None]:
    files: list[ArchivedFile] = []
    try:
        for file in list_files(io.BytesIO(data), "bundle", inside=inside):
            files.append(file)
    except ArchiveError as error:
        return files, str(error)
    return files, None


def shown(file: ArchivedFile) -> tuple[object, ...]:
    """All of a file that anybody is shown."""
    key = file.key if file.readable else file.path
    return key, *(
        getattr(file, name)
        for name in ("path", "kind", "size", "packed_size", "modified", "reason", "guessed")
    )


def agrees(data: bytes, index: ContentsIndex) -> int:
    """Hold every archive of the index to a walk of it; return how many files there are."""
    number = 0
    for key in index.archives:
        archive = index.archive(key)
        files, error = walked(data, key)
        if archive is None:
            assert error is not None and files == [], "walking says why nothing can be listed"
            continue
        assert [shown(one.file) for one in index.files(archive)] == [shown(file) for file in files]
        assert (archive.number, archive.incomplete) == (len(files), error)
        number += len(files)
    return number


@pytest.mark.parametrize("outer", MAKERS)
@pytest.mark.parametrize("inner", MAKERS)
def test_each_archive_in_each_lists_what_a_walk_lists(outer: str, inner: str) -> None:
    nested = MAKERS[inner](FILES)
    data = MAKERS[outer](
        {f"inner.{inner}": nested, **FILES, "again/deep.zip": zip_of({f"x.{inner}": nested})}
    )
    index, is_whole = made(data)
    assert is_whole
    assert set(index.archives) == {"", f"inner.{inner}", "again/deep.zip", f"again/deep.zip!/x.{inner}"}
    assert agrees(data, index) == 3 * len(FILES) + 3


def test_reading_a_file_finds_its_bytes_its_kind_its_checksum_and_its_text() -> None:
    index, _ = made(zip_of({"a.zip": tgz_of(FILES), **FILES}))
    for prefix in ("", "a.zip!/"):
        found = {name: index.find(prefix + name) for name in FILES}
        for name, content in FILES.items():
            one = found[name]
            assert one is not None and one.content is not None and one.fault is None
            assert (one.content.size, one.content.crc) == (len(content), zlib.crc32(content))
        kinds = {name: one.content.what for name, one in found.items() if one and one.content}
        assert kinds == {
            **dict.fromkeys(("health.log", "wide.log", "empty", "no.zip"), "text"),
            **{"System.evtx": "event log", "noise.bin": "binary"},
        }
        log = found["health.log"]
        assert log is not None and log.content is not None and log.content.text is not None
        text = log.content.text
        assert (text.detected.encoding.name, text.lines) == ("utf-8", 30_000)
        assert text.seen == Seen(
            datetime(2026, 11, 29, 2, tzinfo=UTC), datetime(2026, 11, 29, 2, 59, 59, tzinfo=UTC)
        )
        lines = index.line_index(text)
        assert lines is not None and len(lines.spans) > 2
        assert all(LOG[: span.offset].count(b"\n") == span.number - 1 for span in lines.spans)
        wide = found["wide.log"]
        assert wide is not None and wide.content is not None and wide.content.text is not None
        assert wide.content.text.detected.encoding.name == "utf-16-le"
        assert wide.content.text.lines == 2 and index.line_index(wide.content.text) is None
    assert index.find("a.zip") == next(iter(index.files(index.archive("")))), "an archive is a file too"  # type: ignore[arg-type]
    assert [index.find(key) for key in ("missing", "a.zip!/missing", "b.zip!/x", "a.zip!/")] == [None] * 4


def test_refused_names_and_the_second_file_of_a_name_are_as_in_a_walk() -> None:
    names = [
        b"../up",
        b"a\x01b",
        b"same",
        b"same",
        b"C:/x",
        b"n" * 2000,
        b"in!/side",
        b"\x82.txt",
        b"a.zip!/x",
    ]
    entries = [whole_entry(name, b"content") for name in names]
    inner = hand_made(entries)
    data = hand_made([whole_entry(b"a.zip", inner), *entries])
    index, _ = made(data)
    assert agrees(data, index) == 2 * len(names) + 1
    second = index.find("a.zip!/same!#2")
    assert second is not None and second.content is not None and second.content.size == 7
    assert index.find("../up") is None, "nobody opens it"


def test_a_file_that_cannot_be_read_costs_the_index_that_file() -> None:
    wrong = whole_entry(b"wrong.log", b"content")
    wrong.crc ^= 1
    data = hand_made([wrong, whole_entry(b"right.log", b"content")])
    index, is_whole = made(data)
    agrees(data, index)
    found = index.find("wrong.log")
    assert is_whole and found is not None and found.content is None
    assert found.fault is not None and "checksum" in found.fault
    assert (right := index.find("right.log")) is not None and right.content is not None


def test_an_archive_damaged_further_on_is_in_the_index_as_far_as_it_goes_and_one_with_nothing_is_not() -> (
    None
):
    cut, none = zip_of(FILES)[:-200], b"PK\x03\x04 and no more"
    data = tar_of({"cut.zip": cut, "none.zip": none, "b.log": b"after"})
    index, is_whole = made(data)
    assert is_whole and {key for key in index.archives if index.archive(key)} == {"", "cut.zip"}
    archive = index.archive("cut.zip")
    assert archive is not None and archive.incomplete is not None and archive.number
    assert agrees(data, index) == 3 + archive.number
    assert "none.zip" in index.archives
    index, _ = made(data[: data.index(b"after")])
    assert (index.archive("").incomplete) is not None  # type: ignore[union-attr]
    assert made(none)[0].archive("") is None
    assert made(b"PK00PK\x03\x04 one volume")[0].archives == ()


@pytest.mark.parametrize("is_nested", [True, False])
def test_an_archive_whose_decoder_lost_its_child_is_not_in_the_index_and_is_walked(
    monkeypatch: pytest.MonkeyPatch, is_nested: bool
) -> None:
    """It is killed in the middle, as for want of memory on the machine: the archive may be whole."""
    packed = zstd.compress(tar_of({f"{n}.log": random.Random(n).randbytes(200_000) for n in range(20)}))
    data = zip_of({"in.tar.zst": packed, "z.log": b"z"}) if is_nested else packed
    real, asked = Child.ask, 0

    def dying(child: Child, *given: Any) -> tuple[int, bytes, bytes]:
        nonlocal asked
        asked += 1
        if asked == 12:
            os.kill(child.pid, signal.SIGKILL)
        return real(child, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Child, "ask", dying)
        index, _ = made(data)
    assert index.archive("in.tar.zst" if is_nested else "") is None
    assert not is_nested or [file.file.key for file in index.files(index.archive(""))] == [  # type: ignore[arg-type]
        "in.tar.zst",
        "z.log",
    ]


def test_a_bundle_that_is_no_archive_is_one_file() -> None:
    index, is_whole = made(LOG)
    assert is_whole and index.archives == ()
    assert index.bundle is not None and index.bundle.text is not None
    assert (index.bundle.size, index.bundle.text.lines) == (len(LOG), 30_000)


@given(data=st.data(), files=st.integers(1, 900))
@settings(max_examples=40, deadline=None)
def test_any_page_is_that_part_of_the_list_and_unpacks_its_own_blocks(
    data: st.DataObject, files: int
) -> None:
    index, _ = made(zip_of({f"logs/{number:05}.log": b"x" for number in range(files)}, zipfile.ZIP_STORED))
    archive = index.archive("")
    assert archive is not None and archive.number == files
    start, limit = data.draw(st.integers(0, files + 5)), data.draw(st.integers(1, 300))
    unpacked: list[int] = []
    real = index._rows
    index._rows = lambda at, length: unpacked.append(at) or real(at, length)  # type: ignore[assignment, func-returns-value]
    page = [one.file.key for one, _ in zip(index.files(archive, start), range(limit), strict=False)]
    assert page == [f"logs/{number:05}.log" for number in range(start, min(files, start + limit))]
    assert len(unpacked) <= 2 + limit // 256


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
LISTED = st.builds(
    ArchivedFile,
    key=NAMES,
    path=NAMES,
    kind=st.sampled_from(FileKind),
    size=st.none() | st.integers(0, 1 << 40),
    packed_size=st.none() | st.integers(0, 1 << 40),
    modified=st.none() | st.just(datetime(2026, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC)),
    reason=st.none() | st.sampled_from(Reason),
    guessed=st.none() | st.just("cp437"),
)


@given(listed=LISTED)
def test_a_listed_file_is_the_same_after_json(listed: ArchivedFile) -> None:
    assert shown(file_from(json.loads(json.dumps(file_fields(listed))))) == shown(listed)


def test_when_the_time_is_over_the_index_ends_and_what_was_whole_is_in_it() -> None:
    data = zip_of({"a.zip": zip_of(FILES), "b.log": random.Random(1).randbytes(5 * MIB)}, zipfile.ZIP_STORED)
    left = 10**9
    index, is_whole = made(data, stop=lambda: False)
    assert is_whole
    reads = 0

    def stop() -> bool:
        nonlocal reads
        reads += 1
        return reads > left

    made(data, stop=stop)
    reads, left = 0, reads - 4
    index, is_whole = made(data, stop=stop)
    assert not is_whole and index.archives == ("a.zip",)
    assert agrees(data, index) == len(FILES)


def test_what_does_not_fit_the_index_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zip_of({f"{number}.zip": zip_of({"a": b"x"}) for number in range(20)})
    monkeypatch.setattr(contents_module, "MOST_FILES", 25)
    index, is_whole = made(data)
    assert not is_whole and index.archive("") is None and index.archive("3.zip") is not None
    monkeypatch.undo()
    monkeypatch.setattr(contents_module, "MOST_DIRECTORY", 200)
    index, is_whole = made(data)
    assert not is_whole and 0 < len(index.archives) < 20


@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: zip_of({"inner.tar.xz": data, "b.zip": data})]
)
def test_without_memory_for_a_decoder_the_index_is_not_made_but_another_time(wrap: Any) -> None:
    data = wrap(MAKERS["tar.xz"](FILES))
    memory = Memory(80 * MIB)
    lease = memory.lease(79 * MIB)
    with pytest.raises(ArchiveBusy):
        write_index(io.BytesIO(data), "bundle", lambda raw: None, memory)
    assert lease is not None


@pytest.mark.parametrize("change", ["format", "short", "empty", "directory"])
def test_bytes_that_are_no_index_of_this_version_are_said_to_be_none(change: str) -> None:
    out = bytearray()
    write_index(io.BytesIO(zip_of(FILES)), "bundle", out.extend, Memory(MIB))
    raw = bytes(out)
    end = contents_module.END
    at, length, _ = end.unpack(raw[-end.size :])
    changed = {
        "format": raw[:-1] + b"2",
        "short": raw[1:],
        "empty": b"",
        "directory": raw[:at] + bytes(length) + raw[-end.size :],
    }[change]
    with pytest.raises(UnknownIndex):
        reading(changed)


def test_a_run_that_would_unpack_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    out = bytearray()
    write_index(io.BytesIO(zip_of(FILES)), "bundle", out.extend, Memory(MIB))
    index = reading(bytes(out))
    monkeypatch.setattr(contents_module, "_UNPACKED_BLOCK", 10)
    with pytest.raises(UnknownIndex, match="more than 10 bytes"):
        index.find("health.log")
    monkeypatch.setattr(contents_module, "_UNPACKED_DIRECTORY", 10)
    with pytest.raises(UnknownIndex):
        reading(bytes(out))


def test_archives_deeper_than_are_opened_are_files() -> None:
    data = zip_of({"x.log": b"deep"})
    for depth in range(8):
        data = zip_of({f"{depth}.zip": data})
    index, _ = made(data)
    assert len(index.archives) == Limits().max_depth
    assert agrees(data, index) == Limits().max_depth
    assert isinstance(index.find("7.zip"), IndexedFile)
