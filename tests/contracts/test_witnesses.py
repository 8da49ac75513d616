"""The witness contract, on every witness there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.mirror.store import MirrorStore
from audit.mirror.store_local import LocalMirrorStore
from tests.contracts.witness_contract import WitnessContract
from tests.fakes.buckets import Buckets
from tests.fakes.buckets import buckets as buckets


class TestLocalWitness(WitnessContract):
    @pytest.fixture
    def witness(self, tmp_path: Path) -> MirrorStore:
        return LocalMirrorStore(tmp_path / "witness")


class TestS3Witness(WitnessContract):
    @pytest.fixture
    def witness(self, buckets: Buckets) -> MirrorStore:
        return buckets.witness()

    def test_a_bucket_has_a_clock(self, witness: MirrorStore) -> None:
        assert witness.time() is not None
