"""A screen of lines is the same with the contents index as without, and comes from near its place."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retention.archive import ArchiveError
from retention.custody.contents_index import Pace, index_next
from retention.custody.reading import file_lines
from retention.custody.reading.bundle_reads import open_bundle
from retention.custody.reading.file_lines import MOST_LINES, Screen, show_lines
from retention.domain.faults import Invalid
from retention.text import line_index
from retention.text import lines as lines_module
from retention.text.encodings import Encoding
from retention.text.times import Zone
from tests.retention.archive.making import MAKERS, tar_of, zip_of
from tests.retention.custody.world import World, strict_world

BEGIN = datetime(2026, 11, 29, 2, tzinfo=UTC)
LINES = 400


def log(form: str, seed: int) -> str:
    """Lines of many forms, out of order here and there, some very long."""
    draw = random.Random(seed)
    lines = []
    for number in range(LINES):
        at = BEGIN + timedelta(seconds=number + draw.choice([0, 0, 0, -40, 40]))
        stamp = at.strftime(form) if draw.random() < 0.9 else ""
        lines.append(
            f"{stamp} line {number} {'x' * draw.choice([0, 5, 20, 300])}{draw.choice(['', chr(13)])}\n"
        )
    return "".join(lines)


FILES = {
    "iso.log": log("%Y-%m-%dT%H:%M:%SZ", 1).encode(),
    "local.log": log("%Y-%m-%d %H:%M:%S,5", 2).encode(),
    "mixed.log": (log("%Y-%m-%d %H:%M:%S", 3) + log("%Y-%m-%dT%H:%M:%S+02:00", 4)).encode(),
    "yearless.log": log("%b %d %H:%M:%S host", 5).encode(),
    "wide.log": log("%m/%d/%Y %I:%M:%S %p", 6).encode("utf-16"),
    "windows.log": log("%Y-%m-%d %H:%M:%S größer", 7).encode("windows-1252"),
    "short.log": b"2026-11-29T02:00:00Z one\ntwo",
    "empty.log": b"",
    "one-line.log": b"y" * 5000,
    "noise.bin": random.Random(8).randbytes(3000),
}
CONTENT = zip_of(
    {**FILES, **{f"in.{kind}": make(FILES) for kind, make in MAKERS.items()}, "plain.tar": tar_of(FILES)}
)
KEYS = [*FILES, *(f"in.{kind}!/{name}" for kind in MAKERS for name in ("iso.log", "mixed.log", "wide.log"))]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Many blocks in short files, screens of few bytes, lines that are cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", 700)
        patch.setattr(lines_module, "LONGEST", 200)
        patch.setattr(file_lines, "MOST_BYTES", 4000)
        patch.setattr(file_lines, "STRIDE", 1000)
        patch.setattr(line_index.index_blocks, "__kwdefaults__", {"step": 500})
        yield


@pytest.fixture(scope="module")
def world(small: None) -> Iterator[World]:
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
    return with_index, world.upload(CONTENT)


def screen_of(world: World, bundle: str, key: str, screen: Screen, encoding: Encoding | None) -> Any:
    opened = open_bundle(world.custody, world.engineer, bundle, lambda _: ())
    try:
        return show_lines(opened, key, screen, encoding)
    except (Invalid, ArchiveError) as error:
        return type(error), str(error)
    finally:
        opened.close()


ZONES = st.builds(Zone, st.sampled_from([0, 2, -7]).map(lambda hours: timedelta(hours=hours)), st.just(2026))
TIMES = st.integers(-8 * 3600, 8 * 3600).map(lambda seconds: BEGIN + timedelta(seconds=seconds))
SCREENS = st.one_of(
    st.builds(
        Screen, st.integers(1, 30), st.integers(1, LINES * 2 + 50), before=st.integers(0, 20), zone=ZONES
    ),
    st.builds(Screen, st.integers(1, MOST_LINES), tail=st.just(True), zone=ZONES),
    st.builds(Screen, st.integers(1, 30), time=TIMES, before=st.integers(0, 20), zone=ZONES),
)


@given(
    key=st.sampled_from(KEYS),
    screen=SCREENS,
    encoding=st.sampled_from([None, None, None, "utf-8", "utf-16-le", "windows-1252"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_screen_is_the_same_with_the_index(
    world: World, two: tuple[str, str], key: str, screen: Screen, encoding: str | None
) -> None:
    coded = None if encoding is None else Encoding(encoding)
    with_index, without = (screen_of(world, bundle, key, screen, coded) for bundle in two)
    assert with_index == without


@pytest.mark.parametrize(
    "screen",
    [
        Screen(3, LINES - 20),
        Screen(3, tail=True),
        Screen(3, time=BEGIN + timedelta(seconds=LINES - 30)),
        Screen(3, LINES - 20, before=10),
    ],
)
@pytest.mark.parametrize("key", ["iso.log", "in.tar!/iso.log", "in.zip!/local.log"])
def test_only_what_is_near_the_screen_is_split_into_lines(
    world: World, two: tuple[str, str], key: str, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: dict[str, int] = {}
    real = file_lines.split_lines

    def counting(*given: Any, **named: Any) -> Iterator[Any]:
        for line in real(*given, **named):
            looked[bundle] = looked.get(bundle, 0) + 1
            yield line

    monkeypatch.setattr(file_lines, "split_lines", counting)
    for bundle in two:
        assert screen_of(world, bundle, key, screen, None).lines
    assert looked[two[0]] < LINES / 4 < looked[two[1]]


def test_coming_to_a_place_in_a_packed_file_ends_in_time_and_says_so(
    world: World, two: tuple[str, str]
) -> None:
    opened = open_bundle(world.custody, world.engineer, two[0], lambda _: ())
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(Invalid, match=r"takes too long: line \d+ was reached"):
        show_lines(opened, "in.tar.gz!/iso.log", Screen(3, LINES - 5), None, stop)
    opened.close()
