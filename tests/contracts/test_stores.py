"""The contract suites, on every store and wrapper there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention.envelope.data_keys import KeyWrapper
from retention.keys.key_file import LocalKeyWrapper
from retention.keys.signing import SigningKeyFiles, SigningKeys
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store import KeyStore, ObjectStore
from tests.contracts.key_store_contract import KeyStoreContract
from tests.contracts.key_wrapper_contract import KeyWrapperContract
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.contracts.signing_keys_contract import SigningKeysContract
from tests.fakes.stores import MemoryKeyWrapper, StrictKeyStore, StrictObjectStore

NOW = datetime(2026, 11, 20, tzinfo=UTC)


class TestLocalObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return LocalObjectStore(tmp_path / "objects")


class TestStrictObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return StrictObjectStore()


class TestLocalKeyStore(KeyStoreContract):
    @pytest.fixture
    def keys(self, tmp_path: Path) -> KeyStore:
        return LocalKeyStore(tmp_path / "keys")


class TestStrictKeyStore(KeyStoreContract):
    @pytest.fixture
    def keys(self) -> KeyStore:
        return StrictKeyStore()


class TestLocalKeyWrapper(KeyWrapperContract):
    @pytest.fixture
    def wrapper(self, tmp_path: Path) -> LocalKeyWrapper:
        return LocalKeyWrapper.create(tmp_path / "kek.json", NOW)

    @pytest.fixture
    def stranger(self, tmp_path: Path) -> KeyWrapper:
        return LocalKeyWrapper.create(tmp_path / "other.json", NOW)

    @pytest.fixture
    def rotate(self, wrapper: LocalKeyWrapper) -> Callable[[], object]:
        return lambda: wrapper.rotate(NOW)


class TestMemoryKeyWrapper(KeyWrapperContract):
    @pytest.fixture
    def wrapper(self) -> MemoryKeyWrapper:
        return MemoryKeyWrapper()

    @pytest.fixture
    def stranger(self) -> KeyWrapper:
        return MemoryKeyWrapper()

    @pytest.fixture
    def rotate(self, wrapper: MemoryKeyWrapper) -> Callable[[], object]:
        return wrapper.rotate


class TestSigningKeyFiles(SigningKeysContract):
    @pytest.fixture
    def signing(self, tmp_path: Path) -> SigningKeys:
        return SigningKeyFiles(tmp_path)
