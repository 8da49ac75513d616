"""Makes the vectors beside this file with the `tink` package. Run from the root: python -m tests.vectors.tink.make

Provenance: sealed by tink (PyPI, version in vectors.json), AES256_GCM_HKDF_1MB as a raw key; no code of this project
took part in sealing. Keys, ids and plaintexts follow from fixed seeds; salts are Tink's own, so each run makes others.
The plaintext of a vector is the first `length` bytes of SHAKE-256(`plaintext_seed`).
vectors.json and two-segments.bin have the associated data of framing 1 (docs/formats.md) and stay as they were made;
framing-2.json is what this makes.
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


def associated_data(bundle_id: str, part_id: str, framing: int) -> bytes:
    """Written out here again, so that a change of the project's own function shows against the vectors."""
    ids = bundle_id.encode(), part_id.encode()
    if framing == 1:
        return b"casevault part v1" + struct.pack(">I30sI30s", 30, ids[0], 30, ids[1])
    return struct.pack(">I12sI4sI30sI30s", 12, b"casevault v2", 4, b"part", 30, ids[0], 30, ids[1])


def make() -> None:
    vectors = []
    for number, length in enumerate(SMALL, 7):
        seed = f"casevault vector {number}"
        key = hashlib.sha256(b"key of " + seed.encode()).digest()
        ids = {"bundle_id": bundle(number), "part_id": part(1000 + number)}
        plaintext = hashlib.shake_256(seed.encode()).digest(length)
        sealed = tink_seal(key, associated_data(**ids, framing=2), plaintext)
        stored = {"framing": 2, "sealed": base64.b64encode(sealed).decode()}
        vectors.append({**ids, "key": key.hex(), "plaintext_seed": seed, "length": length, **stored})
    document = {"made_by": f"tink {version('tink')}", "format": "AES256_GCM_HKDF_1MB", "vectors": vectors}
    (HERE / "framing-2.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    make()
