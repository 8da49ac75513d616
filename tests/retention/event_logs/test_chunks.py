"""What the child says of a log's chunks is what the log holds, and no bytes make it say more."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import evtx
import Evtx.Evtx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.archive import CHILDREN
from retention.custody.reading.event_logs import PARSER, _asked
from retention.sandbox.children import ChildFailed, Refused, Session
from retention.text import events
from retention.text.events import CHUNK, HEADER, Event, EventQuery, make_event
from retention.text.levels import Level
from tests.retention.event_logs.making import BEGAN, DIRTY, Made, chunk_of, header_of, log_of
from tests.retention.event_logs.samples import RECORDS, real_log


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    one = CHILDREN.session()
    yield one
    one.close()


def told(
    session: Session, chunk: bytes, *, xml: bool = True, step: int = 64 << 10, **asked: Any
) -> list[dict[str, Any]]:
    task, out, data = session.start(PARSER, "event_chunks", xml=xml, **asked), b"", chunk
    while data or not task.needs_input:
        out += task.decompress(data, step)
        data = b""
    task.close()
    return [json.loads(line) for line in out.splitlines()]


def chunks(log: bytes) -> list[bytes]:
    return [log[at : at + CHUNK] for at in range(HEADER, len(log), CHUNK)]


def read(session: Session, log: bytes) -> list[Event]:
    return [
        make_event(one, number) for number, chunk in enumerate(chunks(log)) for one in told(session, chunk)
    ]


def shape(text: str) -> Any:
    """An event's XML without what the writers of XML may choose: white space, and how an empty value is written."""

    def part(element: ElementTree.Element) -> Any:
        inner = [part(one) for one in element]
        attributes = {name: value for name, value in element.attrib.items() if value}
        return (element.tag, attributes, (element.text or "").strip() if not inner else "", inner)

    return part(ElementTree.fromstring(text))  # noqa: S314


def test_a_log_that_windows_wrote_reads_as_python_evtx_reads_it(session: Session, tmp_path: Any) -> None:
    path = tmp_path / "real.evtx"
    path.write_bytes(real_log())
    found = read(session, real_log())
    with Evtx.Evtx.Evtx(str(path)) as log:
        peers = [shape(record.xml()) for record in log.records()]
    assert len(found) == len(peers) == RECORDS
    namespace = "{http://schemas.microsoft.com/win/2004/08/events/event}"
    for event, (_, _, _, (system, data)) in zip(found, peers, strict=True):
        fields = {tag.removeprefix(namespace): (attributes, text) for tag, attributes, text, _ in system[3]}
        assert (str(event.record), str(event.id)) == (fields["EventRecordID"][1], fields["EventID"][1])
        assert (event.channel, event.computer) == (fields["Channel"][1], fields["Computer"][1])
        assert event.provider == fields["Provider"][0]["Name"]
        stamp = fields["TimeCreated"][0]["SystemTime"].removesuffix("Z").split("+")[0].replace(" ", "T")
        assert event.time is not None
        assert event.time.replace(tzinfo=None, microsecond=0).isoformat() == stamp[:19]
        # Beside it an array of strings is marked up, and bytes are base64.
        values = [
            re.sub("</?string>", "", text) for tag, _, text, _ in data[3] if text and "Binary" not in tag
        ]
        raw = [base64.b64decode(text) for tag, _, text, _ in data[3] if text and "Binary" in tag]
        assert [value for name, value in event.data if value and name != "Binary"] == values
        assert [bytes.fromhex(value) for name, value in event.data if value and name == "Binary"] == raw


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
made = st.builds(
    Made,
    record=st.integers(1, 1 << 40),
    level=st.integers(0, 5),
    provider=texts.filter(str.strip),
    id=st.integers(0, 65535),
    computer=texts,
    data=st.lists(st.tuples(texts.filter(bool), texts), max_size=5),
    time=st.datetimes(BEGAN.replace(year=1990, tzinfo=None), BEGAN.replace(year=2100, tzinfo=None)).map(
        lambda at: at.replace(tzinfo=BEGAN.tzinfo)
    ),
)


@settings(max_examples=40)
@given(
    st.lists(st.lists(made, min_size=1, max_size=8, unique_by=lambda one: one.record), min_size=1, max_size=4)
)
def test_a_log_read_chunk_by_chunk_is_the_log_read_whole_and_what_was_written(
    session: Session, written: list[list[Made]]
) -> None:
    log = log_of(*written)
    found = read(session, log)
    whole = [record["data"] for record in evtx.PyEvtxParser(io.BytesIO(log), number_of_threads=1).records()]
    assert [event.xml for event in found] == whole
    wanted = [one for chunk in written for one in chunk]
    assert [(event.record, event.id, event.time) for event in found] == [
        (one.record, one.id, one.at) for one in wanted
    ]
    assert [event.provider for event in found] == [one.provider for one in wanted]
    for event, one in zip(found, wanted, strict=True):
        assert [value for _, value in event.data] == [value.strip() for _, value in one.data]
        assert [name for name, _ in event.data] == [name for name, _ in one.data]


@settings(max_examples=40)
@given(
    st.lists(made, min_size=1, max_size=8, unique_by=lambda one: one.record),
    st.none() | st.sampled_from(list(Level)),
    st.frozensets(st.sampled_from([0, 1, 7, 7036]), max_size=2),
    st.tuples(*[st.none() | st.integers(-3, 3)] * 2),
)
def test_what_the_child_passes_over_is_not_wanted(
    session: Session,
    written: list[Made],
    level: Level | None,
    ids: frozenset[int],
    window: tuple[int | None, int | None],
) -> None:
    first = written[0].at
    since, until = (None if away is None else first + timedelta(milliseconds=away * 400) for away in window)
    query = EventQuery(since, until, level, ids=ids)
    chunk = chunk_of(written)
    every = [make_event(one, 0) for one in told(session, chunk)]
    left = [make_event(one, 0) for one in told(session, chunk, **_asked(query, xml=True))]
    assert [one for one in left if query.wants(one)] == [one for one in every if query.wants(one)]


@pytest.mark.parametrize("step", [1, 100, 64 << 10])
def test_a_chunk_comes_in_steps_of_any_size(session: Session, step: int) -> None:
    events = [Made(n) for n in range(1, 6)]
    assert [one["record"] for one in told(session, chunk_of(events), step=step)] == ["1", "2", "3", "4", "5"]


def test_what_is_not_xml_in_a_value_is_replaced_and_the_event_shown(session: Session) -> None:
    (one,) = told(session, chunk_of([Made(1, data=(("a", "bell\x07 \ud800 \ufffe <b>&"),))]))
    ((name, value),) = one["data"]
    assert name == "a" and value.startswith("bell") and value.endswith("<b>&") and "\x07" not in value


def test_headers_say_what_the_log_is() -> None:
    header = events.read_header(log_of([Made(1)], flags=DIRTY))
    assert header is not None and (header.chunks, header.dirty, header.full, header.sound) == (
        1,
        True,
        False,
        True,
    )
    assert events.read_header(b"ElfFile\0") is None and events.read_header(bytes(HEADER)) is None
    bad = bytearray(header_of(1))
    bad[42] = 9
    found = events.read_header(bytes(bad))
    assert found is not None and not found.sound


@given(place=st.integers(0, CHUNK - 1))
def test_a_flipped_bit_of_what_a_chunk_holds_breaks_its_checksum(place: int) -> None:
    chunk = bytearray(chunk_of([Made(n) for n in range(1, 20)]))
    used = int.from_bytes(chunk[48:52], "little")
    header = events.read_header(header_of(1))
    assert header is not None and events.fault_of(bytes(chunk), header) is None
    chunk[place] ^= 1
    # 120 to 124 are flags that no checksum is over; behind what is used nothing is the log's.
    checked = place < 120 or 124 <= place < used
    assert (events.fault_of(bytes(chunk), header) is not None) == checked


@settings(max_examples=60)
@given(st.data())
def test_no_bytes_of_a_chunk_take_more_than_the_chunk(session: Session, data: st.DataObject) -> None:
    """Whatever is overwritten in it, the child says something in bounds, or one clear failure comes of it."""
    chunk = bytearray(chunk_of([Made(n) for n in range(1, 12)]))
    for at, what in data.draw(
        st.lists(st.tuples(st.integers(8, 6000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=12)
    ):
        chunk[at : at + len(what)] = what
    try:
        found = told(session, bytes(chunk), xml=False)
    except (Refused, ChildFailed):
        found = []
    assert len(found) < 4096
    assert [one["record"] for one in told(session, chunk_of([Made(1)]), xml=False)] == ["1"]
