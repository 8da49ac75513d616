"""The decoders that run in a child: made by name, asked in bounded steps.

Each is imported here, before the child confines itself, and is given what its header says; what a header may claim
is the caller's rule (`retention.archive.codings`).
"""

from __future__ import annotations

import sys

import inflate64

from retention.sandbox.lzx import Frames
from retention.sandbox.worker import Stepwise

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_DEFLATE64_PIECE = 1 << 10
"""inflate64 gives all that a piece becomes: 29,127 times as much at most (a length of 65,538 in 18 bits)."""


def zstandard(window_log: int) -> Stepwise:
    """Make a decoder of one zstd frame whose window is at most 2**window_log bytes (RFC 8878)."""
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})


class Deflate64:
    """Deflate64 by small pieces: what they become and what is not yet given on are kept here."""

    def __init__(self) -> None:
        self._inflater = inflate64.Inflater()
        self._packed, self._out = b"", memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._inflater.eof) and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._packed and not self._out and not self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._packed

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._packed += data
        given = bytearray()
        while len(given) < max_length:
            if not self._out:
                if not self._packed or self._inflater.eof:
                    break
                piece, self._packed = self._packed[:_DEFLATE64_PIECE], self._packed[_DEFLATE64_PIECE:]
                self._out = memoryview(self._inflater.inflate(piece))
            room = max_length - len(given)
            given += self._out[:room]
            self._out = self._out[room:]
        return bytes(given)


def deflate64() -> Stepwise:
    """Make a decoder of Deflate64 (APPNOTE 4.4.5, method 9)."""
    return Deflate64()


def lzx(window_log: int) -> Stepwise:
    """Make a decoder of LZX in a cab, whose window is 2**window_log bytes."""
    return Frames(window_log)
