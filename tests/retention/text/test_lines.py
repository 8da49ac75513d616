"""Lines are those of a plain split, however their bytes arrive, and never longer than the bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.text import line_index
from retention.text import lines as lines_module
from retention.text.encodings import Encoding
from retention.text.line_index import LineIndex, Seen, index_blocks
from retention.text.lines import LONGEST, split_blocks, split_lines
from retention.text.times import Zone, find_time

UTF8 = Encoding("utf-8")
ENCODINGS = st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "windows-1252", "windows-1251"]).map(Encoding)
TEXT = st.text(alphabet=st.sampled_from("ab\r\n\n é\u0a00\u000a\u010a\U0001f600"), max_size=60)


def cut(raw: bytes, sizes: list[int]) -> list[bytes]:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(raw[at : at + size])
        at += size
    return [*chunks, raw[at:]]


def encoded(text: str, encoding: Encoding) -> bytes:
    return text.encode(encoding.name, "ignore")


@given(text=TEXT, encoding=ENCODINGS, sizes=st.lists(st.integers(0, 9), max_size=20))
def test_lines_are_those_of_a_plain_split(text: str, encoding: Encoding, sizes: list[int]) -> None:
    raw = encoded(text, encoding)
    whole = raw.decode(encoding.name)
    expected = whole.split("\n")
    if not expected[-1]:
        expected.pop()
    ended = whole.count("\n")
    expected = [line.removesuffix("\r") if at < ended else line for at, line in enumerate(expected)]
    found = list(split_lines(cut(raw, sizes), encoding))
    assert [line.raw.decode(encoding.name) for line in found] == expected
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert all(raw[line.offset :].startswith(line.raw) for line in found)


@given(
    text=TEXT, encoding=ENCODINGS, sizes=st.lists(st.integers(0, 9), max_size=20), longest=st.integers(4, 12)
)
@settings(max_examples=300)
def test_chunks_change_nothing_and_no_byte_of_a_long_line_is_lost(
    text: str, encoding: Encoding, sizes: list[int], longest: int
) -> None:
    raw = encoded(text, encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "LONGEST", longest)
        patch.setattr(lines_module, "BLOCK", 8)
        small = list(split_lines(cut(raw, sizes), encoding))
        patch.setattr(lines_module, "BLOCK", 1 << 20)
        assert small == list(split_lines([raw], encoding))
        blocks = list(split_blocks(cut(raw, sizes), encoding))
    assert b"".join(block.raw for block in blocks) == raw
    assert all(len(line.raw) <= longest + 2 * encoding.unit for line in small)
    for line in small:
        line.raw.decode(encoding.name)  # pieces are cut between characters


def test_a_line_of_a_million_characters_comes_in_marked_pieces() -> None:
    raw = b"a\n" + b"x" * 1_000_000 + b"\nend\n"
    found = list(split_lines(iter(cut(raw, [7, 70_000, 300_000])), UTF8))
    assert [(line.number, line.continues, line.cut) for line in found[:3]] == [
        (1, False, False),
        (2, False, True),
        (2, True, True),
    ]
    assert max(len(line.raw) for line in found) <= LONGEST + 2
    assert b"".join(line.raw for line in found if line.number == 2) == b"x" * 1_000_000
    assert (found[-1].number, found[-1].raw) == (3, b"end")


BEGINNINGS = (
    *("2026-11-29 02:10:11 ", "2026-11-29T02:10:11.250Z ", "2026/11/29-02:10:11.1 ", "2026-02-31 02:10:11 "),
    *(
        "2026-11-28T23:59:59,5 +0200 ",
        "11/30/2026 1:02:03 AM ",
        "INFO 2026-11-29 03:00:00,123 ",
        "2026-11-29T02:10:11+01:00-",
    ),
    *(
        "Nov 29 02:10:33 ",
        "Feb 29 02:10:33 ",
        "",
        "  at ",
        '<![LOG[x]LOG]!><time="02:10:33.123-060" date="11-29-2026" ',
    ),
    *(
        "1/2/2026 10:00:00 2026-11-29 02:10:11 ",
        "\ufeff2026-11-29 05:00:00 ",
        "a$$<b><11-29-2026 02:10:33.123-060> ",
    ),
)
LOG_LINES = st.lists(
    st.builds(
        lambda begin, rest, end: begin + rest + end,
        st.sampled_from(BEGINNINGS),
        st.text(alphabet="ab é5:-", max_size=30) | st.just("x" * 70),
        st.sampled_from(["\n", "\r\n"]),
    ),
    min_size=1,
    max_size=60,
)
ZONES = st.builds(Zone, st.integers(-14, 14).map(lambda hours: timedelta(hours=hours)), st.just(2026))


@given(
    lines=LOG_LINES,
    ended=st.booleans(),
    step=st.integers(1, 300),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "windows-1252"]),
    zone=ZONES,
    data=st.data(),
)
def test_reading_from_a_block_of_the_index_gives_the_rest(
    lines: list[str], ended: bool, step: int, encoding: str, zone: Zone, data: st.DataObject
) -> None:
    text = "".join(lines) if ended else "".join(lines).removesuffix("\n") + "!"
    coded = Encoding(encoding)
    raw = text.encode(encoding, "replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "LONGEST", 64)
        patch.setattr(lines_module, "BLOCK", 100)
        whole = list(split_lines([raw], coded))
        index = index_blocks(split_blocks([raw], coded), coded, step=step)
        assert index.lines == whole[-1].number == len(text.removesuffix("\n").split("\n"))
        number = data.draw(st.integers(1, index.lines))
        span = index.at_line(number)
        rest = list(split_lines([raw[span.offset :]], coded, offset=span.offset, number=span.number))
        assert rest == [line for line in whole if line.offset >= span.offset]
        assert span.number <= number <= rest[-1].number
        assert not rest[0].continues
        stamps = [(line, find_time(coded.decode(line.raw), zone)) for line in whole if not line.continues]
        moment = data.draw(
            st.sampled_from([s.at for _, s in stamps if s] or [datetime(2026, 1, 1, tzinfo=UTC)])
        )
        reached = next((line.offset for line, stamp in stamps if stamp and stamp.at >= moment), None)
        block = index.at_time(moment, zone)
        if not index.yearless and reached is not None:
            assert block is not None and block.offset <= reached, (
                "no line of that time stands before the block"
            )
    with pytest.raises(ValueError, match=f"the file has {index.lines}"):
        index.at_line(index.lines + 1)


def test_the_index_knows_when_each_block_is_from() -> None:
    begin = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
    raw = b"".join(f"{begin + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ} line\n".encode() for n in range(100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", 200)
        index = index_blocks(split_blocks([raw], UTF8), UTF8, step=500)
    assert len(index.spans) > 4
    wanted = begin + timedelta(minutes=50)
    span = index.at_time(wanted, Zone())
    assert span is not None and span.zoned.first is not None and span.zoned.last is not None
    assert span.zoned.first <= wanted <= span.zoned.last
    assert index.at_time(begin + timedelta(days=1), Zone()) is None
    assert index.seen() == Seen(begin, begin + timedelta(minutes=99))


def test_times_without_a_zone_are_found_by_the_zone_that_the_reader_says() -> None:
    raw = b"".join(b"2026-11-29 %02d:00:00 line\n" % hour for hour in range(24))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "BLOCK", 60)
        index = index_blocks(split_blocks([raw], UTF8), UTF8, step=1)
    noon = datetime(2026, 11, 29, 12, tzinfo=UTC)
    in_utc, further_east = index.at_time(noon, Zone()), index.at_time(noon, Zone(timedelta(hours=6)))
    assert in_utc is not None and further_east is not None
    assert in_utc.number <= 13 < further_east.number <= 19


@pytest.mark.parametrize(
    ("stamp", "east", "reached"), [("9999-12-31 23:59:59", -10, True), ("0001-01-01 00:00:00", 10, False)]
)
def test_a_time_that_the_readers_zone_moves_beyond_all_years_is_the_last_or_the_first(
    stamp: str, east: int, reached: bool
) -> None:
    index = index_blocks(split_blocks([f"{stamp} line\n".encode()], UTF8), UTF8)
    found = index.at_time(datetime(2026, 11, 29, tzinfo=UTC), Zone(timedelta(hours=east)))
    assert (found is not None) == reached


def test_a_stamp_without_a_year_makes_the_index_say_so() -> None:
    index = index_blocks(split_blocks([b"Nov 29 02:10:33 host a\n"], UTF8), UTF8)
    assert (index.yearless, index.seen()) == (True, Seen())


def test_a_file_of_very_many_blocks_has_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "MOST", 8)
    monkeypatch.setattr(lines_module, "BLOCK", 30)
    raw = b"".join(b"2026-11-29T02:10:%02dZ\n" % (n % 60) for n in range(200))
    index = index_blocks(split_blocks([raw], UTF8), UTF8, step=1)
    assert 4 <= len(index.spans) <= 8
    assert (index.lines, index.at_line(1).offset) == (200, 0)
    for span in index.spans:
        assert raw[: span.offset].count(b"\n") == span.number - 1


def test_an_empty_file_has_no_block() -> None:
    assert index_blocks(split_blocks([], UTF8), UTF8) == LineIndex((), 0)
