"""The contract suites of the stores, on Azurite. The fixtures `store`, `keys` and `tiles` are those of conftest.py."""

from __future__ import annotations

from tests.contracts.key_store_contract import KeyStoreContract
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.contracts.tile_store_contract import TileStoreContract


class TestAzureBlobObjectStore(ObjectStoreContract):
    pass


class TestAzureBlobKeyStore(KeyStoreContract):
    pass


class TestAzureTileStore(TileStoreContract):
    pass
