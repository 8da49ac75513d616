from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.envelope.format import DATA_KEY, DATA_KEY_IN_VAULT, FIRST, MANIFEST, PART, NewerFraming, bound

PURPOSES = (PART, MANIFEST, DATA_KEY, DATA_KEY_IN_VAULT)
field_lists = st.tuples(st.sampled_from(PURPOSES), st.lists(st.binary(max_size=8), max_size=3))


def test_the_bytes_are_pinned() -> None:
    assert bound(PART, "bun_x", "prt_y") == (
        b"\0\0\0\x0ccasevault v2\0\0\0\x04part\0\0\0\x05bun_x\0\0\0\x05prt_y"
    )
    assert bound(DATA_KEY_IN_VAULT, b"\x01", "bun_x") == (
        b"\0\0\0\x0ccasevault v2\0\0\0\x11data key in vault\0\0\0\x01\x01\0\0\0\x05bun_x"
    )


def test_the_first_framing_is_pinned() -> None:
    assert bound(PART, "bun_x", "prt_y", framing=FIRST) == (
        b"casevault part v1\0\0\0\x05bun_x\0\0\0\x05prt_y"
    )
    assert bound(DATA_KEY, "kek", "bun_x", framing=FIRST) == b"casevault data key v1\0kek\0bun_x"
    assert bound(DATA_KEY_IN_VAULT, b"salt", "bun_x", framing=FIRST) == (
        b"casevault data key in a vault v1\0saltbun_x"
    )


@given(field_lists, field_lists)
def test_no_two_purposes_or_lists_of_fields_share_their_bytes(
    one: tuple[str, list[bytes]], other: tuple[str, list[bytes]]
) -> None:
    assert (bound(one[0], *one[1]) == bound(other[0], *other[1])) == (one == other)


@given(field_lists, st.sampled_from((PART, DATA_KEY, DATA_KEY_IN_VAULT)), st.lists(st.binary(max_size=8)))
def test_what_is_framed_now_is_never_taken_for_what_was_framed_before(
    now: tuple[str, list[bytes]], purpose: str, fields: list[bytes]
) -> None:
    assert bound(now[0], *now[1]) != bound(purpose, *fields, framing=FIRST)


@pytest.mark.parametrize(("purpose", "framing"), [(PART, 3), (PART, 0), (MANIFEST, FIRST)])
def test_a_framing_that_is_not_known_is_refused_as_newer_and_not_as_damage(
    purpose: str, framing: int
) -> None:
    with pytest.raises(NewerFraming, match="needs a newer casevault"):
        bound(purpose, "bun_x", "prt_y", framing=framing)
