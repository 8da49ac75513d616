"""The characters allowed in text from outside, which is stored, logged and shown to others unchanged. Pure.

- Plain (reasons, names, claims): no controls, no lone surrogates, no line or paragraph separators, and nothing that
  changes the direction of the text after it (Unicode's Bidi_Control, UAX #9): a reason reads as it was written.
- Visible (names of files and blobs): in addition, no invisible, unassigned or private-use character.
"""

from __future__ import annotations

import unicodedata

BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_PLAIN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NOT_VISIBLE = _NOT_PLAIN | {"Cf", "Co", "Cn"}


def is_plain(text: str, allowed: str = "") -> bool:
    """Tell whether the text reads as written; the controls in `allowed` are accepted too."""
    return all(c in allowed or not _is_odd(c) for c in text)


def is_visible(text: str) -> bool:
    """Tell whether every character can be stored, shown and written into a document."""
    return not any(unicodedata.category(c) in _NOT_VISIBLE for c in text)


def escaped(text: str) -> str:
    r"""Return the text with every character that is not plain spelled out, like `\u202e`."""
    return "".join(c.encode("unicode_escape").decode("ascii") if _is_odd(c) else c for c in text)


def _is_odd(character: str) -> bool:
    return character in BIDI_CONTROLS or unicodedata.category(character) in _NOT_PLAIN
