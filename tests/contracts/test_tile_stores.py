"""The tile store contract, on the local folder; tests/azurite/test_contracts.py holds Blob Storage to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.tlog.tile_store import LocalTileStore, TileStore
from tests.contracts.tile_store_contract import TileStoreContract


class TestLocalTileStore(TileStoreContract):
    @pytest.fixture
    def tiles(self, tmp_path: Path) -> TileStore:
        return LocalTileStore(tmp_path / "log")
