"""Hostile names: listed so that the engineer sees them, shown so that they do no harm, refused when opened."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.archive import FileNotReadable, NoSuchFile, Reason
from retention.archive.names import inner_name, name_trick, shown
from tests.retention.archive.making import SMALL, content, hand_made, listing, tar_of, whole_entry

TRICKS = [
    ("/etc/passwd", Reason.ABSOLUTE_PATH),
    ("//server/share/x", Reason.ABSOLUTE_PATH),
    ("\\\\server\\share\\x", Reason.ABSOLUTE_PATH),
    ("\\windows\\x", Reason.ABSOLUTE_PATH),
    ("C:\\windows\\x", Reason.DRIVE_PATH),
    ("c:x", Reason.DRIVE_PATH),
    ("./C:/x", Reason.DRIVE_PATH),
    ("../x", Reason.PARENT_PATH),
    ("..", Reason.PARENT_PATH),
    ("a/../../x", Reason.PARENT_PATH),
    ("a\\..\\..\\x", Reason.PARENT_PATH),
    ("a/.. /x", Reason.PARENT_PATH),
    ("a/.../x", Reason.PARENT_PATH),
    ("a\nb", Reason.CONTROL_NAME),
    ("a\x1b[2Jb", Reason.CONTROL_NAME),
    ("a\x7f", Reason.CONTROL_NAME),
    ("a!/b", Reason.SEPARATOR_NAME),
    ("a!\\b", Reason.SEPARATOR_NAME),
    ("", Reason.EMPTY_NAME),
    (".", Reason.EMPTY_NAME),
    ("./", Reason.EMPTY_NAME),
    (" ", Reason.EMPTY_NAME),
    ("n" * 1025, Reason.LONG_NAME),
]
HONEST = [
    "a",
    "a/b.log",
    "logs\\a.log",
    "..a",
    "a..",
    "2026-11-20T10:00:00.log",
    ".hidden",
    "größe",
    "日誌/一",
    "a b",
    "!",
]


@pytest.mark.parametrize(("name", "reason"), TRICKS)
def test_a_trick_is_named_for_what_it_is(name: str, reason: Reason) -> None:
    assert name_trick(name, 1024) is reason


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_passes(name: str) -> None:
    assert name_trick(name, 1024) is None


@pytest.mark.parametrize(("name", "reason"), [pair for pair in TRICKS if pair[0].rstrip("/.")])
def test_tricks_in_zip_and_tar_are_listed_with_the_reason_and_refused_when_opened(
    name: str, reason: Reason
) -> None:
    for data in (hand_made([whole_entry(name.encode(), b"x", flags=0x800)]), tar_of({name: b"x"})):
        (file,) = listing(data)
        assert (file.reason, file.readable) == (reason, False)
        with pytest.raises((FileNotReadable, NoSuchFile)):  # `a!/b` asks for b inside an archive a
            content(data, file.key)


def test_a_nul_in_a_name_is_not_where_the_name_ends() -> None:
    data = hand_made([whole_entry(b"a.log\0.exe", b"x")])
    (file,) = listing(data)
    assert (file.key, file.path, file.reason) == ("a.log\0.exe", "a.log\ufffd.exe", Reason.CONTROL_NAME)


@given(st.text(max_size=60), st.integers(1, 40))
def test_a_shown_name_is_short_and_holds_nothing_that_moves_a_cursor(name: str, longest: int) -> None:
    path = shown(name, longest)
    assert len(path) <= longest + 1
    assert not any(unicodedata.category(c) in ("Cc", "Cs") or c in "\u202e\u2066\u2028\\" for c in path)


def test_text_that_reads_backwards_is_shown_disarmed_and_stays_readable() -> None:
    data = tar_of({"invoice\u202egpj.exe": b"x"})
    assert listing(data)[0].path == "invoice\ufffdgpj.exe"
    assert content(data, "invoice\u202egpj.exe") == b"x"


def test_each_of_several_files_of_one_name_has_a_key_of_its_own() -> None:
    data = hand_made(
        [whole_entry(name, text) for name, text in ((b"a", b"1"), (b"b", b""), (b"a", b"2"), (b"a", b"3"))]
    )
    assert [(file.key, file.reason) for file in listing(data)] == [
        (k, None) for k in ("a", "b", "a!#2", "a!#3")
    ]
    assert [content(data, key) for key in ("a", "a!#2", "a!#3")] == [b"1", b"2", b"3"]
    with pytest.raises(NoSuchFile):
        content(data, "a!#4")


def test_a_file_cannot_pass_for_the_second_of_another_name() -> None:
    data = hand_made([whole_entry(b"a", b"1"), whole_entry(b"a!#2", b"false"), whole_entry(b"a", b"2")])
    assert [file.reason for file in listing(data)] == [None, Reason.SEPARATOR_NAME, None]


def test_a_refused_file_has_its_reason_by_its_name_and_as_it_was_shown() -> None:
    data = hand_made([whole_entry(name, b"x") for name in (b"..\\x", b"a!/b", b"in.zip")])
    for asked, reason in (
        ("..\\x", Reason.PARENT_PATH),
        ("../x", Reason.PARENT_PATH),
        ("a!/b", Reason.SEPARATOR_NAME),
    ):
        with pytest.raises(FileNotReadable) as refused:
            content(data, asked)
        assert refused.value.reason is reason


def test_a_name_that_is_not_utf8_in_a_tar_is_read_by_a_code_page_that_is_said_to_be_a_guess() -> None:
    (file,) = listing(tar_of({"caf\udce9.log": b"x"}, tar_format=1))
    assert (file.key, file.guessed) == ("café.log", "cp1252")
    assert content(tar_of({"caf\udce9.log": b"x"}, tar_format=1), "café.log") == b"x"


def test_no_name_stands_in_a_repr_or_an_error() -> None:
    data = hand_made([whole_entry(b"../secret-name", b"x")])
    (file,) = listing(data)
    with pytest.raises(FileNotReadable) as refused:
        content(data, "../secret-name", SMALL)
    assert "secret" not in repr(file) + str(refused.value) + repr(refused.value)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("a.log.gz", "a.log"), ("x/a.GZ", "a"), ("a", "a"), (".gz", ".gz"), ("o.zip!/p\\q.gz", "q")],
)
def test_a_single_gzipped_file_is_called_after_its_gzip(outer: str, inner: str) -> None:
    assert inner_name(outer) == inner
