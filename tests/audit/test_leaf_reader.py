"""The reader that goes by shapes accepts and refuses exactly what the strict parser does, whatever it met before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit import leaf_reader
from audit.entry import Action, CanonicalError, Entry, canonical, parse_leaf
from audit.leaf_reader import LeafReader, are_plain
from tests.audit.conftest import make_entry

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.text("abc:,{}[]0-9 ", max_size=8)
details = st.dictionaries(
    st.sampled_from(["size", "to", "v", "a.b", ":", "partials", "\u00e9"]),
    plain
    | text
    | st.integers(-(10**17), 10**17).filter(lambda n: abs(n) < 2**53)
    | st.lists(plain, max_size=3),
    max_size=4,
)
entries = st.builds(
    make_entry,
    st.integers(0, 500),
    action=st.sampled_from([Action.BUNDLE_OPENED, Action.CASE_OPENED]),
    actor=plain | text,
    case=st.none() | plain,
    bundle=st.none() | text,
    subject=st.none() | plain,
    details=details,
)
# What a forger or a broken disk would change: a byte, a piece cut out, put twice, or put in.
BYTES = [
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"0",
    b"-",
    b"1",
    b" ",
    b"\n",
    b"\x00",
    b"\x7f",
    b"\xc3",
    b"e",
]
changes = st.lists(
    st.tuples(
        st.integers(0, 600), st.integers(0, 12), st.sampled_from([*BYTES, b"", b'","', b'"a":1,', b"00"])
    ),
    min_size=1,
    max_size=3,
)


def outcome(parse: Callable[[bytes], Any], leaf: bytes) -> Any:
    """The fields with their order, or what the refusal says."""
    try:
        return json.dumps(parse(leaf))
    except CanonicalError as error:
        return str(error)


def changed(leaf: bytes, how: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, put in how:
        start = at % (len(leaf) + 1)
        leaf = leaf[:start] + put + leaf[start + length :]
    return leaf


@given(st.lists(entries, min_size=1, max_size=6), st.data())
def test_a_reader_agrees_with_the_strict_parser_on_leaves_and_on_what_they_are_changed_to(
    known: list[Entry], data: st.DataObject
) -> None:
    reader = LeafReader()
    for entry in known:
        assert outcome(reader.parse, entry.leaf()) == outcome(parse_leaf, entry.leaf())
    for _ in range(8):
        leaf = changed(data.draw(st.sampled_from(known)).leaf(), data.draw(changes))
        assert outcome(reader.parse, leaf) == outcome(parse_leaf, leaf)
        assert outcome(lambda each: next(reader.parse_all([each])), leaf) == outcome(parse_leaf, leaf)


@given(st.lists(entries, min_size=1, max_size=4), entries)
def test_what_is_canonical_stays_accepted_by_a_reader_that_knows_other_shapes(
    known: list[Entry], new: Entry
) -> None:
    reader = LeafReader()
    for entry in (*known, new, new):
        leaf = entry.leaf()
        assert reader.parse(leaf) == parse_leaf(leaf)
        assert list(reader.texts([leaf])) == [leaf.decode()]
        flat = {name: value for name, value in parse_leaf(leaf).items() if name != "v"}
        if "details" in flat:
            flat["details"] = canonical(flat["details"]).decode()
        assert reader.parse_flat(leaf) == flat


def a_leaf(**changes: Any) -> bytes:
    return make_entry(1, details={"size": 7, "to": 0, "what": "x"}, **changes).leaf()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"size":7', b'"size":07'),
        (b'"size":7', b'"size":-0'),
        (b'"size":7', b'"size":7.0'),
        (b'"size":7', b'"size":7e0'),
        (b'"size":7', b'"size":true'),
        (b'"size":7', b'"size":9007199254740992'),
        (b'"what":"x"', b'"what":"x","what":"x"'),
        (b'"what":"x"', b'"what":"\\u0078"'),
        (b'"what":"x"', b'"what":"\x01"'),
        (b'"what":"x"', b'"what":"\xff"'),
        (b'"actor":"actor-1"', b'"actor":"actor-1","actor":"actor-1"'),
        (b'"v":1', b'"v":2'),
        (b'"v":1}', b'"v":1}\n'),
    ],
)
def test_a_known_shape_lets_no_other_form_through(old: bytes, new: bytes) -> None:
    reader, leaf = LeafReader(), a_leaf()
    assert reader.known(leaf) is None
    reader.parse(leaf)
    assert reader.known(leaf) is not None
    forged = leaf.replace(old, new)
    assert forged != leaf
    with pytest.raises(CanonicalError):
        parse_leaf(forged)
    with pytest.raises(CanonicalError):
        reader.parse(forged)
    with pytest.raises(CanonicalError):
        list(reader.texts([forged]))


def test_text_in_place_of_bytes_is_refused_as_by_the_strict_parser() -> None:
    reader, leaf = LeafReader(), a_leaf()
    reader.parse(leaf)
    wrong: Any = leaf.decode()
    assert not are_plain([wrong])
    with pytest.raises(CanonicalError):
        reader.parse(wrong)


def test_a_log_of_ever_new_shapes_does_not_make_the_reader_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaf_reader, "MOST_SHAPES", 3)
    reader = LeafReader()
    leaves = [make_entry(1, details={f"name-{number}": 1}).leaf() for number in range(5)]
    for leaf in leaves * 2:
        assert reader.parse(leaf) == parse_leaf(leaf)
    assert [reader.known(leaf) is not None for leaf in leaves] == [True, True, True, False, False]


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", '"', "\u00e9", "name"]), text | plain, max_size=3),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(["a", "b", "name"]), text | plain, max_size=3),
    changes,
)
@example([{"name": "x"}], {"name": "x"}, [(9, 1, b"\n")])
@example([{"a": "x", "b": "y"}], {"a": "x", "b": "y"}, [(0, 15, b'{"b":"y","a":"x"}')])
def test_particulars_are_canonical_exactly_when_they_are(
    known: list[dict[str, str]], new: dict[str, str], how: list[tuple[int, int, bytes]]
) -> None:
    reader = LeafReader()
    for each in (*known, new):
        assert reader.are_canonical(canonical(each).decode())
    other = changed(canonical(new), how).decode("utf-8", "replace")
    try:
        really = canonical(json.loads(other)) == other.encode()
    except ValueError:
        really = False
    assert reader.are_canonical(other) == really


def test_particulars_with_a_lone_surrogate_are_not_canonical() -> None:
    reader = LeafReader()
    assert reader.are_canonical('{"name":"x"}')
    assert not reader.are_canonical('{"name":"\ud800"}')
