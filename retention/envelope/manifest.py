"""The manifest: the ordered parts of a bundle. Its hash binds them in the audit log and in receipts.

Rules: parts lie end to end from offset 0 without gap or overlap; each holds at least one byte; no part id occurs twice.
An empty bundle has no parts. A list that breaks a rule is not a manifest.

Canonical bytes: JSON (RFC 8259), ASCII, keys sorted, no white space, lengths as integers, digests as lower-case hex:
    {"bundle":...,"format":"casevault-manifest-v2",
     "parts":[{"digest":...,"framing":...,"length":...,"offset":...,"part":...}],
     "seal":"AES256_GCM_HKDF_1MB"}          (in one line)
`framing`: how the part is bound to its name (format.py). Where all parts are of framing 1 the format is
`casevault-manifest-v1` and no part has the field: so it was written before, and its hash is in the log.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from retention.envelope import format as fmt
from retention.envelope import format as frames
from retention.envelope.format import NewerFraming

DIGEST = 32
_FORMATS = {frames.FIRST: "casevault-manifest-v1", frames.CURRENT: "casevault-manifest-v2"}


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part: its plaintext run within the bundle, and the digest of its sealed form."""

    part_id: str
    offset: int
    length: int
    digest: bytes
    framing: int = frames.CURRENT


class Manifest:
    """The ordered parts of one bundle; it cannot exist with a rule broken."""

    def __init__(self, bundle_id: str, parts: Sequence[PartEntry]) -> None:
        self.bundle_id = bundle_id
        self.parts = tuple(parts)
        self._offsets = [part.offset for part in self.parts]
        self.length = sum(part.length for part in self.parts)
        self._check()

    def _check(self) -> None:
        expected = 0
        for part in self.parts:
            if part.offset != expected:
                raise ValueError(
                    f"part {part.part_id} starts at {part.offset}, but the one before ends at {expected}"
                )
            if part.length < 1 or len(part.digest) != DIGEST:
                raise ValueError(
                    f"part {part.part_id} needs at least one byte and a digest of {DIGEST} bytes"
                )
            if part.framing not in frames.KNOWN:
                raise NewerFraming(
                    f"part {part.part_id} is of framing {part.framing}: it needs a newer casevault"
                )
            expected += part.length
        if len({part.part_id for part in self.parts}) != len(self.parts):
            raise ValueError("a part occurs twice")

    def part_at(self, offset: int) -> PartEntry:
        """Return the part that holds this plaintext byte of the bundle."""
        if not 0 <= offset < self.length:
            raise ValueError(f"the byte {offset} is outside the bundle's {self.length} bytes")
        return self.parts[bisect_right(self._offsets, offset) - 1]

    def to_bytes(self) -> bytes:
        """Encode the manifest as its canonical bytes."""
        form = max((part.framing for part in self.parts), default=frames.CURRENT)
        fields = {
            "bundle": self.bundle_id,
            "format": _FORMATS[form],
            "parts": [_fields(part, form) for part in self.parts],
            "seal": fmt.NAME,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")

    def hash(self) -> bytes:
        """Compute the SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Parse the canonical bytes of a manifest. ValueError for any others."""
        try:
            fields = json.loads(raw)
            manifest = cls(fields["bundle"], [_entry(part) for part in fields["parts"]])
        except (KeyError, TypeError, AttributeError):
            raise ValueError("these bytes are not a manifest") from None
        if manifest.to_bytes() != raw:
            raise ValueError("these bytes are not the canonical form of a manifest known here")
        return manifest


def _fields(part: PartEntry, form: int) -> dict[str, str | int]:
    told = {} if form == frames.FIRST else {"framing": part.framing}
    place: dict[str, str | int] = {"length": part.length, "offset": part.offset, "part": part.part_id}
    return {**place, **told, "digest": part.digest.hex()}


def _entry(part: dict[str, Any]) -> PartEntry:
    digest = bytes.fromhex(part["digest"])
    return PartEntry(part["part"], part["offset"], part["length"], digest, part.get("framing", frames.FIRST))
