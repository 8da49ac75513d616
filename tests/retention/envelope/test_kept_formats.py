"""Bundles and keys as each version wrote them (tests/vectors/bundles/make.py says how) are read here for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from retention.envelope.bundle_file import BundleOpener
from retention.envelope.data_keys import DataKey, WrappedKey
from retention.envelope.format import NewerFraming, WrappedKeyBroken
from retention.envelope.manifest import Manifest
from retention.keys.key_file import LocalKeyWrapper
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from tests.vectors.bundles.make import BUNDLE, HERE, LENGTHS, plaintext, secret, vaults

DATA_KEY = DataKey(secret("data key"))
FRAMINGS = ("framing-1", "framing-2")


@pytest.fixture(params=FRAMINGS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copy = tmp_path / request.param
    shutil.copytree(HERE / request.param, copy)
    (copy / "key-encryption-key.json").chmod(0o600)
    for name in ("objects", "data-keys"):
        (copy / name).chmod(0o700)
    return copy


def test_the_data_key_unwraps_by_the_key_file(folder: Path) -> None:
    wrapped = LocalKeyStore(folder / "data-keys").get(BUNDLE)
    assert LocalKeyWrapper(folder / "key-encryption-key.json").unwrap(wrapped, BUNDLE) == DATA_KEY


@pytest.mark.parametrize("algorithm", ["A256KW", "RSA-OAEP-256"])
def test_the_data_key_unwraps_by_a_vault(folder: Path, algorithm: str) -> None:
    wrapped = WrappedKey.from_json((folder / f"wrapped-{algorithm}.key").read_bytes())
    assert vaults()[algorithm].unwrap(wrapped, BUNDLE) == DATA_KEY
    with pytest.raises(WrappedKeyBroken, match="another bundle"):
        vaults()[algorithm].unwrap(wrapped, BUNDLE[:-1] + "z")


def test_the_bundle_opens_by_its_manifest(folder: Path) -> None:
    manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
    store = LocalObjectStore(folder / "objects")
    with BundleOpener(DATA_KEY, manifest, lambda part_id: store.open_part(BUNDLE, part_id)) as bundle:
        whole = b"".join(bundle.read_through())
        again = b"".join(bundle.read(0, bundle.length))
    assert whole == again == b"".join(plaintext(number) for number in range(len(LENGTHS)))


def test_the_manifest_is_kept_with_the_parts(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    shutil.copytree(HERE / "framing-2" / "objects", tmp_path, dirs_exist_ok=True)
    manifest = Manifest.from_bytes((HERE / "framing-2" / "manifest.json").read_bytes())
    (manifest_id,) = [name for name in store.list_parts(BUNDLE) if name.startswith("mft_")]
    with BundleOpener(DATA_KEY, manifest, lambda part_id: store.open_part(BUNDLE, part_id)) as bundle:
        assert bundle.stored_manifest(manifest_id).to_bytes() == manifest.to_bytes()


@pytest.mark.parametrize(
    ("told", "refused"),
    [("3", NewerFraming), ("0", NewerFraming), ('"2"', WrappedKeyBroken), ("true", WrappedKeyBroken)],
)
def test_a_wrapped_key_of_another_framing_is_refused_by_what_it_says(
    told: str, refused: type[Exception]
) -> None:
    raw = f'{{"framing":{told},"kek_id":"k","algorithm":"AES-256-GCM","wrapped":"AAAA"}}'
    with pytest.raises(refused):
        WrappedKey.from_json(raw.encode())
