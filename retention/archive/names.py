"""File names out of archives, judged and made fit to show. Pure.

Old Windows tools write `\\` between folders, so both slashes separate. A name that would land outside a folder if
someone saved under it is refused, not repaired: a repaired name could be that of another file.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from retention.archive.model import Reason

SEPARATOR = "!/"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Beside those: line breaks, and the characters that reverse the direction of text.
_UNSHOWABLE = re.compile(_CONTROL.pattern[:-1] + "\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"(\./+)*[A-Za-z]:")
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz")


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _climbs(name: str) -> bool:
    """`..`, and what Windows makes of `...` or `.. `: it drops dots and spaces at the end."""
    return any(part.startswith("..") and not part.rstrip(". ") for part in name.split("/"))


_RULES: tuple[tuple[Reason, Callable[[str], bool]], ...] = (
    (Reason.CONTROL_NAME, lambda name: _CONTROL.search(name) is not None),
    (Reason.ABSOLUTE_PATH, lambda name: name.startswith("/")),
    (Reason.DRIVE_PATH, lambda name: _DRIVE.match(name) is not None),
    (Reason.PARENT_PATH, _climbs),
    (Reason.SEPARATOR_NAME, lambda name: SEPARATOR in name),
    (Reason.EMPTY_NAME, lambda name: not name.strip("/. ")),
)


def name_trick(name: str, max_name: int) -> Reason | None:
    """Why a file of this name must not be read, or None."""
    if len(name) > max_name:
        return Reason.LONG_NAME
    slashed = _slashed(name)
    return next((reason for reason, holds in _RULES if holds(slashed)), None)


def shown(name: str, max_name: int) -> str:
    """The name for a screen: one kind of slash, nothing that moves a cursor, hides or reverses text."""
    safe = _UNSHOWABLE.sub("\ufffd", _slashed(name[:max_name]))
    return (safe.removeprefix("./") or safe) + ("…" if len(name) > max_name else "")


def looks_archive(name: str) -> bool:
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def inner_name(name: str) -> str:
    """What a single gzipped file is called: the outer name without `.gz`. The name inside the gzip is only a claim."""
    last = _slashed(name.rsplit(SEPARATOR, 1)[-1]).rsplit("/", 1)[-1]
    return last[:-3] if last.lower().endswith(".gz") and len(last) > 3 else last
