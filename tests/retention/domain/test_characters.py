"""Which characters are plain, and which are visible: against Unicode's own properties."""

from __future__ import annotations

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from retention.domain.characters import BIDI_CONTROLS, escaped, is_plain, is_visible


def test_what_turns_the_direction_of_text_is_all_there() -> None:
    """UAX #9: embeddings, overrides and isolates have classes of their own; the three marks are format characters."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = ("LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK")
    everything = map(chr, range(sys.maxunicode + 1))
    found = {
        c for c in everything if unicodedata.bidirectional(c) in turning or unicodedata.name(c, "") in marks
    }
    assert found == BIDI_CONTROLS


@given(st.text())
def test_what_is_visible_is_plain_and_what_is_escaped_is(text: str) -> None:
    assert is_plain(escaped(text))
    assert is_plain(text) == (escaped(text) == text)
    if is_visible(text):
        assert is_plain(text)


def test_lines_may_be_allowed_and_nothing_else_with_them() -> None:
    assert is_plain("first\n\tsecond", "\n\t")
    assert not is_plain("first\nsecond")
    assert not is_plain("first\n\u2028second", "\n\t")
    assert escaped("a\u202eb\n") == "a\\u202eb\\n"
