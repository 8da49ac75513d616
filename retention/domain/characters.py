"""Which characters a text from outside may hold: it is stored, logged, and shown to others as it is. Pure.

- Plain (reasons, names, claims): no controls, no lone surrogates, no line or paragraph separators, and nothing that
  turns the direction of what stands behind it (Unicode's Bidi_Control, UAX #9): a reason reads as it was written.
- Visible (names of files and blobs): besides, no character that shows nothing, or means nothing to everybody.
"""

from __future__ import annotations

import unicodedata

BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_PLAIN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NOT_VISIBLE = _NOT_PLAIN | {"Cf", "Co", "Cn"}


def is_plain(text: str, allowed: str = "") -> bool:
    """Whether the text reads as it is written; `allowed` are controls that it may hold all the same."""
    return all(c in allowed or not _is_odd(c) for c in text)


def is_visible(text: str) -> bool:
    """Whether every character can be kept, shown and written into a document."""
    return not any(unicodedata.category(c) in _NOT_VISIBLE for c in text)


def escaped(text: str) -> str:
    r"""The text with what is not plain spelled out, like `\u202e`."""
    return "".join(c.encode("unicode_escape").decode("ascii") if _is_odd(c) else c for c in text)


def _is_odd(character: str) -> bool:
    return character in BIDI_CONTROLS or unicodedata.category(character) in _NOT_PLAIN
