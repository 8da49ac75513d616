"""Makes a bundle of three parts as files, with its keys. Run from the root: python -m tests.vectors.bundles.make <name>

Provenance: written by this project's own code, laid out as in the state folder of a service (docs/formats.md). Keys,
ids and plaintexts follow from fixed seeds; salts and nonces are random, so each run makes others. The data key is
wrapped three times: by the key file, and by an AES and an RSA key as a vault holds them.
`framing-1` was made at commit f5696a9, before the framing of associated data was changed and a sealed manifest kept:
today's code reads it and cannot make it again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from retention.envelope import format
from retention.envelope import format as fmt
from retention.envelope.data_keys import DataKey, WrappedKey
from retention.envelope.format import PART
from retention.envelope.manifest import Manifest, PartEntry
from retention.envelope.sealed_manifest import seal_manifest
from retention.keys import key_file
from retention.keys.key_file import LocalKeyWrapper
from retention.keys.key_vault import KeyVaultWrapper
from tests.fakes.ids import an_id, part
from tests.fakes.sealing import Memory, seal
from tests.keyvault.vault import Version

HERE = Path(__file__).parent
BUNDLE = an_id("bun", 1)
MANIFEST = an_id("mft", 1)
LENGTHS = (1, 1000, 70_000)
KEY_URL = "https://example.vault.azure.net/keys/casevault"
RSA_KEY = HERE / "vault-rsa-key.pem"


def secret(name: str) -> bytes:
    """Fixed key bytes."""
    return hashlib.sha256(f"casevault vector: {name}".encode()).digest()


def plaintext(number: int) -> bytes:
    """The plaintext of part `number`, from 0."""
    return hashlib.shake_256(f"casevault vector: part {number}".encode()).digest(LENGTHS[number])


class VaultOfOneKey(KeyVaultWrapper):
    """The vault wrapper with the vault's side of it in memory."""

    def __init__(self, kind: str, version: Version) -> None:
        self._key_url, self._kind, self._version = KEY_URL, kind, version

    def _current(self) -> Any:
        return SimpleNamespace(
            key_type=self._kind, properties=SimpleNamespace(version=self._version.number, enabled=True)
        )

    def _asked(self, version: str, operation: str, algorithm: str, value: bytes) -> bytes:
        return self._version.crypt(operation, algorithm, value)


def vaults() -> dict[str, VaultOfOneKey]:
    """By the algorithm."""
    rsa: Any = serialization.load_pem_private_key(RSA_KEY.read_bytes(), None)
    return {
        "A256KW": VaultOfOneKey("oct-HSM", Version("a" * 32, secret("vault AES key"))),
        "RSA-OAEP-256": VaultOfOneKey("RSA", Version("b" * 32, rsa)),
    }


def make(folder: Path) -> None:
    data_key = DataKey(secret("data key"))
    objects, keys = folder / "objects" / BUNDLE, folder / "data-keys"
    for each in (objects, keys):
        each.mkdir(parents=True)
    entries, offset = [], 0
    for number, length in enumerate(LENGTHS):
        sealed = seal(data_key, plaintext(number), part_id=part(30 - 10 * number), bundle_id=BUNDLE)
        (objects / f"{sealed.part_id}.sealed").write_bytes(sealed.sealed)
        entries.append(PartEntry(sealed.part_id, offset, length, sealed.digest))
        offset += length
    manifest, memory = Manifest(BUNDLE, entries), Memory()
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    seal_manifest(manifest, data_key, MANIFEST, memory)
    (objects / f"{MANIFEST}.sealed").write_bytes(memory.content)
    wrapping = [
        key_file._Key(key_file._kek_id(value), f"2026-11-0{day}T00:00:00+00:00", value)
        for day, value in enumerate((secret("old key-encryption key"), secret("key-encryption key")), 1)
    ]
    path = folder / "key-encryption-key.json"
    path.write_bytes(key_file._encode(tuple(wrapping)))
    path.chmod(0o600)
    (keys / f"{BUNDLE}.key").write_bytes(LocalKeyWrapper(path).wrap(data_key, BUNDLE).to_json())
    for algorithm, vault in vaults().items():
        (folder / f"wrapped-{algorithm}.key").write_bytes(vault.wrap(data_key, BUNDLE).to_json())


def describe(folder: Path) -> None:
    """Write `vectors.json`: every value between the files and the plaintext, in hex."""
    manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
    objects = {path.stem: path.read_bytes() for path in sorted((folder / "objects" / BUNDLE).iterdir())}
    parts = [
        _described(objects[entry.part_id], PART, entry.part_id, entry.framing, entry.digest)
        for entry in manifest.parts
    ]
    document: dict[str, Any] = {
        "bundle": BUNDLE,
        "data_key": secret("data key").hex(),
        "vault_aes_key": secret("vault AES key").hex(),
        "manifest_sha256": manifest.hash().hex(),
        "parts": parts,
        "wrapped": [_wrapped(path) for path in sorted(folder.rglob("*.key"))],
    }
    if MANIFEST in objects:
        sealed = objects[MANIFEST][:-38]
        document["manifest"] = _described(sealed, format.MANIFEST, MANIFEST, format.CURRENT, None)
    (folder / "vectors.json").write_text(json.dumps(document, indent=1) + "\n")


def _described(sealed: bytes, purpose: str, name: str, how: int, digest: bytes | None) -> dict[str, Any]:
    info = format.bound(purpose, BUNDLE, name, framing=how)
    salt = sealed[1:33]
    described = {
        "id": name,
        "framing": how,
        "associated_data": info.hex(),
        "salt": salt.hex(),
        "key": HKDF(SHA256(), 32, salt, info).derive(secret("data key")).hex(),
        "first_nonce": fmt.nonce(sealed[33:40], 0, last=len(sealed) <= fmt.SEGMENT).hex(),
        "sealed_length": len(sealed),
    }
    return described if digest is None else {**described, "digest": digest.hex()}


def _wrapped(path: Path) -> dict[str, Any]:
    """The associated data by which a wrapped key is bound, and what else it takes to check it."""
    key = WrappedKey.from_json(path.read_bytes())
    described = {"file": path.name, "algorithm": key.algorithm, "framing": key.framing}
    if key.algorithm == key_file.ALGORITHM:
        bound = format.bound(format.DATA_KEY, key.kek_id, BUNDLE, framing=key.framing)
        return {**described, "associated_data": bound.hex()}
    payload = vaults()[key.algorithm]._unwrapped(key, "")
    bound = format.bound(format.DATA_KEY_IN_VAULT, payload[:16], BUNDLE, framing=key.framing)
    return {**described, "associated_data": bound.hex(), "unwrapped": payload.hex()}


if __name__ == "__main__":
    if sys.argv[1] != "framing-1":
        make(HERE / sys.argv[1])
    describe(HERE / sys.argv[1])
