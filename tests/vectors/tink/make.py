"""Makes the vectors beside this file with the `tink` package. Run from the root: python -m tests.vectors.tink.make

Provenance: sealed by tink (PyPI, version in vectors.json), AES256_GCM_HKDF_1MB as a raw key; no code of this project
took part in sealing. Keys, ids and plaintexts follow from fixed seeds; salts are Tink's own, so each run makes others.
The plaintext of a vector is the first `length` bytes of SHAKE-256(`plaintext_seed`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from importlib.metadata import version
from pathlib import Path

from tests.fakes.ids import bundle, part
from tests.fakes.tink_reference import tink_seal

HERE = Path(__file__).parent
SMALL = (0, 1, 15, 16, 17, 1000)
TWO_SEGMENTS = 1_048_520 + 7


def associated_data(bundle_id: str, part_id: str) -> bytes:
    """Written out here again, so that a change of the project's own function shows against the vectors."""
    ids = bundle_id.encode(), part_id.encode()
    return b"casevault part v1" + struct.pack(">I30sI30s", 30, ids[0], 30, ids[1])


def make() -> None:
    vectors = []
    for number, length in enumerate((*SMALL, TWO_SEGMENTS)):
        seed = f"casevault vector {number}"
        key = hashlib.sha256(b"key of " + seed.encode()).digest()
        ids = {"bundle_id": bundle(number), "part_id": part(1000 + number)}
        plaintext = hashlib.shake_256(seed.encode()).digest(length)
        sealed = tink_seal(key, associated_data(**ids), plaintext)
        stored: dict[str, str] = {"sealed": base64.b64encode(sealed).decode()}
        if length == TWO_SEGMENTS:
            stored = {"sealed_file": "two-segments.bin"}
            (HERE / stored["sealed_file"]).write_bytes(sealed)
        vectors.append({**ids, "key": key.hex(), "plaintext_seed": seed, "length": length, **stored})
    document = {"made_by": f"tink {version('tink')}", "format": "AES256_GCM_HKDF_1MB", "vectors": vectors}
    (HERE / "vectors.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    make()
