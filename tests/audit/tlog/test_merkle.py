"""The tree against the definitions of RFC 6962 section 2.1, written here once more as they stand there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

# The tree used by the certificate-transparency implementations since 2012, with its roots and proofs.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = {
    (0, 1): [],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0])
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


class Tree:
    """`get_node` over a list of leaves; refuses subtrees that are not complete."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves

    def get_node(self, level: int, index: int) -> bytes:
        end = (index + 1) << level
        assert end <= len(self.leaves), "asked for a subtree that is not complete"
        return mth(self.leaves[index << level : end])


def leaves_of(size: int) -> list[bytes]:
    return [number.to_bytes(3, "big") for number in range(size)]


def frontier_of(leaves: Sequence[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf_hash(leaf))
    return frontier


def test_the_reference_tree_has_its_known_roots() -> None:
    for size, expected in enumerate(CT_ROOTS):
        leaves = CT_LEAVES[:size]
        assert root(size, Tree(leaves).get_node).hex() == expected
        assert frontier_of(leaves).root().hex() == expected


def test_the_reference_tree_has_its_known_proofs() -> None:
    for (index, size), expected in CT_INCLUSION.items():
        assert [h.hex() for h in inclusion_proof(index, size, Tree(CT_LEAVES[:size]).get_node)] == expected
    for (old, new), expected in CT_CONSISTENCY.items():
        assert [h.hex() for h in consistency_proof(old, new, Tree(CT_LEAVES[:new]).get_node)] == expected


@pytest.mark.parametrize("size", range(71))
def test_a_tree_of_every_small_size_agrees_with_rfc_6962(size: int) -> None:
    leaves = leaves_of(size)
    get_node = Tree(leaves).get_node
    expected = mth(leaves)
    assert root(size, get_node) == frontier_of(leaves).root() == expected
    for index in range(size):
        proof = inclusion_proof(index, size, get_node)
        assert proof == path(index, leaves)
        verify_inclusion(leaf_hash(leaves[index]), index, size, proof, expected)
    for old in range(size + 1):
        proof = consistency_proof(old, size, get_node)
        assert proof == ([] if old == 0 else subproof(old, leaves, True))
        verify_consistency(old, size, proof, mth(leaves[:old]), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1500), st.data())
def test_a_tree_of_any_size_agrees_with_rfc_6962(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    get_node = Tree(leaves).get_node
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    assert inclusion_proof(index, size, get_node) == path(index, leaves)
    proof = consistency_proof(old, size, get_node)
    assert proof == subproof(old, leaves, True)
    verify_consistency(old, size, proof, mth(leaves[:old]), mth(leaves))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.data())
def test_no_altered_inclusion_proof_passes(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    good = (leaf_hash(leaves[index]), index, size, path(index, leaves), mth(leaves))
    verify_inclusion(*good)
    leaf, _, _, proof, expected = good
    bad_proofs = [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof], proof[1:] if proof else [leaf]]
    for at in range(len(proof)):
        bad_proofs.append([*proof[:at], EMPTY_ROOT, *proof[at + 1 :]])
    for bad in bad_proofs:
        with pytest.raises(ProofError):
            verify_inclusion(leaf, index, size, bad, expected)
    other = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    with pytest.raises(ProofError):
        verify_inclusion(leaf, other, size, proof, expected)
    with pytest.raises(ProofError):
        verify_inclusion(EMPTY_ROOT, index, size, proof, expected)
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, proof, EMPTY_ROOT)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.data())
def test_no_altered_consistency_proof_passes(new: int, data: st.DataObject) -> None:
    leaves = leaves_of(new)
    old = data.draw(st.integers(1, new))
    proof = subproof(old, leaves, True)
    old_root, new_root = mth(leaves[:old]), mth(leaves)
    verify_consistency(old, new, proof, old_root, new_root)
    bad_proofs = [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof], proof[:-1] if proof else [old_root]]
    for at in range(len(proof)):
        bad_proofs.append([*proof[:at], EMPTY_ROOT, *proof[at + 1 :]])
    for bad in bad_proofs:
        with pytest.raises(ProofError):
            verify_consistency(old, new, bad, old_root, new_root)
    for bad_old, bad_new in ((EMPTY_ROOT, new_root), (old_root, EMPTY_ROOT)):
        with pytest.raises(ProofError):
            verify_consistency(old, new, proof, bad_old, bad_new)
    with pytest.raises(ProofError):
        verify_consistency(new + 1, new, proof, old_root, new_root)


def test_the_empty_tree_is_consistent_with_every_tree_and_nothing_else() -> None:
    verify_consistency(0, 3, [], EMPTY_ROOT, mth(leaves_of(3)))
    with pytest.raises(ProofError):
        verify_consistency(0, 3, [], mth(leaves_of(1)), mth(leaves_of(3)))
    with pytest.raises(ProofError):
        inclusion_proof(3, 3, Tree(leaves_of(3)).get_node)
    with pytest.raises(ProofError):
        consistency_proof(4, 3, Tree(leaves_of(3)).get_node)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_frontier_continues_where_it_was_written_down(first: int, more: int) -> None:
    leaves = leaves_of(first + more)
    frontier = Frontier.from_bytes(frontier_of(leaves[:first]).to_bytes())
    for leaf in leaves[first:]:
        frontier.append(leaf_hash(leaf))
    assert (frontier.size, frontier.root()) == (first + more, mth(leaves))
    assert frontier.to_bytes() == frontier_of(leaves).to_bytes()


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: data[:8]]
)
def test_a_damaged_frontier_is_refused(change: object) -> None:
    data = frontier_of(leaves_of(7)).to_bytes()
    with pytest.raises(ValueError, match="peaks"):
        Frontier.from_bytes(change(data))  # type: ignore[operator]
