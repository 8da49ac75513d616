from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.envelope.data_keys import DataKey
from retention.envelope.format import CURRENT, FIRST, KNOWN, NewerFraming, SealBroken
from retention.envelope.manifest import Manifest, PartEntry
from retention.envelope.sealed_manifest import open_manifest, seal_manifest
from tests.fakes.ids import an_id, bundle, part
from tests.fakes.sealing import Memory, seal

D = bytes(range(32))


def manifest(*lengths: int, framing: int = CURRENT) -> Manifest:
    offsets = [sum(lengths[:number]) for number in range(len(lengths))]
    parts = [PartEntry(part(n), offsets[n], length, D, framing) for n, length in enumerate(lengths)]
    return Manifest(bundle(1), parts)


def test_the_canonical_bytes_are_pinned() -> None:
    digest = D.hex()
    expected = (
        f'{{"bundle":"{bundle(1)}","format":"casevault-manifest-v2","parts":['
        f'{{"digest":"{digest}","framing":2,"length":5,"offset":0,"part":"{part(0)}"}},'
        f'{{"digest":"{digest}","framing":2,"length":7,"offset":5,"part":"{part(1)}"}}],'
        f'"seal":"AES256_GCM_HKDF_1MB"}}'
    ).encode()
    assert manifest(5, 7).to_bytes() == expected
    assert manifest(5, 7).hash() == hashlib.sha256(expected).digest()


def test_of_parts_that_were_all_sealed_before_the_bytes_are_those_that_the_log_has_the_hash_of() -> None:
    digest = D.hex()
    expected = (
        f'{{"bundle":"{bundle(1)}","format":"casevault-manifest-v1","parts":['
        f'{{"digest":"{digest}","length":5,"offset":0,"part":"{part(0)}"}},'
        f'{{"digest":"{digest}","length":7,"offset":5,"part":"{part(1)}"}}],"seal":"AES256_GCM_HKDF_1MB"}}'
    ).encode()
    assert manifest(5, 7, framing=FIRST).to_bytes() == expected


frames = st.lists(st.tuples(st.integers(1, 50), st.sampled_from(KNOWN)), max_size=8)


@given(frames)
def test_a_manifest_is_read_back_from_its_bytes_and_from_no_others(parts: list[tuple[int, int]]) -> None:
    entries, offset = [], 0
    for number, (length, framing) in enumerate(parts):
        entries.append(PartEntry(part(number), offset, length, D, framing))
        offset += length
    raw = Manifest(bundle(1), entries).to_bytes()
    assert Manifest.from_bytes(raw).parts == tuple(entries)
    for other in (raw + b" ", raw.replace(b"manifest-v", b"manifest-w"), raw[:-1], b"[]", b"{}", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            Manifest.from_bytes(other)


def test_a_part_of_a_framing_that_is_not_known_needs_a_newer_version() -> None:
    with pytest.raises(NewerFraming, match="newer"):
        manifest(5, framing=3)


KEY = DataKey(bytes(range(32)))
MANIFEST_ID = an_id("mft", 1)


def sealed(whole: Manifest) -> bytes:
    memory = Memory()
    seal_manifest(whole, KEY, MANIFEST_ID, memory)
    return memory.content


def opened(
    stored: bytes, *, key: DataKey = KEY, bundle_id: str = bundle(1), name: str = MANIFEST_ID
) -> Manifest:
    return open_manifest(key, bundle_id, name, len(stored), lambda offset, n: stored[offset : offset + n])


@pytest.mark.parametrize("count", [1, 24, 9000], ids=["one part", "24 parts", "more than a segment"])
def test_a_sealed_manifest_opens_to_what_was_sealed(count: int) -> None:
    whole = manifest(*[7] * count)
    assert opened(sealed(whole)).to_bytes() == whole.to_bytes()


def test_a_sealed_manifest_is_found_from_the_end_of_whatever_precedes_it() -> None:
    stored = b"parts before it" + sealed(manifest(5, 7))
    length = int.from_bytes(stored[-8:], "big")
    assert opened(stored[-38 - length :]).to_bytes() == manifest(5, 7).to_bytes()


def test_a_manifest_of_another_key_bundle_or_name_does_not_open() -> None:
    stored = sealed(manifest(5, 7))
    for other in (
        {"key": DataKey(bytes(32))},
        {"bundle_id": bundle(2)},
        {"name": an_id("mft", 2)},
    ):
        with pytest.raises(SealBroken):
            opened(stored, **other)  # type: ignore[arg-type]


def test_every_flipped_cut_or_added_byte_of_a_sealed_manifest_is_found() -> None:
    stored = sealed(manifest(5, 7))
    for place in range(len(stored)):
        changed = bytearray(stored)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            opened(bytes(changed))
    for broken in (b"", stored[:-1], stored + b"\0", stored[1:], stored[-8:]):
        with pytest.raises(SealBroken):
            opened(broken)


def test_a_part_does_not_pass_for_a_manifest() -> None:
    part_of_it = seal(KEY, manifest(5, 7).to_bytes(), part_id=MANIFEST_ID).sealed
    with pytest.raises(SealBroken):
        opened(part_of_it + MANIFEST_ID.encode() + len(part_of_it).to_bytes(8, "big"))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_every_byte_lies_in_the_part_that_the_lengths_say(lengths: list[int], data: st.DataObject) -> None:
    whole = manifest(*lengths)
    owner = [number for number, length in enumerate(lengths) for _ in range(length)]
    assert whole.length == len(owner)
    offset = data.draw(st.integers(0, whole.length - 1))
    assert whole.part_at(offset).part_id == part(owner[offset])
    for outside in (-1, whole.length):
        with pytest.raises(ValueError, match="is outside the bundle"):
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
