"""docs/formats.md, the vectors and the code say the same.

The reader here is written from the page alone, with hashes and ciphers and nothing of ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from audit.cosigning.cosignature import CosignatureVerifier, cosigned_at
from audit.entry import OPTIONAL_IDS, REQUIRED_FIELDS, Action, parse_leaf, particulars_hash
from audit.times import parse_rfc3339, rfc3339
from audit.tlog.checkpoint import Verifier, open_checkpoint
from audit.tlog.overdue import overdue
from retention.domain.actor import KIND_OF_ROLE
from retention.domain.ids import Kind
from retention.domain.receipt import check
from tests.vectors.bundles.make import BUNDLE, LENGTHS, plaintext
from tests.vectors.log import make as log_vectors

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "formats.md").read_text("utf-8")
BUNDLES, LOG = ROOT / "tests" / "vectors" / "bundles", ROOT / "tests" / "vectors" / "log"
FRAMINGS = ("framing-1", "framing-2")
SEGMENT = 1 << 20


def field(content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack(">I", len(raw)) + raw


def associated(framing: int, purpose: str, *fields: str | bytes) -> bytes:
    if framing == 2:
        return field("casevault v2") + field(purpose) + b"".join(map(field, fields))
    raw = [content.encode() if isinstance(content, str) else content for content in fields]
    return {
        "part": b"casevault part v1" + b"".join(map(field, fields)),
        "data key": b"casevault data key v1\0" + b"\0".join(raw),
        "data key in vault": b"casevault data key in a vault v1\0" + b"".join(raw),
    }[purpose]


def segments(sealed: bytes) -> list[bytes]:
    pieces = [sealed[start : start + SEGMENT] for start in range(0, len(sealed), SEGMENT)]
    return [pieces[0][40:], *pieces[1:]]


def open_sealed(data_key: bytes, sealed: bytes, info: bytes) -> bytes:
    assert sealed[0] == 0x28
    key = HKDF(hashes.SHA256(), 32, sealed[1:33], info).derive(data_key)
    pieces = segments(sealed)
    opened = b""
    for number, piece in enumerate(pieces):
        nonce = sealed[33:40] + struct.pack(">IB", number, number == len(pieces) - 1)
        opened += AESGCM(key).decrypt(nonce, piece, None)
    return opened


def digest(sealed: bytes, length: int) -> str:
    tags = b"".join(piece[-16:] for piece in segments(sealed))
    return hashlib.sha256(
        b"casevault part digest v1" + sealed[:40] + tags + struct.pack(">Q", length)
    ).hexdigest()


def unwrap(folder: Path, path: Path) -> bytes:
    """The data key in this wrapped key."""
    fields = json.loads(path.read_bytes())
    framing, wrapped = fields.get("framing", 1), base64.b64decode(fields["wrapped"], validate=True)
    if fields["algorithm"] == "AES-256-GCM":
        keys = {
            key["id"]: key["key"]
            for key in json.loads((folder / "key-encryption-key.json").read_bytes())["keys"]
        }
        secret = base64.b64decode(keys[fields["kek_id"]])
        assert fields["kek_id"] == "local-" + hashlib.sha256(b"casevault key id v1" + secret).hexdigest()[:16]
        bound = associated(framing, "data key", fields["kek_id"], BUNDLE)
        return AESGCM(secret).decrypt(wrapped[:12], wrapped[12:], bound)
    if fields["algorithm"] == "A256KW":
        told = json.loads((folder / "vectors.json").read_bytes())
        payload = aes_key_unwrap(bytes.fromhex(told["vault_aes_key"]), wrapped)
    else:
        private: Any = serialization.load_pem_private_key((BUNDLES / "vault-rsa-key.pem").read_bytes(), None)
        payload = private.decrypt(wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    salt, secret, mac = payload[:16], payload[16:48], payload[48:]
    assert hmac.digest(secret, associated(framing, "data key in vault", salt, BUNDLE), "sha256") == mac
    return bytes(secret)


def objects(folder: Path) -> dict[str, bytes]:
    return {
        path.name.removesuffix(".sealed"): path.read_bytes()
        for path in (folder / "objects" / BUNDLE).iterdir()
    }


def read_manifest(data_key: bytes, stored: bytes) -> bytes:
    manifest_id, length = struct.unpack(">30sQ", stored[-38:])
    sealed = stored[-38 - length : -38]
    return open_sealed(data_key, sealed, associated(2, "manifest", BUNDLE, manifest_id))


def read_bundle(data_key: bytes, manifest: dict[str, Any], stored: dict[str, bytes]) -> Iterator[bytes]:
    for part in manifest["parts"]:
        sealed = stored[part["part"]]
        assert len(sealed) == part["length"] + 40 + 16 * len(segments(sealed))
        assert digest(sealed, part["length"]) == part["digest"]
        yield open_sealed(data_key, sealed, associated(part.get("framing", 1), "part", BUNDLE, part["part"]))


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_reader_written_from_the_page_opens_the_bundle_of_the_vectors(name: str) -> None:
    folder = BUNDLES / name
    told = json.loads((folder / "vectors.json").read_bytes())
    keys = {path.name: unwrap(folder, path) for path in folder.rglob("*.key")}
    assert len(keys) == 3
    assert {key.hex() for key in keys.values()} == {told["data_key"]}
    data_key = keys[f"{BUNDLE}.key"]
    raw = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == told["manifest_sha256"]
    opened = b"".join(read_bundle(data_key, json.loads(raw), objects(folder)))
    assert opened == b"".join(plaintext(number) for number in range(len(LENGTHS)))


def test_the_manifest_is_found_among_the_objects_and_at_the_end_of_a_blob() -> None:
    folder = BUNDLES / "framing-2"
    data_key = unwrap(folder, folder / "data-keys" / f"{BUNDLE}.key")
    stored, expected = objects(folder), (folder / "manifest.json").read_bytes()
    (manifest_id,) = [name for name in stored if name.startswith("mft_")]
    assert read_manifest(data_key, stored[manifest_id]) == expected
    manifest = json.loads(expected)
    blob = b"".join(stored[part["part"]] for part in manifest["parts"]) + stored[manifest_id]
    assert read_manifest(data_key, blob) == expected
    at, apart = 0, {}
    for part in manifest["parts"]:
        sealed_length = part["length"] + 56
        apart[part["part"]] = blob[at : at + sealed_length]
        at += sealed_length
    assert b"".join(read_bundle(data_key, manifest, apart)) == b"".join(
        read_bundle(data_key, manifest, stored)
    )


@pytest.mark.parametrize("name", FRAMINGS)
def test_the_vectors_state_what_lies_between_the_files_and_the_plaintext(name: str) -> None:
    folder = BUNDLES / name
    told, stored = json.loads((folder / "vectors.json").read_bytes()), objects(folder)
    purposes = [("part", part) for part in told["parts"]]
    purposes += [("manifest", told["manifest"])] if "manifest" in told else []
    assert len(purposes) == 3 + (name == "framing-2")
    for purpose, part in purposes:
        sealed = stored[part["id"]][: part["sealed_length"]]
        info = associated(part["framing"], purpose, BUNDLE, part["id"])
        assert info.hex() == part["associated_data"]
        key = HKDF(hashes.SHA256(), 32, sealed[1:33], info).derive(bytes.fromhex(told["data_key"]))
        assert (key.hex(), sealed[1:33].hex()) == (part["key"], part["salt"])
        assert part["first_nonce"] == (sealed[33:40] + b"\0\0\0\0\1").hex()
    for wrapped in told["wrapped"]:
        path = next(folder.rglob(wrapped["file"]))
        assert json.loads(path.read_bytes())["algorithm"] == wrapped["algorithm"]
        if "unwrapped" in wrapped:
            payload = bytes.fromhex(wrapped["unwrapped"])
            bound = associated(wrapped["framing"], "data key in vault", payload[:16], BUNDLE)
            assert payload[16:48].hex() == told["data_key"]
            assert payload[48:] == hmac.digest(payload[16:48], bound, "sha256")
        else:
            bound = associated(
                wrapped["framing"], "data key", json.loads(path.read_bytes())["kek_id"], BUNDLE
            )
        assert bound.hex() == wrapped["associated_data"]


def test_the_log_of_the_vectors_is_what_the_code_writes(tmp_path: Path) -> None:
    log_vectors.make(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(LOG): path.read_bytes() for path in LOG.rglob("*") if path.is_file()}
    kept = {path: content for path, content in kept.items() if path.suffix not in (".py", ".pyc")}
    assert made == kept


def test_the_log_of_the_vectors_verifies() -> None:
    keys = json.loads((LOG / "keys.json").read_text())
    log = Verifier.parse(keys["log"])
    checkpoint = open_checkpoint((LOG / "checkpoint").read_text("utf-8"), log)
    told = json.loads((LOG / "expected.json").read_text("utf-8"))
    assert (checkpoint.size, base64.b64encode(checkpoint.root).decode()) == (told["size"], told["root"])
    cosigned = (LOG / "checkpoint.cosigned").read_text("utf-8")
    assert cosigned_at(cosigned, CosignatureVerifier.parse(keys["witness"])) == log_vectors.START
    leaves = []
    for entry in json.loads((LOG / "entries.json").read_text("utf-8")):
        leaf = parse_leaf(entry["leaf"].encode())
        leaves.append(leaf)
        assert hashlib.sha256(b"\0" + entry["leaf"].encode()).hexdigest() == entry["leaf_hash"]
        if entry["salt"] is not None:
            salted = particulars_hash(bytes.fromhex(entry["salt"]), entry["particulars"])
            assert leaf["particulars"] == salted
    assert [leaf["at"] for leaf in leaves] != sorted(leaf["at"] for leaf in leaves), "`at` is no order"
    for now, late in told["overdue"].items():
        found = [[one.bundle, one.case, rfc3339(one.deadline)] for one in overdue(leaves, parse_rfc3339(now))]
        assert found == late
    for kind, action in (("intake", Action.BUNDLE_VERIFIED), ("erasure", Action.ERASURE_PROVEN)):
        document = json.loads((LOG / f"{kind}-receipt.json").read_text("utf-8"))
        assert check(document, Verifier.parse(keys["receipts"]), log).leaf["action"] == action


def test_the_page_shows_the_associated_data_of_the_vectors() -> None:
    first = json.loads((BUNDLES / "framing-2" / "vectors.json").read_bytes())["parts"][1]
    assert first["id"] in PAGE
    shown = re.search(r"^    (0000000c[0-9a-f]+)\n    ([0-9a-f]+)$", PAGE, re.MULTILINE)
    assert shown is not None
    assert shown[1] + shown[2] == first["associated_data"]


@pytest.mark.parametrize(
    "words",
    [
        *(f"`{action.value}`" for action in Action),
        *(f"`{name}`" for name in (*REQUIRED_FIELDS, *OPTIONAL_IDS, "details", "particulars")),
        *(f"`{kind}`" for kind in sorted({*KIND_OF_ROLE.values(), "unknown"})),
        *(f"`{kind.value}`" for kind in Kind),
    ],
)
def test_the_page_names_every_action_field_and_kind(words: str) -> None:
    assert words in PAGE
