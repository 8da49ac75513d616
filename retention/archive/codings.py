"""The codings of packed bytes: how each one's decoder is made, and what memory its header may ask for.

- A header is read before anything is decoded: what it claims is held to the limits, and then to the decoder.
- Python's own decoders run here; those of others in a child (`retention.sandbox.decoders`).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

from retention.archive.inflate import Coding, Decoder, Deflate, decoding
from retention.archive.limits import KIB, MIB, Bounds
from retention.archive.model import ArchiveDamaged, ArchiveTooLarge
from retention.archive.source import Window
from retention.sandbox.children import Kind

_BZIP2_STATE = 4 * MIB
_XZ_STREAM_HEADER, _XZ_HEADERS, _XZ_LZMA2 = 12, 12 + 1024, 0x21
_LZMA_HEADER = 9  # version 2, properties' length 2, then lc/lp/pb 1 and dictionary size 4 (APPNOTE 5.8.8)
_CHILD = Kind(
    "retention.sandbox.decoders", memory=288 * MIB
)  # a backstop: the largest dictionary and as much again
_PPMD_CHILD = Kind(
    "retention.sandbox.ppmd", memory=448 * MIB, threads=True
)  # a thread reserves what it never takes
PPMD_BEHIND = b"\0"  # pyppmd asks for more input as soon as it has the last, whatever that still becomes
_PPMD_LEAST_MEMORY, _PPMD_ORDERS = 1 << 11, range(2, 65)
_CHILD_ITSELF = 14 * MIB  # what a child takes with nothing to decode
_DEFLATE64 = 32 * MIB  # what one piece may become
_ZSTD_FRAME, _ZSTD_LONGEST_HEADER = b"\x28\xb5\x2f\xfd", 18
_ZSTD_SKIPPED = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_ZSTD_BLOCK = 128 * KIB


def raw_deflate(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of deflate in a zip."""
    return Deflate(-zlib.MAX_WBITS), 0


def gzip(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of gzip; zlib checks each member's CRC and length (RFC 1952)."""
    return Deflate(zlib.MAX_WBITS | 16), 0


def bzip2(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of bzip2."""
    return bz2.BZ2Decompressor(), _BZIP2_STATE


def xz(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of xz, which checks each block. Its memory is bounded by what its first block says it needs."""
    start = packed.tell()
    needed = _xz_dictionary(packed.read(_XZ_HEADERS)) + MIB
    packed.seek(start)
    within_dictionary(needed - MIB, bounds)
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=needed), needed


def _xz_dictionary(head: bytes) -> int:
    """Return the dictionary of the first block, in bytes (xz file format 1.2.1, sections 3.1 and 5.3.1)."""
    try:
        if not head[_XZ_STREAM_HEADER]:  # the index: there are no blocks
            return 4096
        flags, place = head[_XZ_STREAM_HEADER + 1], _XZ_STREAM_HEADER + 2
        for given in (flags & 0x40, flags & 0x80):  # packed and decoded size
            _, place = _xz_number(head, place) if given else (0, place)
        for _ in range((flags & 3) + 1):
            kind, place = _xz_number(head, place)
            length, place = _xz_number(head, place)
            if kind == _XZ_LZMA2:
                return _lzma2_dictionary(head[place])
            place += length
    except IndexError:
        pass
    raise ArchiveDamaged("an xz file's header makes no sense")


def _xz_number(head: bytes, place: int) -> tuple[int, int]:
    """Return the number at `place`, seven bits a byte, and the place behind it."""
    number = shift = 0
    while head[place] & 0x80:
        number |= (head[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return number | head[place] << shift, place + 1


def raw_lzma(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZMA in a zip. Its dictionary size is the archive's claim: the file's size is always enough."""
    header = packed.read(_LZMA_HEADER)
    if len(header) < _LZMA_HEADER or header[2:4] != b"\x05\x00":
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    return lzma_decoder(header[4:9], size, bounds)


def lzma_decoder(properties: bytes, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZMA from its five bytes of properties."""
    dictionary = bounded_dictionary(int.from_bytes(properties[1:5], "little"), size, bounds)
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    if properties[0] >= 9 * 5 * 5 or lc + lp > 4:
        raise ArchiveDamaged("a file's LZMA header makes no sense")
    chosen = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen]), dictionary


def lzma2_decoder(properties: bytes, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZMA2 from its byte of properties."""
    dictionary = bounded_dictionary(_lzma2_dictionary(properties[0]), size, bounds)
    chosen = {"id": lzma.FILTER_LZMA2, "dict_size": dictionary}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen]), dictionary


def _lzma2_dictionary(described: int) -> int:
    """Return the dictionary that LZMA2's byte of properties says, in bytes (xz file format 1.2.1, section 5.3.1)."""
    bits = described & 0x3F
    return 0xFFFF_FFFF if bits >= 40 else (2 | bits & 1) << (bits // 2 + 11)


def bounded_dictionary(claimed: int, size: int | None, bounds: Bounds) -> int:
    """Return the dictionary that is needed. ArchiveTooLarge if that is above the limit."""
    dictionary = max(claimed if size is None else min(claimed, size), 4096)
    within_dictionary(dictionary, bounds)
    return dictionary


def within_dictionary(needed: int, bounds: Bounds) -> None:
    """Hold a dictionary to the limit. ArchiveTooLarge."""
    if needed > bounds.limits.max_dictionary:
        raise ArchiveTooLarge(
            f"a file needs a dictionary of {needed} bytes; the limit is {bounds.limits.max_dictionary}"
        )


def deflate64(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of Deflate64 in a zip, as Windows writes it above 2 GiB."""
    return _in_child(bounds, _DEFLATE64, "deflate64")


def zstd(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of one zstd frame, which may be one to be skipped (RFC 8878)."""
    start = packed.tell()
    window = _zstd_window(packed.read(_ZSTD_LONGEST_HEADER))
    packed.seek(start)
    within_dictionary(window, bounds)
    log = max(10, (window - 1).bit_length())
    return _in_child(bounds, window + 8 * _ZSTD_BLOCK, "zstandard", window_log=log)


def _zstd_window(head: bytes) -> int:
    """Return the window that a frame needs, in bytes (RFC 8878, section 3.1.1.1)."""
    if head[:4] != _ZSTD_FRAME:  # to be skipped
        return 0
    try:
        described = head[4]
        if not described & 0x20:
            base = 1 << (10 + (head[5] >> 3))
            return base + base // 8 * (head[5] & 7)
        start = 5 + (0, 1, 2, 4)[described & 3]
        width = (1, 2, 4, 8)[described >> 6]
        content = int.from_bytes(head[start : start + width], "little") + 256 * (width == 2)
    except IndexError:
        raise ArchiveDamaged("a zstd frame's header makes no sense") from None
    return content


def zip_ppmd(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of PPMd in a zip, from the two bytes before it (APPNOTE 5.10)."""
    described = int.from_bytes(packed.read(2), "little")
    order, memory, restoring = (described & 0xF) + 1, ((described >> 4 & 0xFF) + 1) * MIB, described >> 12
    if restoring > 1:
        raise ArchiveDamaged("a file's PPMd header makes no sense")
    return _ppmd("variant_i", order, memory, bounds, size=size or 0, restoring=restoring)


def ppmd_decoder(properties: bytes, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of PPMd in a 7z, from its five bytes of properties."""
    return _ppmd("variant_h", properties[0], int.from_bytes(properties[1:], "little"), bounds, size=size or 0)


def _ppmd(task: str, order: int, memory: int, bounds: Bounds, **more: int) -> tuple[Decoder, int]:
    within_dictionary(memory, bounds)
    if order not in _PPMD_ORDERS or memory < _PPMD_LEAST_MEMORY:
        raise ArchiveDamaged("a file's PPMd header makes no sense")
    with decoding():
        decoder = bounds.session.start(_PPMD_CHILD, task, order=order, memory=memory, **more)
    return decoder, memory + _CHILD_ITSELF


def lzma_alone(packed: Window, size: int | None, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of a .lzma file, whose header names its dictionary."""
    start = packed.tell()
    dictionary = int.from_bytes(packed.read(5)[1:], "little")
    packed.seek(start)
    within_dictionary(dictionary, bounds)
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=dictionary + 2 * MIB), dictionary + MIB


def lzx_frames(window_log: int, bounds: Bounds) -> tuple[Decoder, int]:
    """Make a decoder of LZX frames in a cab, each given behind its size in two bytes."""
    return _in_child(bounds, (3 << window_log) + MIB, "lzx", window_log=window_log)


def _in_child(bounds: Bounds, needed: int, task: str, **arguments: Any) -> tuple[Decoder, int]:
    with decoding():
        return bounds.session.start(_CHILD, task, **arguments), needed + _CHILD_ITSELF


GZIP = Coding(gzip, "gzip", (b"\x1f\x8b",))
RAW_DEFLATE = Coding(raw_deflate, "deflate")
DEFLATE64 = Coding(deflate64, "Deflate64")
BZIP2 = Coding(bzip2, "bzip2")
BZIP2_FILE = Coding(bzip2, "bzip2", (b"BZh",))
XZ = Coding(xz, "xz", (b"\xfd7zXZ\x00",))
RAW_LZMA = Coding(raw_lzma, "LZMA")
ZSTD = Coding(zstd, "zstd", (_ZSTD_FRAME, *_ZSTD_SKIPPED))
PPMD = Coding(zip_ppmd, "PPMd", behind=PPMD_BEHIND)
LZMA_FILE = Coding(lzma_alone, "LZMA", (b"\x5d\0\0",))
