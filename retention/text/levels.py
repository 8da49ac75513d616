"""How bad a line says that it is.

The line's own field counts: a word in capitals, or capitalized between separators as CBS and .NET write it, near its
beginning; `level=` and `"level":`; CMTrace's `type="3"`. Words in a sentence do not ("no error was found").
"""

from __future__ import annotations

import re
from enum import StrEnum

REACH = 160
"""Characters at a line's beginning within which the level is looked for; CMTrace's stands at the end."""


class Level(StrEnum):
    """A level, the worst first; the order is the declaration's."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"
    DEBUG = "debug"
    NONE = "none"


_WORDS = {
    **dict.fromkeys(("CRITICAL", "CRIT", "FATAL", "EMERG", "EMERGENCY", "ALERT"), Level.CRITICAL),
    **dict.fromkeys(("ERROR", "ERR", "SEVERE"), Level.ERROR),
    **dict.fromkeys(("WARNING", "WARN"), Level.WARNING),
    **dict.fromkeys(("INFORMATION", "INFORMATIONAL", "INFO", "NOTICE"), Level.INFORMATION),
    **dict.fromkeys(("DEBUG", "DBG", "TRACE", "VERBOSE"), Level.DEBUG),
}
_ANY = "|".join(sorted(_WORDS, key=len, reverse=True))
_TITLED = "|".join(word.capitalize() for word in sorted(_WORDS, key=len, reverse=True))
_FIELD = re.compile(rf"(?i:\b(?:level|severity|lvl)\b[\"']?\s*[=:]\s*[\"']?({_ANY})\b)")
_MARKED = re.compile(rf"\b({_ANY})\b|(?:[,\[|;]|^)\s*({_TITLED})(?=[\s,\]|;:])")
_CMTRACE = re.compile(r'<time="[^<>]{0,200} type="([0-3])"')
_TYPES = {"0": Level.INFORMATION, "1": Level.INFORMATION, "2": Level.WARNING, "3": Level.ERROR}


def find_level(text: str) -> Level:
    """Return the line's level, NONE where it says none."""
    if "<time=" in text and (typed := _CMTRACE.search(text[-400:])):
        return _TYPES[typed[1]]
    head = text[:REACH]
    found = _FIELD.search(head) or _MARKED.search(head)
    if found is None:
        return Level.NONE
    return _WORDS[next(filter(None, found.groups())).upper()]
