"""The witness contract, on every witness there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.witness import Witness
from audit.witness_local import LocalWitness
from tests.contracts.witness_contract import WitnessContract
from tests.fakes.buckets import Buckets
from tests.fakes.buckets import buckets as buckets


class TestLocalWitness(WitnessContract):
    @pytest.fixture
    def witness(self, tmp_path: Path) -> Witness:
        return LocalWitness(tmp_path / "witness")


class TestS3Witness(WitnessContract):
    @pytest.fixture
    def witness(self, buckets: Buckets) -> Witness:
        return buckets.witness()

    def test_a_bucket_has_a_clock(self, witness: Witness) -> None:
        assert witness.time() is not None
