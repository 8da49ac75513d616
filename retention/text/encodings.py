"""What a file is encoded in.

Rules:
- A byte order mark decides. Without one the first bytes do: UTF-16 where zero bytes stand on one side, UTF-8 where they
  are valid UTF-8, else windows-1252; without a mark it is a guess, and says so.
- Decoding never fails: what is not valid becomes U+FFFD, one line at a time. The raw bytes are the truth.
- No encoding turns a byte or unit into a line break that is none, or swallows one.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

HEAD = 64 * 1024
"""Bytes that detection looks at."""
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_UTF16 = {"utf-16-le": b"\n\x00", "utf-16-be": b"\x00\n"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
NAMES = (
    "utf-8",
    *_UTF16,
    *(f"windows-{page}" for page in range(1250, 1259)),
    "iso-8859-1",
    "cp437",
    "cp850",
)
"""The encodings that a caller may name."""


class UnknownEncoding(ValueError):
    """A name that is no encoding of ours."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:40]!r} is not a known encoding: use one of {', '.join(NAMES)}")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding by its name, one of NAMES."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UnknownEncoding(self.name)

    @property
    def unit(self) -> int:
        """Bytes of one unit: 2 in UTF-16, else 1."""
        return 2 if self.name in _UTF16 else 1

    @property
    def newline(self) -> bytes:
        return _UTF16.get(self.name, b"\n")

    def decode(self, raw: bytes) -> str:
        """Decode `raw`; a byte order mark at its start is dropped, what is not valid becomes U+FFFD."""
        return raw.decode(self.name, "replace").removeprefix("\ufeff")

    def boundary(self, raw: bytes, at: int) -> int:
        """Return the last place up to `at`, above 0, where `raw` can be cut between two characters."""
        at -= at % self.unit
        if self.name == "utf-8":
            back = next((n for n in range(4) if n < at and raw[at - n] & 0xC0 != 0x80), 0)
            return at - back
        if self.unit == 2 and at > 2:
            high = raw[at - 1 if self.name == "utf-16-le" else at - 2]
            return at - 2 if 0xD8 <= high <= 0xDB else at
        return at


@dataclass(frozen=True, slots=True)
class Detected:
    """What the first bytes say. `guessed`: there was no mark; `binary`: it does not look like text at all."""

    encoding: Encoding
    guessed: bool
    binary: bool = False


def detect(head: bytes) -> Detected:
    """Detect the encoding by a file's first bytes (up to HEAD of them are looked at)."""
    head = head[:HEAD]
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Detected(Encoding(name), guessed=False)
    wide = _wide(head)
    if wide is not None:
        return Detected(wide, guessed=True)
    binary = _controls(head) * 50 > len(head)
    name = "utf-8" if _valid(head, "utf-8") else "windows-1252"
    return Detected(Encoding(name), guessed=True, binary=binary)


def _wide(head: bytes) -> Encoding | None:
    """Find UTF-16 without a mark: Latin letters, blanks and line ends have a zero byte on one side only."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    few, many, name = (even, odd, "utf-16-le") if odd > even else (odd, even, "utf-16-be")
    if many * 20 < len(head) // 2 or few * 10 > many or not many:
        return None
    if not _valid(head, name):
        return None
    text = head[: len(head) // 2 * 2].decode(name, "replace")
    return Encoding(name) if sum(ord(one) in _CONTROL for one in text) * 50 <= len(text) else None


def _valid(head: bytes, name: str) -> bool:
    decoder: Callable[..., tuple[str, int]] = (
        codecs.utf_8_decode
        if name == "utf-8"
        else codecs.utf_16_le_decode
        if name == "utf-16-le"
        else codecs.utf_16_be_decode
    )
    try:
        decoder(head, "strict", False)  # what the head's end cuts off is no fault
    except UnicodeDecodeError:
        return False
    return True


def _controls(head: bytes) -> int:
    return sum(head.count(code) for code in _CONTROL)
