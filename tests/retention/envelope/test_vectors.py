"""Vectors sealed by Google's tink package (tests/vectors/tink/make.py says how), opened here."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from retention.envelope.data_keys import DataKey
from retention.envelope.format import SealBroken, ciphertext_length
from retention.envelope.part_stream import PartOpener
from tests.fakes.tink_reference import tink_open
from tests.vectors.tink.make import associated_data

FOLDER = Path(__file__).parents[2] / "vectors" / "tink"
VECTORS: list[dict[str, Any]] = [
    {"framing": 1, **vector}
    for name in ("vectors.json", "framing-2.json")
    for vector in json.loads((FOLDER / name).read_text())["vectors"]
]


def stored(vector: dict[str, Any]) -> bytes:
    if "sealed_file" in vector:
        return FOLDER.joinpath(vector["sealed_file"]).read_bytes()
    return base64.b64decode(vector["sealed"])


def open_vector(vector: dict[str, Any], sealed: bytes) -> bytes:
    opener = PartOpener(
        DataKey(bytes.fromhex(vector["key"])),
        vector["bundle_id"],
        vector["part_id"],
        ciphertext_length(vector["length"]),
        lambda offset, length: sealed[offset : offset + length],
        framing=vector["framing"],
    )
    # By segments, not by range: of an empty part too the one segment is opened.
    return b"".join(opener.open_segment(number) for number in range(-(-len(sealed) // (1 << 20))))


def plaintext(vector: dict[str, Any]) -> bytes:
    return hashlib.shake_256(vector["plaintext_seed"].encode()).digest(vector["length"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"framing {v['framing']}, {v['length']} bytes")
def test_what_tink_sealed_opens_here(vector: dict[str, Any]) -> None:
    assert open_vector(vector, stored(vector)) == plaintext(vector)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"framing {v['framing']}, {v['length']} bytes")
def test_the_vectors_are_what_tink_still_opens(vector: dict[str, Any]) -> None:
    ids = {"bundle_id": vector["bundle_id"], "part_id": vector["part_id"], "framing": vector["framing"]}
    assert tink_open(bytes.fromhex(vector["key"]), associated_data(**ids), stored(vector)) == plaintext(
        vector
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"framing {v['framing']}, {v['length']} bytes")
def test_a_vector_with_its_final_bit_flipped_does_not_open(vector: dict[str, Any]) -> None:
    sealed = bytearray(stored(vector))
    sealed[-1] ^= 1
    with pytest.raises(SealBroken):
        open_vector(vector, bytes(sealed))
