r"""What is searched for: a literal or a regular expression, by RE2: in time linear in the text, never by Python's `re`.

Rules:
- A match is within one line; `^` and `$` are the line's ends, and a CR before the line end is not part of the line.
- Folding of case and whole words go by Unicode. RE2's own `\b` knows ASCII only, so `words` does not use it.
- A pattern is at most LONGEST characters, and its automaton at most MEMORY bytes; more is a PatternError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import re2

LONGEST = 1000
MEMORY = 8 << 20
_NO_WORD = r"[^\p{L}\p{N}_]"
# What could tell a line from a block of lines: the text's own ends, and flags that change what ^ and $ are.
_ALONE = re.compile(r"\\[AzC]|\(\?(?!:|P?<)")


class PatternError(ValueError):
    """A pattern that cannot be searched for; the message says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern over UTF-8. `alone`: it must be given one line at a time."""

    alone: bool
    _compiled: Any = field(repr=False)
    _group: int

    def find(self, text: bytes, start: int = 0) -> tuple[int, int] | None:
        """Return the first match from `start`, a character's beginning, as its start and end in bytes, or None."""
        found = self._compiled.search(text, start)
        return None if found is None else found.span(self._group)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return all matches in one line, in characters; empty matches are left out."""
        raw, at, found = line.encode("utf-8", "replace"), 0, []
        counted = characters = 0
        while (span := self.find(raw, at)) is not None:
            start, end = span
            if end > start:
                first = characters + _characters(raw[counted:start])
                counted, characters = end, first + _characters(raw[start:end])
                found.append((first, characters))
            at = end if end > start else _next(raw, end)
            if at > len(raw):
                break
        return found


def compile_pattern(
    pattern: str, *, literal: bool = False, ignore_case: bool = False, words: bool = False
) -> Pattern:
    """Compile what is searched for. PatternError when it is too long, has a line break or is no expression."""
    if len(pattern) > LONGEST:
        raise PatternError(f"the pattern has {len(pattern)} characters, the limit is {LONGEST}")
    if "\n" in pattern or "\r" in pattern:
        raise PatternError("the pattern has a line break: a match is within one line")
    source = re2.escape(pattern) if literal else pattern
    _compiled(source, ignore_case)  # by itself: what wraps it must not mend it
    wrapped = f"(?:^|{_NO_WORD})({source})(?:$|{_NO_WORD})" if words else source
    alone = not literal and _ALONE.search(pattern) is not None
    return Pattern(alone, _compiled(f"(?m){wrapped}", ignore_case), 1 if words else 0)


def _compiled(source: str, ignore_case: bool) -> Any:
    options = re2.Options()
    options.never_nl, options.log_errors, options.max_mem = True, False, MEMORY
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(source.encode(), options)
    except UnicodeEncodeError:
        raise PatternError("the pattern has a lone surrogate, which no text has") from None
    except re2.error as error:
        told = error.args[0] if error.args else b""
        told = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        raise PatternError(f"the pattern is not a regular expression that RE2 takes: {told}") from None


def _characters(raw: bytes) -> int:
    return len(raw.decode("utf-8", "replace"))


def _next(raw: bytes, at: int) -> int:
    at += 1
    while at < len(raw) and raw[at] & 0xC0 == 0x80:
        at += 1
    return at
