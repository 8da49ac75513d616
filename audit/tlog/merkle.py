"""The Merkle tree of RFC 6962 / RFC 9162 over SHA-256. Pure.

- A leaf hash and a node hash have different prefixes, so neither can pass for the other (RFC 9162 2.1.1).
- Roots and proofs are computed from complete subtrees, fetched by `get_node(level, index)`: the hash over the
  leaves [index * 2**level, (index + 1) * 2**level). A complete subtree never changes as the log grows.
- The verifiers take nothing from the log but the proof: they follow RFC 9162 2.1.3.2 and 2.1.4.2 to the letter
  and raise `ProofError` for a proof that does not hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

GetNode = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof that does not show what it should."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf's bytes (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two nodes into their parent (RFC 9162 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(size: int, get_node: GetNode) -> bytes:
    """Compute the root of the first `size` leaves."""
    return _range_root(0, size, get_node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, get_node: GetNode) -> list[bytes]:
    """Compute PATH(index, D[0:size]) of RFC 9162 2.1.3.1."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(middle, end, get_node))
            end = middle
        else:
            proof.append(_range_root(start, middle, get_node))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(old: int, new: int, get_node: GetNode) -> list[bytes]:
    """Compute PROOF(old, D[0:new]) of RFC 9162 2.1.4.1; empty from the empty tree and for equal sizes."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} cannot extend one of {old}")
    proof: list[bytes] = []
    if old in (0, new):
        return proof
    start, end, whole = 0, new, True  # whole: the old tree starts with this range, so its root is known
    while end > old:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_root(middle, end, get_node))
            end = middle
        else:
            proof.append(_range_root(start, middle, get_node))
            start, whole = middle, False
    if not whole:
        proof.append(_range_root(start, end, get_node))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Verify by RFC 9162 2.1.3.2 that the leaf hash `leaf` leads to the root `expected`."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    fn, sn, found = index, size - 1, leaf
    for hash_ in proof:
        if sn == 0:
            raise ProofError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            found = node_hash(hash_, found)
            fn, sn = _skip_to_right_child(fn, sn)
        else:
            found = node_hash(found, hash_)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofError("the inclusion proof is too short")
    if found != expected:
        raise ProofError(f"the inclusion proof of leaf {index} leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify by RFC 9162 2.1.4.2; from the empty tree, or for equal sizes, there is nothing to prove."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} cannot extend one of {old}")
    if old in (0, new):
        if proof or (old_root != (new_root if old == new else EMPTY_ROOT)):
            raise ProofError(f"trees of {old} and {new} do not agree")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not proof:
        raise ProofError("the consistency proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    found_old = found_new = path[0]
    for hash_ in path[1:]:
        if sn == 0:
            raise ProofError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            found_old, found_new = node_hash(hash_, found_old), node_hash(hash_, found_new)
            fn, sn = _skip_to_right_child(fn, sn)
        else:
            found_new = node_hash(found_new, hash_)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofError("the consistency proof is too short")
    if found_old != old_root or found_new != new_root:
        raise ProofError(f"the tree of {new} does not extend the tree of {old}")


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first.

    Serialised as the size (8 bytes, big-endian) and the hashes: all that is needed to append further.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count() or any(len(peak) != HASH_BYTES for peak in peaks):
            raise ValueError(
                f"a tree of {size} needs {size.bit_count()} peaks of {HASH_BYTES} bytes, not {len(peaks)}"
            )
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        peaks = [data[at : at + HASH_BYTES] for at in range(8, len(data), HASH_BYTES)]
        return cls(int.from_bytes(data[:8], "big"), peaks)

    def to_bytes(self) -> bytes:
        return self.size.to_bytes(8, "big") + b"".join(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carry, rest = leaf, self.size
        while rest & 1:
            carry = node_hash(self._peaks.pop(), carry)
            rest >>= 1
        self._peaks.append(carry)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        *rest, found = self._peaks
        for peak in reversed(rest):
            found = node_hash(peak, found)
        return found


def _split(size: int) -> int:
    """Return the largest power of two below `size` (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_root(start: int, end: int, get_node: GetNode) -> bytes:
    """Compute MTH(D[start:end]); RFC 6962's split keeps every power-of-two range aligned, so it is one node."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return get_node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_range_root(start, middle, get_node), _range_root(middle, end, get_node))


def _skip_to_right_child(fn: int, sn: int) -> tuple[int, int]:
    """Climb the levels in which this node has no sibling (step 4.b.ii / 6.b.ii)."""
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn
