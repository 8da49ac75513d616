"""Lines are those of a plain split, however their bytes arrive, and never longer than the bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.text import lines as lines_module
from retention.text.encodings import Encoding
from retention.text.line_index import index_lines
from retention.text.lines import LONGEST, split_blocks, split_lines
from retention.text.times import Zone

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


@given(
    lines=st.lists(st.text(alphabet="ab é", max_size=30), min_size=1, max_size=60),
    step=st.integers(1, 200),
    data=st.data(),
)
def test_reading_from_a_block_of_the_index_gives_the_rest(
    lines: list[str], step: int, data: st.DataObject
) -> None:
    raw = "".join(f"{line}\n" for line in lines).encode()
    whole = list(split_lines([raw], UTF8))
    index = index_lines(whole, UTF8, Zone(), step=step)
    assert index.lines == len(raw.decode().split("\n")) - 1
    number = data.draw(st.integers(1, index.lines))
    span = index.at_line(number)
    assert (
        list(split_lines([raw[span.offset :]], UTF8, offset=span.offset, number=span.number))
        == whole[span.number - 1 :]
    )
    assert span.number <= number
    assert index.at_offset(whole[number - 1].offset).number <= number
    with pytest.raises(ValueError, match=f"the file has {index.lines}"):
        index.at_line(index.lines + 1)


def test_the_index_knows_when_each_block_is_from() -> None:
    begin = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
    raw = b"".join(f"{begin + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ} line\n".encode() for n in range(100))
    index = index_lines(split_lines([raw], UTF8), UTF8, Zone(), step=500)
    assert len(index.spans) > 4
    wanted = begin + timedelta(minutes=50)
    span = index.at_time(wanted)
    assert span is not None
    assert span.first_seen is not None and span.last_seen is not None
    assert span.first_seen <= wanted <= span.last_seen
    assert index.at_time(begin + timedelta(days=1)) is None
