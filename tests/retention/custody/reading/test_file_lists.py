"""A list of files is the same with the contents index as without, page by page, and needs the same access."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention.archive import ArchivedFile, ArchiveError, FileKind
from retention.archive.contents import ContentsIndex
from retention.custody.contents_index import Pace, index_next
from retention.custody.erasure import erasure_steps
from retention.custody.reading import file_lists
from retention.custody.reading.file_lists import Asked, Listing, list_page, open_list
from retention.domain.faults import Erased, Refused
from retention.envelope.format import SealBroken
from tests.retention.archive.making import MAKERS, hand_made, tar_of, whole_entry, zip_of
from tests.retention.custody.world import HOUR, World, strict_world

NAMES = [
    b"../up",
    b"a\x01b",
    b"same",
    b"same",
    b"C:/x",
    b"n" * 2000,
    b"in!/side",
    b"\x82.txt",
    b"logs/",
    b"SAME.LOG",
]
INNER = hand_made([whole_entry(name, b"content") for name in NAMES])
MANY = zip_of({f"logs/{number:04}.log": b"x" for number in range(700)}, zipfile.ZIP_STORED)
CONTENT = hand_made(
    [
        *(whole_entry(name, b"content") for name in NAMES),
        *(
            whole_entry(f"{kind}.{kind}".encode(), make({"a.log": b"line\n"}))
            for kind, make in MAKERS.items()
        ),
        whole_entry(b"inner.zip", INNER),
        whole_entry(b"many.zip", MANY),
        whole_entry(b"cut.zip", MANY[:-5000]),
        whole_entry(b"none.zip", b"PK\x03\x04 and no more"),
        whole_entry(b"text.zip", b"only a name"),
        whole_entry(b"picture.jpg", zip_of({"x": b"y"})),
    ]
)
INSIDES = [
    *("", "inner.zip", "many.zip", "cut.zip", "none.zip", "text.zip", "picture.jpg", "missing", "same"),
    *(f"{kind}.{kind}" for kind in MAKERS),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with strict_world() as made:
        made.open_case()
        made.assign(made.engineer)
        made.grant()
        yield made


@pytest.fixture(scope="module")
def two(world: World) -> tuple[str, str]:
    """The same bundle twice, with its index and without."""
    with_index = world.upload(CONTENT)
    while index_next(world.custody, Pace(60)):
        pass
    assert world.row(with_index).index_id
    return with_index, world.upload(CONTENT)


def shown(file: ArchivedFile) -> list[Any]:
    key = file.key if file.readable else file.path
    return [
        key,
        *(getattr(file, name) for name in ("path", "kind", "size", "packed_size", "modified", "reason")),
    ]


def page_of(world: World, bundle: str, asked: Asked, start: int, limit: int) -> Any:
    try:
        page = list_page(world.custody, world.engineer, bundle, asked, start, limit)
    except ArchiveError as error:
        return type(error), str(error)
    return [shown(file) for file in page.files], page.following, page.incomplete


ASKED = st.builds(
    Asked,
    inside=st.sampled_from(INSIDES),
    named=st.sampled_from([None, None, "*", "*.log", "SAME*", "logs/00?0.log", "none of them"]),
    kind=st.sampled_from([None, None, *FileKind]),
)


@given(asked=ASKED, start=st.integers(0, 800), limit=st.integers(1, 300), kept=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_page_is_the_same_with_the_index(
    world: World, two: tuple[str, str], asked: Asked, start: int, limit: int, kept: bool
) -> None:
    if kept:
        for bundle in two:
            page_of(world, bundle, asked, 0, 1)
    else:
        world.custody.lists._lists.clear()
    assert page_of(world, two[0], asked, start, limit) == page_of(world, two[1], asked, start, limit)


@pytest.mark.parametrize("inside", INSIDES)
def test_the_pages_of_a_filtered_list_are_the_files_that_fit(
    world: World, two: tuple[str, str], inside: str
) -> None:
    for bundle in two:
        whole = page_of(world, bundle, Asked(inside), 0, 1000)
        if whole[0] is not None and isinstance(whole[0], type):
            continue
        asked = Asked(inside, named="*.log", kind=FileKind.FILE)
        found, start = [], 0
        while start is not None:
            page, start, incomplete = page_of(world, bundle, asked, start, 7)
            found += page
        wanted = [one for one in whole[0] if one[1].lower().endswith(".log") and one[2] is FileKind.FILE]
        assert (found, incomplete) == (wanted, whole[2])


@pytest.mark.parametrize("start", [0, 3, 300, 699, 700, 2000])
def test_a_whole_list_is_the_same_with_the_index_from_any_place(
    world: World, two: tuple[str, str], start: int
) -> None:
    lists = []
    for bundle in two:
        opened = open_list(world.custody, world.engineer, bundle, "many.zip")
        listing = Listing(opened, "many.zip", start)
        lists.append(([shown(file) for file in opened.passing(iter(listing))], listing.incomplete))
        opened.close()
    assert lists[0] == lists[1]


def test_with_the_index_nothing_is_walked(
    world: World, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lists, "list_files", None)
    found = [page_of(world, two[0], Asked("many.zip"), start, 100) for start in range(0, 700, 100)]
    assert [len(page) for page, _, _ in found] == [100] * 7
    assert [following for _, following, _ in found] == [100, 200, 300, 400, 500, 600, None]


@pytest.mark.parametrize("block", [1, 2, 3])
def test_an_index_that_breaks_in_the_middle_is_left_there(
    world: World, two: tuple[str, str], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = ContentsIndex._rows, 0

    def breaking(self: ContentsIndex, at: int, length: int) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls >= block:
            raise SealBroken("idx", None, "a test broke it")
        return real(self, at, length)

    def listed(bundle: str) -> list[Any]:
        opened = open_list(world.custody, world.engineer, bundle, "many.zip")
        with suppress(StopIteration):
            return [shown(file) for file in opened.passing(iter(Listing(opened, "many.zip", 5)))]
        return []

    wanted = listed(two[1])
    pages = [page_of(world, two[1], Asked("many.zip"), start, 300) for start in (0, 300, 600)]
    monkeypatch.setattr(ContentsIndex, "_rows", breaking)
    assert listed(two[0]) == wanted
    calls = 0
    assert [page_of(world, two[0], Asked("many.zip"), start, 300) for start in (0, 300, 600)] == pages
    assert world.state(two[0]) == "complete"


def test_a_further_page_from_the_index_needs_the_access_and_holds_no_key(world: World) -> None:
    bundle = world.upload(tar_of({f"{number}.log": b"x" for number in range(30)}))
    while index_next(world.custody, Pace(60)):
        pass
    page_of(world, bundle, Asked(), 0, 10)
    listed = len([row for row in world.entries() if row.action == "bundle.listed"])
    assert len(page_of(world, bundle, Asked(), 10, 10)[0]) == 10
    assert len([row for row in world.entries() if row.action == "bundle.listed"]) == listed
    erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
    with pytest.raises(Erased):
        page_of(world, bundle, Asked(), 20, 10)
    other = world.upload(tar_of({f"{number}.log": b"x" for number in range(30)}))
    while index_next(world.custody, Pace(60)):
        pass
    page_of(world, other, Asked(), 0, 10)
    world.clock.move(25 * HOUR)
    with pytest.raises(Refused):
        page_of(world, other, Asked(), 10, 10)
