"""The suite every witness passes. Subclass it and give the fixture `witness`: an empty Witness."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from audit.mirror.store import MAX_SIZE, MirrorConflictError, MirrorStore, MirrorTiles, checkpoint_path
from audit.tlog.tile_store import TileMissingError

PATH = "tile/0/000"


class WitnessContract:
    def test_what_is_kept_is_got_back(self, witness: MirrorStore) -> None:
        for path, data in (
            (PATH, b"tile"),
            ("tile/entries/x001/000.p/7", b"\x00\xff\n" * 50_000),
            ("tile/1/000", b""),
        ):
            witness.keep(path, data)
            assert witness.get(path) == data

    def test_what_was_never_kept_is_missing(self, witness: MirrorStore) -> None:
        with pytest.raises(TileMissingError):
            witness.get(PATH)
        witness.keep(f"{PATH}.p/3", b"partial")
        with pytest.raises(TileMissingError):
            witness.get(PATH)

    def test_the_same_bytes_may_be_kept_again(self, witness: MirrorStore) -> None:
        witness.keep(PATH, b"tile")
        witness.keep(PATH, b"tile")
        assert witness.get(PATH) == b"tile"
        assert list(witness.disturbed()) == []

    def test_other_bytes_under_a_kept_name_are_a_conflict_and_change_nothing(
        self, witness: MirrorStore
    ) -> None:
        witness.keep(PATH, b"tile")
        with pytest.raises(MirrorConflictError):
            witness.keep(PATH, b"other")
        assert witness.get(PATH) == b"tile"
        assert list(witness.disturbed()) == []

    def test_of_many_who_keep_at_once_exactly_one_comes_first(self, witness: MirrorStore) -> None:
        def keep(number: int) -> int | None:
            try:
                witness.keep(PATH, b"%d" % number)
            except MirrorConflictError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(keep, range(16)) if number is not None]
        assert len(winners) == 1
        assert witness.get(PATH) == b"%d" % winners[0]

    def test_an_empty_witness_has_no_sizes(self, witness: MirrorStore) -> None:
        assert witness.newest() is None
        assert list(witness.sizes()) == []

    def test_sizes_come_in_order_of_number_whatever_their_digits(self, witness: MirrorStore) -> None:
        sizes = [0, 1, 9, 10, 11, 99, 100, 1000, 1001, 123_456_789, MAX_SIZE]
        for size in reversed(sizes):
            witness.keep(checkpoint_path(size), b"%d" % size)
        witness.keep(PATH, b"tile")
        assert list(witness.sizes()) == sizes
        for start in (1, 2, 11, 12, 1001, MAX_SIZE):
            assert list(witness.sizes(start)) == [size for size in sizes if size >= start]
        assert witness.newest() == MAX_SIZE

    def test_it_reads_as_a_mirror_at_each_of_its_checkpoints(self, witness: MirrorStore) -> None:
        witness.keep(PATH, b"tile")
        for size in (3, 5):
            witness.keep(checkpoint_path(size), b"note %d" % size)
        tiles = MirrorTiles(witness, 3)
        assert tiles.get("checkpoint") == b"note 3"
        assert tiles.get(PATH) == b"tile"

    def test_its_clock_is_another_machine_s_or_none(self, witness: MirrorStore) -> None:
        told = witness.time()
        assert told is None or abs(told - datetime.now(UTC)) < timedelta(minutes=1)

    def test_a_place_in_order_has_nothing_to_change(self, witness: MirrorStore) -> None:
        assert witness.inspect() == []
        assert witness.place
