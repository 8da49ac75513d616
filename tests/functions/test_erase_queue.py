"""The message of the erase queue: one form, and everything else refused in words that quote nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.queues import MAX_BYTES, BadMessage, read_message, write_message
from retention.domain.ids import Kind, new_id

IDS = st.builds(new_id, st.just(Kind.BUNDLE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(IDS)
def test_what_is_written_is_read(bundle_id: str) -> None:
    assert read_message(write_message(bundle_id).encode()) == bundle_id


@given(st.binary(max_size=MAX_BYTES + 1))
def test_any_other_bytes_are_refused_and_nothing_else_happens(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read_message(body)


@given(JSON | st.dictionaries(st.just("bundle"), JSON))
def test_any_other_json_is_refused(value: object) -> None:
    with pytest.raises(BadMessage):
        read_message(json.dumps(value).encode())


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.BUNDLE]))
def test_an_id_of_another_kind_is_refused(kind: Kind) -> None:
    with pytest.raises(BadMessage):
        read_message(write_message(new_id(kind)).encode())


@given(st.text("abcdefghijkmnpqrstuvwxyz", min_size=8, max_size=40))
def test_the_refusal_quotes_nothing(secret: str) -> None:
    with pytest.raises(BadMessage) as caught:
        read_message(json.dumps({"bundle": secret}).encode())
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
