"""Proofs for outsiders: made from tiles and a signed checkpoint, checked without the log.

An inclusion proof travels as C2SP tlog-proof: index, hashes and the checkpoint's note in one text. Anybody with
that text, the leaf's bytes and the verifier key can check it offline; nothing else is trusted.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from audit.tlog.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.tlog.merkle import (
    HASH_BYTES,
    ProofError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from audit.tlog.tile_store import TileReader, TileSource

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """A proof that a leaf is at `index` of the tree signed in `note`."""

    index: int
    hashes: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        hashes = (base64.b64encode(hash_).decode() for hash_ in self.hashes)
        return "\n".join((_HEADER, f"index {self.index}", *hashes, "", self.note))

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        head, separator, note = text.partition("\n\n")
        header, _, rest = head.partition("\n")
        if header != _HEADER or not separator:
            raise ProofError(f"not an inclusion proof: must start with {_HEADER} and end with a checkpoint")
        lines = rest.split("\n")
        if lines[0].startswith("extra "):  # allowed by the format, not authenticated, not used
            del lines[0]
        index = _INDEX.fullmatch(lines[0]) if lines else None
        if index is None:
            raise ProofError("not an inclusion proof: the line 'index <number>' is missing")
        return cls(int(index[1]), tuple(_hash(line) for line in lines[1:]), note)


def prove_inclusion(tiles: TileSource, index: int, note: str) -> InclusionProof:
    """Make the proof for one leaf under a published checkpoint of this log."""
    size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size
    hashes = inclusion_proof(index, size, TileReader(tiles, size).get_node)
    return InclusionProof(index, tuple(hashes), note)


def prove_consistency(tiles: TileSource, old: int, new: int) -> list[bytes]:
    """Prove that the tree of `new`, a published size, extends the tree of `old`, any size."""
    return consistency_proof(old, new, TileReader(tiles, new).get_node)


def verify_receipt_inclusion(leaf: bytes, proof: InclusionProof, verifier: Verifier) -> Checkpoint:
    """Return the signed checkpoint that covers `leaf`; NoteError or ProofError if it does not."""
    checkpoint = open_checkpoint(proof.note, verifier)
    verify_inclusion(leaf_hash(leaf), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return checkpoint


def _hash(line: str) -> bytes:
    try:
        hash_ = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError("a hash of the proof is not base64") from None
    if len(hash_) != HASH_BYTES:
        raise ProofError(f"a hash of the proof does not have {HASH_BYTES} bytes")
    return hash_
