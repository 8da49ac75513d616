"""° The blocks of a blob as this program cuts them. Pure.

- A block's id is its offset, in a form that is equally long for all. So a resume needs nothing but the service's list
  of blocks, whichever machine sent them and however long they are: what is there, and what is missing.
- A block counts whole or not at all, and one that is lost costs its bytes again: on a slow line blocks are small. On a
  fast one each costs a request, a record and a part of its own: there they are large. How long one took decides.
- A list names 50,000 blocks at most: for a large file blocks are no smaller than that allows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

LEAST, MOST = 1 << 14, 1 << 23
MOST_BLOCKS = 45_000
"""Of the 50,000 that a list may name: the ends of gaps need some."""
_FAST_SECONDS, _SLOW_SECONDS = 1.0, 3.0
_DIGITS = 15
Stretch = tuple[int, int]
"""Offset and length of a run of the file's bytes."""


def block_id(offset: int) -> str:
    """The id of the block that begins there."""
    return base64.b64encode(f"{offset:0{_DIGITS}x}".encode()).decode()


def offset_of(block: str) -> int | None:
    """Where a block begins; None for one that was not cut here."""
    try:
        text = base64.b64decode(block, validate=True).decode("ascii")
        return int(text, 16) if len(text) == _DIGITS else None
    except (binascii.Error, ValueError):
        return None


def fitting(held: Mapping[int, int], size: int) -> tuple[list[int], list[Stretch]]:
    """Of the blocks held (length by offset) those that follow one another, by offset; and what is missing between."""
    kept: list[int] = []
    gaps: list[Stretch] = []
    at = 0
    for offset in sorted(held):
        if offset < at or offset + held[offset] > size:
            continue  # two senders cut the same bytes differently
        if offset > at:
            gaps.append((at, offset - at))
        kept.append(offset)
        at = offset + held[offset]
    return kept, gaps if at == size else [*gaps, (at, size - at)]


class Cut:
    """How long the next block is."""

    def __init__(self, missing: int, kept: int = 0) -> None:
        self._floor = max(LEAST, -(-missing // max(1, MOST_BLOCKS - kept)))
        self.length = self._floor

    def took(self, length: int, seconds: float) -> None:
        """A block of this length was sent and answered in so many seconds."""
        if length >= self.length and seconds < _FAST_SECONDS:
            self.length = min(2 * self.length, max(MOST, self._floor))
        elif length <= self.length and seconds > _SLOW_SECONDS:
            self.length = max(self.length // 2, self._floor)


def held_of(listed: Sequence[tuple[str, int]]) -> dict[int, int]:
    """Length by offset of the blocks in a list (id, length); those of other programs are passed over."""
    found = ((offset_of(block), length) for block, length in listed)
    return {offset: length for offset, length in found if offset is not None}
