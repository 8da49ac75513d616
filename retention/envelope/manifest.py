"""The manifest: which parts, in which order, are a bundle. Its hash is what the audit log and the receipts bind.

Rules: parts lie end to end from offset 0 without gap or overlap; each holds at least one byte; no part id comes twice.
An empty bundle has no parts. A list that breaks a rule is no manifest.

Canonical bytes: JSON (RFC 8259), ASCII, keys sorted, no white space, lengths as integers, digests as lower-case hex:
    {"bundle":...,"format":"casevault-manifest-v2",
     "parts":[{"digest":...,"framing":...,"length":...,"offset":...,"part":...}],
     "seal":"AES256_GCM_HKDF_1MB"}          (in one line)
`framing`: how the part is bound to its name (framing.py). Where all parts are of framing 1 the format is
`casevault-manifest-v1` and no part has the field: so it was written before, and so its hash stands in the log.

Kept with the parts, so that objects and data key alone give a bundle back:
    sealed manifest = the canonical bytes, sealed as a part is, with the purpose `manifest` and an id of its own
                    | length of what precedes, 8 bytes big-endian
The length stands last: where the objects of a bundle lie end to end in one blob, the manifest is found from its end.
"""

from __future__ import annotations

import hashlib
import json
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from retention.envelope import format as fmt
from retention.envelope import framing as frames
from retention.envelope.errors import NewerFraming, SealBroken
from retention.envelope.keys import DataKey
from retention.envelope.stream import PartOpener, PartSealer, ReadAt
from retention.envelope.writer import Room, SealingWriter

DIGEST = 32
_FORMATS = {frames.FIRST: "casevault-manifest-v1", frames.CURRENT: "casevault-manifest-v2"}
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class PartEntry:
    """One part: its plaintext run within the bundle, and the digest of its sealed form."""

    part_id: str
    offset: int
    length: int
    digest: bytes
    framing: int = frames.CURRENT


class Manifest:
    """The ordered parts of one bundle; cannot exist with a rule broken."""

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
                    f"part {part.part_id} starts at {part.offset}, the one before ends at {expected}"
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
            raise ValueError("a part comes twice")

    def part_at(self, offset: int) -> PartEntry:
        """The part that holds this plaintext byte of the bundle."""
        if not 0 <= offset < self.length:
            raise ValueError(f"a bundle of {self.length} bytes has no byte {offset}")
        return self.parts[bisect_right(self._offsets, offset) - 1]

    def to_bytes(self) -> bytes:
        """The canonical bytes."""
        form = max((part.framing for part in self.parts), default=frames.CURRENT)
        fields = {
            "bundle": self.bundle_id,
            "format": _FORMATS[form],
            "parts": [_fields(part, form) for part in self.parts],
            "seal": fmt.NAME,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")

    def hash(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The manifest with these canonical bytes. ValueError for any others."""
        try:
            fields = json.loads(raw)
            manifest = cls(fields["bundle"], [_entry(part) for part in fields["parts"]])
        except (KeyError, TypeError, AttributeError):
            raise ValueError("not a manifest") from None
        if manifest.to_bytes() != raw:
            raise ValueError("not the canonical bytes of a manifest that is known here")
        return manifest


def _fields(part: PartEntry, form: int) -> dict[str, str | int]:
    told = {} if form == frames.FIRST else {"framing": part.framing}
    place: dict[str, str | int] = {"length": part.length, "offset": part.offset, "part": part.part_id}
    return {**place, **told, "digest": part.digest.hex()}


def _entry(part: dict[str, Any]) -> PartEntry:
    digest = bytes.fromhex(part["digest"])
    return PartEntry(part["part"], part["offset"], part["length"], digest, part.get("framing", frames.FIRST))


def seal_manifest(manifest: Manifest, data_key: DataKey, manifest_id: str, out: Room) -> None:
    """Seal the manifest into the place where it is stored."""
    sealer = PartSealer(data_key, manifest.bundle_id, manifest_id, frames.MANIFEST)
    writer, raw = SealingWriter(sealer, out), manifest.to_bytes()
    writer.write(raw)
    writer.finish()
    out.reserve(_LENGTH)[:] = struct.pack(">Q", fmt.ciphertext_length(len(raw)))
    out.advance(_LENGTH)


def open_manifest(
    data_key: DataKey, bundle_id: str, manifest_id: str, size: int, read_at: ReadAt
) -> Manifest:
    """The bundle's manifest, from `size` stored bytes. `SealBroken`."""
    length = size - _LENGTH
    if length < fmt.HEADER + fmt.TAG or read_at(length, _LENGTH) != struct.pack(">Q", length):
        raise SealBroken(manifest_id, None, "its end does not tell its length")

    def without_end(offset: int, wanted: int) -> bytes:
        return read_at(offset, min(wanted, length - offset))

    opener = PartOpener(data_key, bundle_id, manifest_id, length, without_end, purpose=frames.MANIFEST)
    try:
        return Manifest.from_bytes(b"".join(opener.read(0, opener.length)))
    except ValueError as error:  # sealed by who held the key, and yet not read here
        raise NewerFraming(f"manifest {manifest_id}: {error}") from None
