"""Cabs as Windows writes them; LZX is written by no tool at hand. The tests have cabextract read them too."""

from __future__ import annotations

import heapq
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FRAME = 32 << 10
VERBATIM, ALIGNED, UNCOMPRESSED = 1, 2, 3
_EXTRA = [min(max(0, slot // 2 - 1), 17) for slot in range(50)]
_BASES = [sum(1 << bits for bits in _EXTRA[:slot]) for slot in range(50)]
_SLOTS = {15: 30, 16: 32, 17: 34, 18: 36, 19: 38, 20: 42, 21: 50}


class _Bits:
    def __init__(self) -> None:
        self._out, self._value, self._count = bytearray(), 0, 0

    def put(self, value: int, count: int) -> None:
        self._value, self._count = self._value << count | value, self._count + count
        while self._count >= 16:
            self._count -= 16
            self._out += (self._value >> self._count & 0xFFFF).to_bytes(2, "little")
        self._value &= 0xFFFF

    def align(self) -> None:
        self.put(0, -self._count % 16)

    def raw(self, data: bytes) -> None:
        self._out += data

    def done(self) -> bytes:
        self.align()
        return bytes(self._out)


def _lengths(used: Counter[int], count: int) -> list[int]:
    """Code lengths of a complete code of at least two symbols, at most 16 bits long."""
    for spare in range(count):
        if len(used) >= 2:
            break
        used[spare] += spare not in used
    numbers = itertools.count()
    heap = [(many, next(numbers), (symbol,)) for symbol, many in sorted(used.items())]
    lengths = [0] * count
    heapq.heapify(heap)
    while len(heap) > 1:
        one, two = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in one[2] + two[2]:
            lengths[symbol] += 1
        heapq.heappush(heap, (one[0] + two[0], next(numbers), one[2] + two[2]))
    if max(lengths) > 16:
        return _lengths(Counter(dict.fromkeys(used, 1)), count)
    return lengths


def _codes(lengths: Sequence[int]) -> dict[int, tuple[int, int]]:
    codes, code = {}, 0
    for length in range(1, 17):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = code, length
                code += 1
        code <<= 1
    return codes


@dataclass
class LzxWriter:
    """LZX frames. `blocks`: how many frames a block spans, and its type, over and over."""

    bits: int = 15
    blocks: Sequence[tuple[int, int]] = ((1, VERBATIM),)
    calls_up_to: int = 0
    _recent: list[int] = field(default_factory=lambda: [1, 1, 1])
    _main: list[int] = field(default_factory=list)
    _length: list[int] = field(default_factory=lambda: [0] * 249)

    def frames(self, data: bytes) -> list[tuple[bytes, int]]:
        self._main = [0] * (256 + 8 * _SLOTS[self.bits])
        parts = [data[at : at + FRAME] for at in range(0, len(data), FRAME)]
        tokens = self._tokens(data)
        out, number = [], 0
        for span, kind in itertools.cycle(self.blocks):
            if number >= len(parts):
                return out
            group = range(number, min(number + span, len(parts)))
            out += self._block(kind, [parts[n] for n in group], [tokens[n] for n in group], first=number == 0)
            number = group.stop
        return out

    def _tokens(self, data: bytes) -> list[list[tuple[int, int]]]:
        """Literals as (0, byte) and matches as (length, offset), none across a frame's end."""
        found: dict[bytes, int] = {}
        frames: list[list[tuple[int, int]]] = []
        farthest = (1 << self.bits) - 3
        for start in range(0, len(data), FRAME):
            end, at, tokens = min(start + FRAME, len(data)), start, []
            while at < end:
                key = data[at : at + 3]
                before = found.get(key)
                length = 0
                if before is not None and at - before <= farthest:
                    most = min(257, end - at)
                    while length < most and data[before + length] == data[at + length]:
                        length += 1
                if length >= 3 and before is not None:
                    tokens.append((length, at - before))
                else:
                    length = 1
                    tokens.append((0, data[at]))
                for place in range(at, at + length, 1 if length < 20 else 5):
                    found[data[place : place + 3]] = place
                at += length
            frames.append(tokens)
        return frames

    def _symbols(self, tokens: list[tuple[int, int]]) -> list[tuple[int, int | None, int, int]]:
        """(main symbol, symbol of the length, slot, bits of the offset) of each token."""
        symbols = []
        for length, value in tokens:
            if not length:
                symbols.append((value, None, 0, 0))
                continue
            if value in self._recent:
                slot, rest = self._recent.index(value), 0
                self._recent[slot], self._recent[0] = self._recent[0], value
            else:
                slot = max(n for n in range(3, _SLOTS[self.bits]) if _BASES[n] <= value + 2)
                rest = value + 2 - _BASES[slot]
                self._recent = [value, *self._recent[:2]]
            footer = length - 9 if length >= 9 else None
            symbols.append((256 + 8 * slot + min(length - 2, 7), footer, slot, rest))
        return symbols

    def _block(
        self, kind: int, parts: list[bytes], tokens: list[list[tuple[int, int]]], *, first: bool
    ) -> list[tuple[bytes, int]]:
        size = sum(map(len, parts))
        out = _Bits()
        if first:
            out.put(bool(self.calls_up_to), 1)
            if self.calls_up_to:
                out.put(self.calls_up_to >> 16, 16)
                out.put(self.calls_up_to & 0xFFFF, 16)
        out.put(kind, 3)
        out.put(size, 24)
        if kind == UNCOMPRESSED:
            return self._uncompressed(out, parts)
        symbols = [self._symbols(one) for one in tokens]
        flat = [one for frame in symbols for one in frame]
        aligned = _codes(_lengths(Counter(r & 7 for _, _, s, r in flat if s > 2 and _EXTRA[s] >= 3), 8))
        if kind == ALIGNED:
            for symbol in range(8):
                out.put(aligned.get(symbol, (0, 0))[1], 3)
        main = _lengths(Counter(one[0] for one in flat), len(self._main))
        footers = Counter(one[1] for one in flat if one[1] is not None)
        length = _lengths(footers, 249) if footers else [0] * 249
        self._put_lengths(out, self._main[:256], main[:256])
        self._put_lengths(out, self._main[256:], main[256:])
        self._put_lengths(out, self._length, length)
        self._main, self._length = main, length
        main_codes, length_codes = _codes(main), _codes(length)
        done = []
        for frame, part in zip(symbols, parts, strict=True):
            for symbol, footer, slot, rest in frame:
                out.put(*main_codes[symbol])
                if footer is not None:
                    out.put(*length_codes[footer])
                if symbol < 256 or slot < 3:
                    continue
                if kind == ALIGNED and _EXTRA[slot] >= 3:
                    out.put(rest >> 3, _EXTRA[slot] - 3)
                    out.put(*aligned[rest & 7])
                else:
                    out.put(rest, _EXTRA[slot])
            done.append((out.done(), len(part)))
            out = _Bits()
        return done

    def _uncompressed(self, out: _Bits, parts: list[bytes]) -> list[tuple[bytes, int]]:
        out.put(0, 1)  # to the word's end, a whole word where there is none begun
        out.align()
        out.raw(struct.pack("<3I", *self._recent))
        head, done = out.done(), []
        for part in parts:
            done.append((head + part + bytes(len(part) % 2), len(part)))
            head = b""
        return done

    @staticmethod
    def _put_lengths(out: _Bits, before: Sequence[int], new: Sequence[int]) -> None:
        """Lengths as differences; runs of zeros by 17 and 18, of others by 19."""
        told: list[tuple[int, int, int, int | None]] = []  # symbol, further bits, their number, symbol behind
        at = 0
        while at < len(new):
            run = next((n for n in range(at, len(new)) if new[n] != new[at]), len(new)) - at
            difference = (before[at] - new[at]) % 17
            if new[at] == 0 and run >= 20:
                run = min(run, 51)
                told.append((18, run - 20, 5, None))
            elif new[at] == 0 and run >= 4:
                run = min(run, 19)
                told.append((17, run - 4, 4, None))
            elif run >= 4:
                run = min(run, 5)
                told.append((19, run - 4, 1, difference))
            else:
                run = 1
                told.append((difference, 0, 0, None))
            at += run
        used = Counter(one[0] for one in told) + Counter(one[3] for one in told if one[3] is not None)
        lengths = _lengths(Counter(used), 20)
        codes = _codes(lengths)
        for length in lengths:
            out.put(length, 4)
        for symbol, more, count, behind in told:
            out.put(*codes[symbol])
            out.put(more, count)
            if behind is not None:
                out.put(*codes[behind])


def ms_zip(data: bytes) -> list[tuple[bytes, int]]:
    """MSZIP blocks, each looking back into the one before."""
    blocks, before = [], b""
    for at in range(0, len(data), FRAME):
        part = data[at : at + FRAME]
        packer = (
            zlib.compressobj(6, zlib.DEFLATED, -15, zdict=before) if before else zlib.compressobj(6, 8, -15)
        )
        blocks.append((b"CK" + packer.compress(part) + packer.flush(), len(part)))
        before = part
    return blocks


def stored(data: bytes) -> list[tuple[bytes, int]]:
    return [(data[at : at + FRAME], len(data[at : at + FRAME])) for at in range(0, len(data), FRAME)]


def _checksum(data: bytes, seed: int = 0) -> int:
    for at in range(0, len(data) // 4 * 4, 4):
        seed ^= int.from_bytes(data[at : at + 4], "little")
    return seed ^ int.from_bytes(data[len(data) // 4 * 4 :], "big")


def cab(files: Mapping[str, bytes], packing: int, blocks: list[tuple[bytes, int]]) -> bytes:
    """A cab of one folder whose files are packed in these blocks."""
    entries, offset = b"", 0
    for name, data in files.items():
        entries += struct.pack(
            "<2I4H", len(data), offset, 0, 0x5A21, 0x6000, 0x20 | 0x80 * (not name.isascii())
        )
        entries += name.replace("/", "\\").encode() + b"\0"
        offset += len(data)
    start = 36 + 8 + len(entries)
    body = b""
    for packed, size in blocks:
        sizes = struct.pack("<2H", len(packed), size)
        body += struct.pack("<I", _checksum(packed, _checksum(sizes))) + sizes + packed
    header = struct.pack("<4s5I2B5H", b"MSCF", 0, start + len(body), 0, 44, 0, 3, 1, 1, len(files), 0, 7, 0)
    return header + struct.pack("<I2H", start, len(blocks), packing) + entries + body


def lzx_cab(files: Mapping[str, bytes], writer: LzxWriter) -> bytes:
    """A cab of one folder by LZX."""
    return cab(files, 3 | writer.bits << 8, writer.frames(b"".join(files.values())))
