"""Bytes split into lines of a bounded length, however they arrive.

Rules:
- LF ends a line, and a CR before it belongs to the end, as in grep and less. What follows the last LF is a line if it
  is not empty.
- A line longer than LONGEST bytes is cut into pieces of at most that many, between characters: all have its number,
  and all but the first say that they continue it. So a file without a line end costs no more memory than another.
- How the bytes are chunked changes nothing of the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retention.text.encodings import Encoding

LONGEST = 64 * 1024
"""Bytes of a line, without its LF, that are kept together."""
BLOCK = 256 * 1024
"""Bytes that are gathered before they are looked at."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a piece of one. `raw` has no line end; `offset` is in bytes, `number` counts from 1.

    `continues`: it is not the line's first piece. `cut`: another piece follows.
    """

    number: int
    offset: int
    raw: bytes
    continues: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole lines with their ends, or one piece of a line that is too long (`cut`).

    `number` is that of the first line; `continues`: the first line is the rest of one that was cut.
    """

    number: int
    offset: int
    raw: bytes
    lines: int
    """Line ends in `raw`."""
    continues: bool
    cut: bool


def split_lines(
    chunks: Iterable[bytes], encoding: Encoding, *, offset: int = 0, number: int = 1
) -> Iterator[Line]:
    """Yield the lines of the bytes that begin at `offset` of the file, which is where line `number` begins."""
    for block in split_blocks(chunks, encoding, offset=offset, number=number):
        yield from lines_of(block, encoding)


def split_blocks(
    chunks: Iterable[bytes],
    encoding: Encoding,
    *,
    offset: int = 0,
    number: int = 1,
    continues: bool = False,
) -> Iterator[Block]:
    """Yield the bytes as blocks, for readers that look at many lines at once."""
    held = b""
    for data in _gathered(chunks):
        held += data
        for block in _whole(held, encoding, number, offset, continues):
            yield block
            held = held[block.offset + len(block.raw) - offset :]
            offset, number = block.offset + len(block.raw), block.number + block.lines
            continues = block.cut
    if held:
        yield Block(number, offset, held, count_ends(held, encoding), continues, cut=False)


def lines_of(block: Block, encoding: Encoding) -> Iterator[Line]:
    """Yield the lines of a block."""
    if block.cut:
        yield Line(block.number, block.offset, block.raw, block.continues, cut=True)
        return
    start, number, unit = 0, block.number, encoding.unit
    while start < len(block.raw):
        end = find_end(block.raw, encoding, start)
        stop = len(block.raw) if end < 0 else end
        raw = without_return(block.raw[start:stop], encoding) if end >= 0 else block.raw[start:stop]
        yield Line(number, block.offset + start, raw, block.continues and not start)
        start, number = stop + unit, number + 1


def find_end(raw: bytes, encoding: Encoding, start: int) -> int:
    """Return the place of the first LF from `start` on, or -1. `raw` begins at a whole unit."""
    at = raw.find(encoding.newline, start)
    while at % encoding.unit and at >= 0:
        at = raw.find(encoding.newline, at + 1)
    return at


def count_ends(raw: bytes, encoding: Encoding) -> int:
    """Count the LFs."""
    return raw.count(b"\n") if encoding.unit == 1 else raw.decode(encoding.name, "replace").count("\n")


def without_return(raw: bytes, encoding: Encoding) -> bytes:
    """Remove the CR before the LF that ended the line."""
    return raw.removesuffix(encoding.newline.replace(b"\n", b"\r"))


def _whole(held: bytes, encoding: Encoding, number: int, offset: int, continues: bool) -> Iterator[Block]:
    """Yield what is decided of `held`: whole lines, and pieces of lines that are longer than LONGEST."""
    start = at = 0
    while True:
        end = _last_end(held, encoding, at, at + LONGEST + encoding.unit)
        if end >= 0:
            at = end + encoding.unit
            continue
        long = len(held) - at > LONGEST + 2 * encoding.unit
        if at > start:
            raw = held[start:at]
            ends = count_ends(raw, encoding)
            yield Block(number, offset + start, raw, ends, continues, cut=False)
            number, start, continues = number + ends, at, False
        if not long:
            return
        at += encoding.boundary(held[at : at + LONGEST + encoding.unit], LONGEST)
        yield Block(number, offset + start, held[start:at], 0, continues, cut=True)
        start, continues = at, True


def _last_end(held: bytes, encoding: Encoding, start: int, stop: int) -> int:
    at = held.rfind(encoding.newline, start, stop)
    while at >= 0 and at % encoding.unit:
        at = held.rfind(encoding.newline, start, at + 1)
    return at


def _gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Join small chunks, so that each is not searched anew, and cut large ones, so that each look is short."""
    some: list[bytes] = []
    size = 0
    for chunk in chunks:
        for at in range(0, len(chunk), BLOCK):
            some.append(chunk[at : at + BLOCK])
            size += len(some[-1])
            if size >= BLOCK:
                yield b"".join(some)
                some, size = [], 0
    if some:
        yield b"".join(some)
