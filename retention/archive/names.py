r"""The names of files in archives: how they are read, judged, shown and told apart.

1. A name whose bytes are valid UTF-8 is UTF-8, whatever its flag says; else a zip's Unicode path field counts; else the
   name is read by a code page that is a guess, and the listing says so.
2. Old Windows tools write `\` between folders, so both slashes separate. A name that would be saved outside its folder
   is refused, not repaired: a repaired name could be another file's.
3. `outer.zip!/inner.zip!/path`: each `!/` goes one archive deeper. The second file of one name has the key `name!#2`.
   A name that holds either by itself is refused: it could be another file's key.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable
from fnmatch import fnmatchcase

from retention.archive.model import Reason

SEPARATOR = "!/"
ORDINAL = "!#"
_UNICODE_PATH = 0x7075  # APPNOTE 4.6.9
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Beside those: line breaks, and the characters that reverse the direction of text.
_UNSHOWABLE = re.compile(_CONTROL.pattern[:-1] + "\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"(\./+)*[A-Za-z]:")
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".lzma")
_ARCHIVE_SUFFIXES = (
    ".zip",
    ".7z",
    ".cab",
    ".tar",
    ".tgz",
    ".tbz2",
    ".txz",
    ".tzst",
    ".tlz",
    *_PACKED_SUFFIXES,
)


def decoded(raw: bytes, code_page: str) -> tuple[str, str | None]:
    """Decode a name; return it with the code page if that was a guess."""
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        return raw.decode(code_page, "replace"), code_page


def decoded_in_zip(raw: bytes, extra: bytes) -> tuple[str, str | None]:
    """Decode a zip's name, by its Unicode path field where it needs one (APPNOTE 4.6.9)."""
    name, guessed = decoded(raw, "cp437")
    field = extra_field(extra, _UNICODE_PATH) if guessed else None
    if field is None or len(field) < 5 or struct.unpack_from("<BI", field) != (1, zlib.crc32(raw)):
        return name, guessed
    try:
        return field[5:].decode(), None
    except UnicodeDecodeError:
        return name, guessed


def extra_field(extra: bytes, wanted: int) -> bytes | None:
    """Return a zip's extra field by its tag, if there is one (APPNOTE 4.5)."""
    position = 0
    while position + 4 <= len(extra):
        tag, size = struct.unpack_from("<2H", extra, position)
        if tag == wanted:
            return extra[position + 4 : position + 4 + size]
        position += 4 + size
    return None


def slashed(name: str) -> str:
    """Return the name with one kind of slash."""
    return name.replace("\\", "/")


def _climbs(name: str) -> bool:
    """Find `..`, also as `...` or `.. `, where Windows drops the dots and spaces at the end."""
    return any(part.startswith("..") and not part.rstrip(". ") for part in name.split("/"))


_RULES: tuple[tuple[Reason, Callable[[str], bool]], ...] = (
    (Reason.CONTROL_NAME, lambda name: _CONTROL.search(name) is not None),
    (Reason.ABSOLUTE_PATH, lambda name: name.startswith("/")),
    (Reason.DRIVE_PATH, lambda name: _DRIVE.match(name) is not None),
    (Reason.PARENT_PATH, _climbs),
    (Reason.SEPARATOR_NAME, lambda name: SEPARATOR in name or ORDINAL in name),
    (Reason.EMPTY_NAME, lambda name: not name.strip("/. ")),
)


def name_trick(name: str, max_name: int) -> Reason | None:
    """Return why a file of this name must not be read, or None."""
    if len(name) > max_name:
        return Reason.LONG_NAME
    plain = slashed(name)
    return next((reason for reason, holds in _RULES if holds(plain)), None)


def shown(name: str, max_name: int) -> str:
    """Make the name safe for a screen: one kind of slash, nothing that moves a cursor, hides or reverses text."""
    safe = _UNSHOWABLE.sub("\ufffd", slashed(name[:max_name]))
    return (safe.removeprefix("./") or safe) + ("…" if len(name) > max_name else "")


def fits(path: str, pattern: str) -> bool:
    """Tell whether a shown path, or its last part, fits a pattern with wildcards, whatever the case (as Windows)."""
    path, pattern = path.lower(), pattern.lower()
    return fnmatchcase(path, pattern) or fnmatchcase(path.rsplit("/", 1)[-1], pattern)


def looks_archive(name: str) -> bool:
    """Tell whether a name looks like an archive's."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def inner_name(name: str) -> str:
    """Name a single packed file: the outer name without `.gz` or the like. The name inside a gzip is only a claim."""
    last = slashed(name.rsplit(SEPARATOR, 1)[-1].rsplit(ORDINAL, 1)[0]).rsplit("/", 1)[-1]
    suffix = next((one for one in _PACKED_SUFFIXES if last.lower().endswith(one)), "")
    return last.removesuffix(last[len(last) - len(suffix) :]) or last


class Ordinals:
    """Tells files of one name apart. It keeps a digest of each name: long names would be a hundred megabytes."""

    def __init__(self) -> None:
        self._once: set[int] = set()
        self._again: dict[int, int] = {}

    def key(self, name: str) -> str:
        """Return the key of the next file of this name."""
        digest = int.from_bytes(
            hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
        )
        if digest not in self._once:
            self._once.add(digest)
            return name
        number = self._again[digest] = self._again.get(digest, 1) + 1
        return f"{name}{ORDINAL}{number}"
