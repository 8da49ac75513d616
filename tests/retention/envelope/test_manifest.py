from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.envelope.manifest import Manifest, PartEntry
from tests.fakes.ids import bundle, part

D = bytes(range(32))


def manifest(*lengths: int) -> Manifest:
    offsets = [sum(lengths[:number]) for number in range(len(lengths))]
    parts = [PartEntry(part(n), offsets[n], length, D) for n, length in enumerate(lengths)]
    return Manifest(bundle(1), parts)


def test_the_canonical_bytes_are_pinned() -> None:
    digest = D.hex()
    expected = (
        f'{{"bundle":"{bundle(1)}","format":"casevault-manifest-v1","parts":['
        f'{{"digest":"{digest}","length":5,"offset":0,"part":"{part(0)}"}},'
        f'{{"digest":"{digest}","length":7,"offset":5,"part":"{part(1)}"}}],"seal":"AES256_GCM_HKDF_1MB"}}'
    ).encode()
    assert manifest(5, 7).to_bytes() == expected
    assert manifest(5, 7).hash() == hashlib.sha256(expected).digest()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_every_byte_lies_in_the_part_that_the_lengths_say(lengths: list[int], data: st.DataObject) -> None:
    whole = manifest(*lengths)
    owner = [number for number, length in enumerate(lengths) for _ in range(length)]
    assert whole.length == len(owner)
    offset = data.draw(st.integers(0, whole.length - 1))
    assert whole.part_at(offset).part_id == part(owner[offset])
    for outside in (-1, whole.length):
        with pytest.raises(ValueError, match="no byte"):
            whole.part_at(outside)


@given(st.permutations(range(4)))
def test_the_order_of_the_parts_is_in_the_hash(order: list[int]) -> None:
    def ordered(numbers: list[int]) -> Manifest:
        return Manifest(bundle(1), [PartEntry(part(n), 9 * place, 9, D) for place, n in enumerate(numbers)])

    assert (ordered(order).hash() == ordered([0, 1, 2, 3]).hash()) == (order == [0, 1, 2, 3])


def test_every_field_is_in_the_hash() -> None:
    entries = [
        PartEntry(part(1), 0, 5, D),
        PartEntry(part(2), 0, 5, D),
        PartEntry(part(1), 0, 6, D),
        PartEntry(part(1), 0, 5, D[::-1]),
    ]
    manifests = [Manifest(bundle(1), [entry]) for entry in entries]
    manifests += [Manifest(bundle(2), entries[:1]), Manifest(bundle(1), [])]
    assert len({each.hash() for each in manifests}) == len(manifests)


def test_an_empty_bundle_has_no_parts() -> None:
    assert Manifest(bundle(1), []).length == 0
    assert json.loads(Manifest(bundle(1), []).to_bytes())["parts"] == []


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([PartEntry(part(1), 1, 5, D)], "starts at 1"),
        ([PartEntry(part(1), 0, 5, D), PartEntry(part(2), 6, 5, D)], "the one before ends at 5"),
        ([PartEntry(part(1), 0, 5, D), PartEntry(part(2), 4, 5, D)], "the one before ends at 5"),
        ([PartEntry(part(1), 0, 0, D)], "at least one byte"),
        ([PartEntry(part(1), 0, 5, D[:31])], "digest of 32"),
        ([PartEntry(part(1), 0, 5, D), PartEntry(part(1), 5, 5, D)], "twice"),
    ],
)
def test_a_list_that_breaks_a_rule_is_no_manifest(parts: list[PartEntry], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Manifest(bundle(1), parts)
