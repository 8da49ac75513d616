"""The manifest sealed and stored with the parts, so that objects and data key suffice (P1).

    sealed manifest = the manifest's bytes, sealed as a part is, with the purpose `manifest` and an id of its own
                    | that id, 30 bytes | length of what was sealed, 8 bytes big-endian
Id and length come last: where the objects of a bundle lie end to end in one blob, whose blocks' names may be lost, the
manifest is found from its end. They are not authenticated: with wrong ones it does not open.
"""

from __future__ import annotations

import struct

from retention.envelope import format as fmt
from retention.envelope import format as frames
from retention.envelope.data_keys import DataKey
from retention.envelope.format import NewerFraming, SealBroken
from retention.envelope.manifest import Manifest
from retention.envelope.part_stream import PartOpener, PartSealer, ReadAt, Room, SealingWriter

_END = struct.Struct(">30sQ")


def seal_manifest(manifest: Manifest, data_key: DataKey, manifest_id: str, out: Room) -> None:
    """Seal the manifest into its place in the store."""
    sealer = PartSealer(data_key, manifest.bundle_id, manifest_id, frames.MANIFEST)
    writer, raw = SealingWriter(sealer, out), manifest.to_bytes()
    writer.write(raw)
    writer.finish()
    end = _END.pack(manifest_id.encode(), fmt.ciphertext_length(len(raw)))
    out.reserve(len(end))[:] = end
    out.advance(len(end))


def open_manifest(
    data_key: DataKey, bundle_id: str, manifest_id: str, size: int, read_at: ReadAt
) -> Manifest:
    """Open the bundle's manifest from `size` stored bytes. `SealBroken` if they are not what was sealed."""
    length = size - _END.size
    if length < fmt.HEADER + fmt.TAG or read_at(length, _END.size) != _END.pack(manifest_id.encode(), length):
        raise SealBroken(manifest_id, None, "its end does not hold its id and length")

    def without_end(offset: int, wanted: int) -> bytes:
        return read_at(offset, min(wanted, length - offset))

    opener = PartOpener(data_key, bundle_id, manifest_id, length, without_end, purpose=frames.MANIFEST)
    try:
        return Manifest.from_bytes(b"".join(opener.read(0, opener.length)))
    except ValueError as error:  # sealed by a holder of the key, and yet unreadable here
        raise NewerFraming(f"manifest {manifest_id}: {error}") from None
