"""Checksums of request bodies (tus: checksum): computed as bytes pass, compared before any of them counts.

Each algorithm's update releases the GIL or takes microseconds a piece, so it delays no other upload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Protocol

import google_crc32c

from intake_api.http.call_refused import CallRefused
from intake_api.http.pump import Sink
from intake_api.tus.protocol import Headers


class Sum(Protocol):
    """The part of a hash that is used here."""

    def update(self, piece: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


def _sha1() -> Sum:
    return hashlib.sha1(usedforsecurity=False)  # guards against a bad line only; clients send it


ALGORITHMS: Mapping[str, tuple[Callable[[], Sum], int]] = {
    "sha1": (_sha1, 20),
    "sha256": (hashlib.sha256, 32),
    "crc32c": (google_crc32c.Checksum, 4),
}
"""Name -> constructor, and length in bytes. CRC-32C is sent most significant byte first."""


class Checksum:
    """The sum that a request declares, and that of the bytes that came."""

    def __init__(self, algorithm: str, declared: bytes) -> None:
        self._sum = ALGORITHMS[algorithm][0]()
        self._declared = declared

    def over(self, sink: Sink) -> Sink:
        """Wrap `sink` to add every byte that it takes to the sum."""
        return _Summed(self._sum, sink)

    def matches(self) -> bool:
        """Return whether the bytes that came have the declared sum."""
        return hmac.compare_digest(self._sum.digest(), self._declared)


class _Summed:
    def __init__(self, sum_: Sum, sink: Sink) -> None:
        self._sum, self._sink = sum_, sink

    def feed(self, piece: bytes) -> None:
        self._sink.feed(piece)
        self._sum.update(piece)


def read_checksum(headers: Headers) -> Checksum | None:
    """Read Upload-Checksum, if there is one: an algorithm of the list, a space, the sum in base64."""
    text = headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, packed = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        detail = f"Upload-Checksum has the algorithm {algorithm[:32]!r}: use one of {known}"
        raise CallRefused("malformed", detail, reason="checksum-algorithm")
    try:
        declared = base64.b64decode(packed.strip(), validate=True)
    except (binascii.Error, ValueError):
        declared = b""
    if len(declared) != (length := ALGORITHMS[algorithm][1]):
        detail = f"Upload-Checksum has no {algorithm} sum: send its {length} bytes in base64"
        raise CallRefused("malformed", detail, reason="checksum-malformed")
    return Checksum(algorithm, declared)
