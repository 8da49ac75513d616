from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import MAX_LEAF_BYTES, Action, CanonicalError, Entry, canonical, parse_leaf, particulars_hash
from audit.times import from_microseconds, parse_rfc3339, rfc3339, to_microseconds

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    text | integers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MakeEntry = Callable[..., Entry]


@given(values)
def test_canonical_bytes_are_json_of_the_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(text, integers, max_size=8), st.randoms())
def test_the_order_of_members_does_not_matter(value: dict[str, int], random: Any) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert canonical(dict(shuffled)) == canonical(value)


@given(st.dictionaries(st.one_of(text, st.text(st.characters(max_codepoint=127))), values, max_size=8))
def test_members_are_ordered_by_utf16_whatever_their_names_are_made_of(value: dict[str, Any]) -> None:
    in_order = sorted(value, key=lambda name: name.encode("utf-16-be"))
    assert list(json.loads(canonical(value))) == in_order


def test_members_are_ordered_by_utf16_as_rfc_8785_shows() -> None:
    # RFC 8785 section 3.2.3: the surrogates of U+1F600 sort before U+FB33, though its code point is higher.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, 0)))) == expected


def test_strings_are_escaped_as_rfc_8785_shows() -> None:
    # RFC 8785 section 3.2.2.2
    text = '\u20ac$\u000f\nA\'B"\\\\"/'
    assert canonical(text) == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


@pytest.mark.parametrize(
    "value", [None, True, 1.0, float("nan"), 2**53, -(2**53), b"x", {1: "x"}, ("x",), {"a": [None]}, "\ud800"]
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical(value)


def test_a_value_nested_without_end_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(CanonicalError):
        canonical(value)


def test_a_refusal_does_not_quote_the_value(make_entry: MakeEntry) -> None:
    entry = make_entry(1, particulars={"name": "Grace \ud800"})
    with pytest.raises(CanonicalError) as refused:
        entry.leaf()
    assert "Grace" not in f"{refused.value!r} {refused.value.__cause__!r}"
    assert refused.value.__suppress_context__


def test_the_leaf_is_exactly_these_bytes() -> None:
    entry = Entry(
        id="e1",
        at=datetime(2026, 11, 20, 9, 30, 0, 250, tzinfo=UTC),
        action=Action.BUNDLE_OPENED,
        actor="a1",
        actor_kind="engineer",
        case="c1",
        details={"size": 7, "parts": ["p1"]},
        particulars={"name": "Ada"},
        salt=b"\x00" * 16,
    )
    bound = hashlib.sha256(b"\x00" * 16 + b'{"name":"Ada"}').hexdigest()
    assert entry.leaf().decode() == (
        '{"action":"bundle.opened","actor":"a1","actor_kind":"engineer","at":"2026-11-20T09:30:00.000250Z",'
        '"case":"c1","details":{"parts":["p1"],"size":7},"id":"e1","outcome":"success",'
        f'"particulars":"{bound}","v":1}}'
    )


@given(
    details=st.dictionaries(text, text | integers | st.lists(text, max_size=3), max_size=4),
    particulars=st.dictionaries(text, text, max_size=4),
    at=moments,
)
def test_a_leaf_parses_to_its_entry(
    make_entry: MakeEntry, details: dict[str, Any], particulars: dict[str, str], at: datetime
) -> None:
    entry = make_entry(1, details=details, particulars=particulars, at=at, case=None)
    fields = parse_leaf(entry.leaf())
    assert fields.get("details", {}) == details
    assert parse_rfc3339(fields["at"]) == at
    assert "case" not in fields
    bound = particulars_hash(entry.salt, particulars) if particulars else None
    assert fields.get("particulars") == bound


def test_neither_particulars_nor_salt_are_in_a_leaf_or_a_repr(make_entry: MakeEntry) -> None:
    entry = make_entry(65)
    for shown in (repr(entry), entry.leaf().decode()):
        assert "Lovelace" not in shown and "192.0.2.7" not in shown
        assert repr(entry.salt) not in shown and entry.salt.hex() not in shown


def test_two_entries_with_equal_particulars_have_different_hashes() -> None:
    salts = [
        Entry(id="e", at=datetime.now(UTC), action=Action.CASE_OPENED, actor="a", actor_kind="k").salt
        for _ in range(2)
    ]
    assert salts[0] != salts[1]
    assert len(salts[0]) == len(salts[1]) == 16


def test_a_leaf_too_long_for_a_tile_is_refused(make_entry: MakeEntry) -> None:
    room = MAX_LEAF_BYTES - len(make_entry(1, details={"x": ""}).leaf())
    assert len(make_entry(1, details={"x": "y" * room}).leaf()) == MAX_LEAF_BYTES
    with pytest.raises(CanonicalError, match="at most 65535"):
        make_entry(1, details={"x": "y" * (room + 1)}).leaf()


def _altered(leaf: bytes, **changes: object) -> bytes:
    fields = {**json.loads(leaf), **changes}
    return json.dumps({name: fields[name] for name in sorted(fields)}, separators=(",", ":")).encode()


def test_a_leaf_in_any_other_form_is_refused(make_entry: MakeEntry) -> None:
    leaf = make_entry(1, details={"n": 1}).leaf()
    assert parse_leaf(_altered(leaf))
    others = [
        leaf + b" ",
        leaf.replace(b'"n":1', b'"n":1.0'),
        leaf.replace(b'"n":1', b'"n":1,"n":1'),
        leaf.replace(b'"v":1', b'"v":2'),
        leaf.replace(b'"id"', b'"\\u0069d"'),
        _altered(leaf, zusatz="x"),
        _altered(leaf, actor=7),
        _altered(leaf, details="x"),
        _altered(leaf, reason=None),
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"",
    ]
    for other in others:
        with pytest.raises(CanonicalError):
            parse_leaf(other)
    for name in ("v", "id", "at", "action", "outcome", "actor", "actor_kind"):
        fields = json.loads(leaf)
        del fields[name]
        with pytest.raises(CanonicalError):
            parse_leaf(canonical(fields))


def test_every_action_follows_the_grammar() -> None:
    for action in Action:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)?\.[a-z]+(-[a-z]+)?", action)


@given(moments)
def test_moments_survive_both_forms(at: datetime) -> None:
    assert from_microseconds(to_microseconds(at)) == at
    assert parse_rfc3339(rfc3339(at)) == at
    assert rfc3339(at) == rfc3339(at.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert len(rfc3339(at)) == len("2026-11-20T09:30:00.000000Z")


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="time zone"):
        parse_rfc3339("2026-01-01T00:00:00")
