"""What a line is encoded in, when it is from, and how bad it says that it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from retention.text.encodings import Encoding, UnknownEncoding, detect
from retention.text.levels import Level, find_level
from retention.text.times import Stamp, Zone, find_time

LOG = "2026-11-29 02:10:33, Info                  CBS    Fehler \u00fcber alles\r\n"


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_found_with_and_without_its_mark(name: str) -> None:
    marked = detect(("\ufeff" + LOG).encode(name))
    assert (marked.encoding.name, marked.guessed) == (name, False)
    bare = detect(LOG.encode(name))
    assert (bare.encoding.name, bare.guessed, bare.binary) == (name, True, False)
    assert bare.encoding.decode(("\ufeff" + LOG).encode(name)) == LOG


def test_utf_8_is_found_also_where_the_head_cuts_a_character() -> None:
    assert detect(LOG.encode()[: LOG.encode().index(b"\xc3") + 1]).encoding.name == "utf-8"
    assert not detect(b"\xef\xbb\xbfa").guessed


def test_what_is_not_valid_utf_8_is_guessed_to_be_windows_1252() -> None:
    found = detect(LOG.encode("windows-1252"))
    assert (found.encoding.name, found.guessed, found.binary) == ("windows-1252", True, False)
    assert found.encoding.decode(LOG.encode("windows-1252")) == LOG


def test_binary_is_said_to_be_binary() -> None:
    assert detect(bytes(range(256)) * 16).binary
    assert not detect(b"").binary


def test_an_unknown_encoding_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownEncoding, match=r"'utf-7' is not a known encoding: use one of utf-8, .*cp850"):
        Encoding("utf-7")


AT = datetime(2026, 11, 29, 2, 10, 33, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "at", "zoned"),
    [
        ("2026-11-29T02:10:33Z started", AT, True),
        ("2026-11-29T03:10:33.5+01:00 started", AT + timedelta(seconds=0.5), True),
        ("2026-11-29 02:10:33, Info                  CBS    TI: ---", AT, False),
        ("2026-11-29 02:10:33 10.0.0.4 GET /index.htm - 443 -", AT, False),
        (
            "00000a1c.00001b2c::2026/11/29-02:10:33.250 INFO  [GUM] Node 1",
            AT + timedelta(seconds=0.25),
            False,
        ),
        (">>>  Section start 2026/11/29 02:10:33.000", AT, False),
        ("11/29/2026 2:10:33 AM  Warning", AT, False),
        ("11/29/2026 02:10:33 PM  Warning", AT + timedelta(hours=12), False),
        ("29/11/2026 02:10:33 started", AT, False),
        ('<![LOG[Done]LOG]!><time="21:10:33.000+300" date="11-28-2026" component="x" type="1">', AT, True),
        ("Done  $$<Setup><11-28-2026 21:10:33.000+300><thread=1>", AT, True),
        ("Nov 29 02:10:33 host sshd[1]: x", AT, False),
        ("<165>1 2026-11-29T02:10:33.003Z host app - - -", AT + timedelta(milliseconds=3), True),
    ],
)
def test_the_usual_forms_are_understood(line: str, at: datetime, zoned: bool) -> None:
    assert find_time(line, Zone(year=2026)) == Stamp(at, zoned)


@pytest.mark.parametrize(
    "line", ["", "started", "2026-13-45 99:99:99 x", "11/29/2026 13:10:33 AM", "10.20.30.40 12:1"]
)
def test_what_is_no_time_is_none(line: str) -> None:
    assert find_time(line, Zone()) is None


def test_the_offset_of_the_file_counts_where_the_stamp_has_none() -> None:
    berlin = Zone(timedelta(hours=1))
    found = find_time("2026-11-29 03:10:33 x", berlin)
    assert found is not None and found.at == AT
    own = find_time("2026-11-29T02:10:33Z x", berlin)
    assert own is not None and own.at == AT


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-29 02:10:33, Error                 CBS    Failed", Level.ERROR),
        ("00000a1c.00001b2c::2026/11/29-02:10:33.250 WARN  [RES] x", Level.WARNING),
        ("00000a1c.00001b2c::2026/11/29-02:10:33.250 ERR   [RES] x", Level.ERROR),
        ('{"time": "x", "level": "info", "message": "an ERROR was mended"}', Level.INFORMATION),
        (
            '<![LOG[x]LOG]!><time="21:10:33.000+300" date="11-28-2026" component="x" type="3" thread="1">',
            Level.ERROR,
        ),
        ("[FATAL] out of memory", Level.CRITICAL),
        ("no error was found", Level.NONE),
        ("Errors are listed below", Level.NONE),
    ],
)
def test_the_level_is_what_the_lines_own_field_says(line: str, level: Level) -> None:
    assert find_level(line) is level
