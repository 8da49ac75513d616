"""The contract suites of the stores, on Azurite. The fixtures `store` and `keys` are those of conftest.py."""

from __future__ import annotations

from tests.contracts.key_store_contract import KeyStoreContract
from tests.contracts.object_store_contract import ObjectStoreContract


class TestAzureBlobObjectStore(ObjectStoreContract):
    pass


class TestAzureBlobKeyStore(KeyStoreContract):
    pass
