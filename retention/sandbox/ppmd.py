"""PPMd in a child: pyppmd decodes in a thread of its own, so it is a kind of child by itself."""

from __future__ import annotations

import pyppmd

from retention.sandbox.worker import Stepwise


class Ppmd:
    """A decoder of PPMd. Its end is not marked, so it is asked for `size` bytes in all: beyond them it would make some
    up."""

    unused_data = b""

    def __init__(self, decoder: pyppmd.Ppmd7Decoder | pyppmd.Ppmd8Decoder, size: int) -> None:
        self._decoder, self._left = decoder, size
        self._is_hungry = True

    @property
    def eof(self) -> bool:
        return not self._left

    @property
    def needs_input(self) -> bool:
        return bool(self._is_hungry and self._left)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        asked = min(max_length, self._left)
        out = bytes(self._decoder.decode(data, asked))
        # Where it stops early it has no input left, and may not say so; without any it fails.
        self._is_hungry = self._decoder.needs_input or len(out) < asked
        self._left -= len(out)
        return out


def variant_h(order: int, memory: int, size: int) -> Stepwise:
    """Make a decoder of PPMd as it is in 7z."""
    return Ppmd(pyppmd.Ppmd7Decoder(order, memory), size)


def variant_i(order: int, memory: int, restoring: int, size: int) -> Stepwise:
    """Make a decoder of PPMd as it is in zip (APPNOTE 5.10)."""
    return Ppmd(pyppmd.Ppmd8Decoder(order, memory, restoring), size)
