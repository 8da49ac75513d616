"""LZX, as cab files hold it: frames of up to 32 KiB, each beginning at a 16-bit word (MS-PATCH, "LZX DELTA"; CAB).

It is plain Python, and runs in a child because it takes the interpreter for seconds. Every number is checked before it
is used: what makes no sense is a ValueError.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

FRAME = 32 << 10
_VERBATIM, _ALIGNED, _UNCOMPRESSED = 1, 2, 3
_LITERALS, _LENGTHS, _LONGEST_CODE = 256, 249, 16
_SHORTEST_MATCH, _LENGTH_FOLLOWS = 2, 7
_SLOTS = {15: 30, 16: 32, 17: 34, 18: 36, 19: 38, 20: 42, 21: 50}
_EXTRA_BITS = [min(max(0, slot // 2 - 1), 17) for slot in range(50)]
_BASES = [sum(1 << bits for bits in _EXTRA_BITS[:slot]) for slot in range(50)]
_CALL, _CALL_TAIL, _MOST_CALL_FRAMES = 0xE8, 10, 32_768


class _Bits:
    """The bits of a frame: 16-bit little-endian words, the highest bit of each first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        words = array("H", data + bytes(len(data) % 2))
        if array("H", b"\1\0")[0] != 1:
            words.byteswap()
        words.byteswap()
        self._all = int.from_bytes(words.tobytes(), "big")
        self.total = 16 * len(words)
        self.at = 0

    def window(self) -> tuple[list[int], int]:
        """Return the bits from here on as 32-bit numbers, with zeros behind them, and how many bits to skip."""
        aligned = self.at // 32 * 32
        count = (self.total - aligned + 31) // 32
        rest = self._all & ((1 << (self.total - aligned)) - 1)
        shifted = rest << (32 * count - (self.total - aligned))
        return list(struct.unpack(f">{count}I", shifted.to_bytes(4 * count, "big"))), self.at - aligned

    def read(self, count: int) -> int:
        """Read so many bits."""
        value = self.peek(count)
        self.at += count
        if self.at > self.total:
            raise ValueError("the frame ends too early")
        return value

    def peek(self, count: int) -> int:
        """Return the next bits, with zeros behind the last."""
        left = self.total - self.at - count
        shifted = self._all >> left if left >= 0 else self._all << -left
        return shifted & ((1 << count) - 1)

    def symbol(self, table: list[int]) -> int:
        """Read a symbol by its code."""
        entry = table[self.peek(_LONGEST_CODE)]
        if not entry:
            raise ValueError("no symbol has that code")
        self.read(entry & 31)
        return entry >> 5

    def take(self, count: int) -> bytes:
        """Take whole bytes from a word's beginning on."""
        start = self.at // 8
        if start + count > len(self.data):
            raise ValueError("the frame ends too early")
        self.at += 8 * count
        return self.data[start : start + count]


def _table(lengths: Sequence[int], *, may_be_empty: bool = False) -> list[int]:
    """Make the canonical code's table: what each 16 bits begin with, as `symbol << 5 | length`."""
    table: list[int] = []
    for length in range(1, _LONGEST_CODE + 1):
        span = 1 << (_LONGEST_CODE - length)
        for symbol, own in enumerate(lengths):
            if own == length:
                table += [symbol << 5 | length] * span
                if len(table) > 1 << _LONGEST_CODE:
                    raise ValueError("there are more codes than there can be")
    if len(table) < 1 << _LONGEST_CODE and (table or not may_be_empty):
        raise ValueError("there are fewer codes than there must be")
    return table or [0] * (1 << _LONGEST_CODE)


class Lzx:
    """A decoder of LZX with a window of 2**bits bytes: `frame` after `frame`."""

    def __init__(self, bits: int) -> None:
        if bits not in _SLOTS:
            raise ValueError(f"a window of 2**{bits} bytes")
        self._window = 1 << bits
        self._out = bytearray()
        self._main_lengths = bytearray(_LITERALS + 8 * _SLOTS[bits])
        self._length_lengths = bytearray(_LENGTHS)
        self._main: list[int] = []
        self._length: list[int] = []
        self._aligned: list[int] = []
        self._recent = [1, 1, 1]
        self._type = self._left = self._odd = 0
        self._frames = self._calls_up_to = 0
        self._has_calls = False

    def frame(self, data: bytes, size: int) -> bytes:
        """Decode a frame that gives `size` bytes. ValueError."""
        if not 0 < size <= FRAME:
            raise ValueError(f"a frame of {size} bytes")
        bits = _Bits(data)
        if not self._frames and bits.read(1):
            self._calls_up_to = bits.read(16) << 16 | bits.read(16)
        start = len(self._out)
        end = start + size
        while len(self._out) < end:
            if not self._left:
                self._begin_block(bits)
            run = min(self._left, end - len(self._out))
            if self._type == _UNCOMPRESSED:
                self._out += bits.take(run)
            else:
                self._decode(bits, len(self._out) + run)
            self._left -= run
        if not self._left and bits.at < bits.total:
            self._odd = 0  # the byte that fills it up is in this frame
        out = self._calls_undone(bytes(self._out[start:]))
        self._frames += 1
        if len(self._out) > 2 * self._window:
            del self._out[: -self._window]
        return out

    def _begin_block(self, bits: _Bits) -> None:
        if self._odd:  # an uncompressed block of odd length is filled up
            bits.take(1)
        self._type = bits.read(3)
        self._left = bits.read(24)
        self._odd = self._left % 2 if self._type == _UNCOMPRESSED else 0
        if not self._left:
            raise ValueError("an empty block")
        if self._type == _UNCOMPRESSED:
            bits.at += 16 - bits.at % 16
            self._recent = [int.from_bytes(bits.take(4), "little") for _ in range(3)]
            self._has_calls = True
        elif self._type in (_VERBATIM, _ALIGNED):
            if self._type == _ALIGNED:
                self._aligned = _table([bits.read(3) for _ in range(8)])
            self._read_lengths(bits, self._main_lengths, 0, _LITERALS)
            self._read_lengths(bits, self._main_lengths, _LITERALS, len(self._main_lengths))
            self._main = _table(self._main_lengths)
            self._has_calls = self._has_calls or self._main_lengths[_CALL] != 0
            self._read_lengths(bits, self._length_lengths, 0, _LENGTHS)
            self._length = _table(self._length_lengths, may_be_empty=True)
        else:
            raise ValueError(f"a block of type {self._type}")

    @staticmethod
    def _read_lengths(bits: _Bits, lengths: bytearray, at: int, end: int) -> None:
        """Read codes' lengths, told as differences from the block before, by a code of their own."""
        table = _table([bits.read(4) for _ in range(20)])
        while at < end:
            symbol = bits.symbol(table)
            if symbol in (17, 18):
                count = bits.read(4) + 4 if symbol == 17 else bits.read(5) + 20
                new = 0
            elif symbol == 19:
                count = bits.read(1) + 4
                new = (lengths[at] - bits.symbol(table)) % 17
            else:
                count, new = 1, (lengths[at] - symbol) % 17
            if at + count > end:
                raise ValueError("more lengths than codes")
            lengths[at : at + count] = bytes([new]) * count
            at += count

    def _decode(self, bits: _Bits, end: int) -> None:
        """Decode symbols until the output ends at `end`. One long function: each call would cost more than its work."""
        out, window = self._out, self._window
        main, length_table, aligned = self._main, self._length, self._aligned
        is_aligned = self._type == _ALIGNED
        first, second, third = self._recent
        units, skipped = bits.window()
        units += [0, 0]
        held = unit = 0
        count = 0
        if skipped:
            held, count, unit = units[0], 32 - skipped, 1
        began = bits.at
        place = len(out)
        while place < end:
            if count < 16:
                held = (held & 0xFFFF) << 32 | units[unit]
                unit += 1
                count += 32
            entry = main[held >> (count - 16) & 0xFFFF]
            count -= entry & 31
            symbol = entry >> 5
            if symbol < _LITERALS:
                out.append(symbol)
                place += 1
                continue
            symbol -= _LITERALS
            length = symbol & 7
            if length == _LENGTH_FOLLOWS:
                if count < 16:
                    held = (held & 0xFFFF) << 32 | units[unit]
                    unit += 1
                    count += 32
                entry = length_table[held >> (count - 16) & 0xFFFF]
                if not entry:
                    raise ValueError("no length has that code")
                count -= entry & 31
                length += entry >> 5
            length += _SHORTEST_MATCH
            slot = symbol >> 3
            if slot == 0:
                offset = first
            elif slot == 1:
                offset, second = second, first
                first = offset
            elif slot == 2:
                offset, third = third, first
                first = offset
            else:
                extra = _EXTRA_BITS[slot]
                offset = _BASES[slot] - 2
                by_code = is_aligned and extra >= 3
                if by_code:
                    extra -= 3
                if extra:
                    while count < extra:
                        held = (held & 0xFFFF_FFFF) << 32 | units[unit]
                        unit += 1
                        count += 32
                    count -= extra
                    offset += (held >> count & ((1 << extra) - 1)) << (3 * by_code)
                if by_code:
                    if count < 16:
                        held = (held & 0xFFFF) << 32 | units[unit]
                        unit += 1
                        count += 32
                    entry = aligned[held >> (count - 16) & 0xFFFF]
                    count -= entry & 31
                    offset += entry >> 5
                first, second, third = offset, first, second
            if not 0 < offset <= min(place, window) or place + length > end:
                raise ValueError("a match outside the window or the frame")
            begin = place - offset
            if offset >= length:
                out += out[begin : begin + length]
            else:
                out += (out[begin:] * (length // offset + 1))[:length]
            place += length
        self._recent = [first, second, third]
        bits.at = began - skipped + 32 * unit - count
        if bits.at > bits.total:
            raise ValueError("the frame ends too early")

    def _calls_undone(self, out: bytes) -> bytes:
        """Give calls in programs their relative targets back (E8 translation)."""
        if (
            not (self._has_calls and self._calls_up_to)
            or self._frames >= _MOST_CALL_FRAMES
            or len(out) <= _CALL_TAIL
        ):
            return out
        changed, at, most = bytearray(out), out.find(_CALL), self._calls_up_to
        start = FRAME * self._frames
        while 0 <= at < len(out) - _CALL_TAIL:
            absolute = int.from_bytes(changed[at + 1 : at + 5], "little", signed=True)
            here = start + at
            if -here <= absolute < most:
                relative = absolute - here if absolute >= 0 else absolute + most
                changed[at + 1 : at + 5] = (relative & 0xFFFF_FFFF).to_bytes(4, "little")
            at = changed.find(_CALL, at + 5)
        return bytes(changed)


class Frames:
    """LZX frames with the interface of a decoder: each step is given the size of one, in two bytes, and its bytes."""

    eof, needs_input, unused_data = False, True, b""

    def __init__(self, bits: int) -> None:
        self._lzx = Lzx(bits)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._lzx.frame(data[2:], int.from_bytes(data[:2], "little"))
