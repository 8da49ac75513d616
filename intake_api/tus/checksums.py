"""Checksums of request bodies (tus: checksum): computed as the bytes pass, compared before any of them counts.

Each algorithm's update releases the GIL or takes microseconds a piece, so it holds no other upload up.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Protocol

import google_crc32c

from intake_api.http.headers import CallRefused
from intake_api.http.pump import Sink
from intake_api.tus.protocol import Headers


class Sum(Protocol):
    """What is used of a hash."""

    def update(self, piece: bytes, /) -> object: ...

    def digest(self) -> bytes: ...


def _sha1() -> Sum:
    return hashlib.sha1(usedforsecurity=False)  # a check against a bad line, as clients send it


ALGORITHMS: Mapping[str, tuple[Callable[[], Sum], int]] = {
    "sha1": (_sha1, 20),
    "sha256": (hashlib.sha256, 32),
    "crc32c": (google_crc32c.Checksum, 4),
}
"""Name -> how a sum is made, and its bytes. CRC-32C goes most significant byte first."""


class Checksum:
    """The sum that a request announces, and the one of what came."""

    def __init__(self, algorithm: str, announced: bytes) -> None:
        self._sum = ALGORITHMS[algorithm][0]()
        self._announced = announced

    def over(self, sink: Sink) -> Sink:
        """`sink`, with every byte that it takes summed up."""
        return _Summed(self._sum, sink)

    def matches(self) -> bool:
        """Whether what came is what was announced."""
        return hmac.compare_digest(self._sum.digest(), self._announced)


class _Summed:
    def __init__(self, sum_: Sum, sink: Sink) -> None:
        self._sum, self._sink = sum_, sink

    def feed(self, piece: bytes) -> None:
        self._sink.feed(piece)
        self._sum.update(piece)


def read_checksum(headers: Headers) -> Checksum | None:
    """Upload-Checksum, if there is one: an algorithm of the list, a space, the sum in base64."""
    text = headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, packed = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise CallRefused("malformed", f"Upload-Checksum takes {known}", reason="checksum-algorithm")
    try:
        announced = base64.b64decode(packed.strip(), validate=True)
    except (binascii.Error, ValueError):
        announced = b""
    if len(announced) != ALGORITHMS[algorithm][1]:
        raise CallRefused(
            "malformed", f"Upload-Checksum holds no {algorithm} in base64", reason="checksum-malformed"
        )
    return Checksum(algorithm, announced)
