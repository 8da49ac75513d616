"""A sealed index opens under its own bundle, id and key alone, is read from the middle, and shows any change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.envelope.data_keys import DataKey
from retention.envelope.format import SealBroken, ciphertext_length
from retention.envelope.part_stream import PartOpener
from retention.envelope.sealed_index import SealedIndex, index_sealer
from tests.fakes.ids import an_id, bundle
from tests.fakes.lengths import lengths
from tests.fakes.stores import StrictObjectStore

KEY, B, INDEX = DataKey.generate(), bundle(1), an_id("idx", 1)


def sealed(content: bytes, step: int = 1 << 20) -> bytes:
    store = StrictObjectStore()
    store.completed.add(B)
    with store.new_part(B, INDEX) as out:
        writer = index_sealer(KEY, B, INDEX, out)
        for at in range(0, len(content), step):
            writer.write(content[at : at + step])
        writer.finish()
        out.commit()
    return store.parts[B, INDEX]


def opened(raw: bytes, key: DataKey = KEY, bundle_id: str = B, index_id: str = INDEX) -> SealedIndex:
    return SealedIndex(key, bundle_id, index_id, len(raw), lambda at, length: raw[at : at + length])


@given(length=lengths(3), data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_run_reads_as_it_was_written(length: int, data: st.DataObject) -> None:
    content = (bytes(range(256)) * (length // 256 + 1))[:length]
    raw = sealed(content, data.draw(st.integers(1000, 2 << 20)))
    assert len(raw) == ciphertext_length(length)
    index = opened(raw)
    assert index.length == length
    for _ in range(4):
        at, size = data.draw(st.integers(0, length + 10)), data.draw(st.integers(0, length + 10))
        assert index.read_at(at, size) == content[at : at + size]


@pytest.mark.parametrize("other", ["key", "bundle", "id", "purpose"])
def test_another_key_bundle_id_or_purpose_does_not_open_it(other: str) -> None:
    raw = sealed(b"names of files")
    attempts: dict[str, Callable[[], object]] = {
        "key": lambda: opened(raw, key=DataKey.generate()).read_at(0, 5),
        "bundle": lambda: opened(raw, bundle_id=bundle(2)).read_at(0, 5),
        "id": lambda: opened(raw, index_id=an_id("idx", 2)).read_at(0, 5),
        "purpose": lambda: list(
            PartOpener(KEY, B, INDEX, len(raw), lambda at, n: raw[at : at + n]).read(0, 5)
        ),
    }
    with pytest.raises(SealBroken):
        attempts[other]()


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "empty", "segment"])
def test_changed_bytes_do_not_open(change: str) -> None:
    raw = sealed(bytes(3 << 20))
    changed = {
        "flip": raw[:70] + bytes([raw[70] ^ 1]) + raw[71:],
        "cut": raw[: 2 << 20],
        "longer": raw + b"x",
        "empty": b"",
        "segment": raw[: 1 << 20] + raw[2 << 20 :],
    }[change]
    with pytest.raises(SealBroken):
        opened(changed).read_at(0, 4 << 20)
