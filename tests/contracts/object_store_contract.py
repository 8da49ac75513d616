"""The suite every object store passes. Subclass it and give the fixture `store`: an empty ObjectStore."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from retention.objects.store import RESERVE_MAX, ObjectStore
from retention.objects.store_errors import BadName, PartExists, PartMissing
from tests.fakes.ids import an_id, bundle, part

B = bundle(1)


def write(store: ObjectStore, bundle_id: str, part_id: str, content: bytes, step: int = RESERVE_MAX) -> None:
    with store.new_part(bundle_id, part_id) as writer:
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            writer.reserve(len(piece))[:] = piece
            writer.advance(len(piece))
        writer.commit()


def read(store: ObjectStore, bundle_id: str, part_id: str) -> bytes:
    with closing(store.open_part(bundle_id, part_id)) as reader:
        return reader.read_at(0, reader.size)


def pattern(length: int) -> bytes:
    """Bytes that differ from place to place, so that a misplaced piece shows."""
    return b"".join(number.to_bytes(8, "big") for number in range(-(-length // 8)))[:length]


class ObjectStoreContract:
    @pytest.mark.parametrize(
        ("length", "step"),
        [
            (0, 1),
            (1, 1),
            (4096, 1000),
            (RESERVE_MAX, RESERVE_MAX),
            (4 * RESERVE_MAX, RESERVE_MAX),
            (4 * RESERVE_MAX + 1, RESERVE_MAX),
            (9 * RESERVE_MAX + 4097, RESERVE_MAX - 3),
        ],
    )
    def test_a_committed_part_reads_back_as_written(self, store: ObjectStore, length: int, step: int) -> None:
        write(store, B, part(1), pattern(length), step)
        store.complete(B, [part(1)])
        assert read(store, B, part(1)) == pattern(length)

    def test_a_reservation_counts_only_as_far_as_it_was_advanced(self, store: ObjectStore) -> None:
        with store.new_part(B, part(1)) as writer:
            writer.reserve(10)[:] = b"0123456789"
            writer.advance(4)
            writer.reserve(3)[:] = b"abc"
            writer.advance(3)
            writer.reserve(5)
            writer.commit()
        store.complete(B, [part(1)])
        assert read(store, B, part(1)) == b"0123abc"

    def test_more_than_was_reserved_cannot_be_advanced_nor_one_reservation_twice(
        self, store: ObjectStore
    ) -> None:
        with store.new_part(B, part(1)) as writer:
            writer.reserve(4)
            with pytest.raises(ValueError, match="reserved"):
                writer.advance(5)
            writer.advance(4)
            with pytest.raises(ValueError, match="reserved"):
                writer.advance(4)
            with pytest.raises(ValueError, match="at most"):
                writer.reserve(RESERVE_MAX + 1)

    def test_ranges_read_as_asked_and_end_where_the_part_ends(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"0123456789")
        store.complete(B, [part(1)])
        with closing(store.open_part(B, part(1))) as reader:
            assert reader.size == 10
            assert reader.read_at(3, 4) == b"3456"
            assert reader.read_at(8, 4) == b"89"
            assert reader.read_at(10, 4) == b""
            assert reader.read_at(0, 0) == b""

    def test_a_committed_part_is_never_written_again(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"first")
        with pytest.raises(PartExists):
            write(store, B, part(1), b"second")
        store.complete(B, [part(1)])
        assert read(store, B, part(1)) == b"first"

    def test_of_two_writers_of_one_part_one_is_refused(self, store: ObjectStore) -> None:
        def write_second_inside_first() -> None:
            with store.new_part(B, part(1)) as second:  # a store refuses here ...
                first.commit()
                second.commit()  # ... or here

        with store.new_part(B, part(1)) as first:
            first.reserve(5)[:] = b"first"
            first.advance(5)
            with pytest.raises(PartExists):
                write_second_inside_first()
            if not store.list_parts(B):
                first.commit()
        store.complete(B, [part(1)])
        assert read(store, B, part(1)) == b"first"

    def test_an_aborted_part_is_in_no_list_and_its_name_is_free(self, store: ObjectStore) -> None:
        writer = store.new_part(B, part(1))
        writer.reserve(5)[:] = b"first"
        writer.advance(5)
        writer.abort()
        writer.abort()
        assert store.list_parts(B) == []
        write(store, B, part(1), b"second")
        store.complete(B, [part(1)])
        assert read(store, B, part(1)) == b"second"
        assert len(store.remains(B)) == 1

    def test_leaving_the_with_block_without_commit_aborts(self, store: ObjectStore) -> None:
        with store.new_part(B, part(1)) as writer:
            writer.reserve(5)
            writer.advance(5)
        assert store.list_parts(B) == []
        store.destroy(B)
        assert store.remains(B) == []

    def test_a_part_aborted_after_its_bundle_was_destroyed_leaves_nothing(self, store: ObjectStore) -> None:
        with store.new_part(B, part(1)) as writer:
            writer.reserve(5)
            writer.advance(5)
            store.destroy(B)
        assert store.remains(B) == []

    def test_a_finished_writer_takes_nothing_more(self, store: ObjectStore) -> None:
        writer = store.new_part(B, part(1))
        writer.commit()
        writer.abort()
        assert store.list_parts(B) == [part(1)]
        for late in (lambda: writer.reserve(1), lambda: writer.advance(0), writer.commit):
            with pytest.raises(ValueError, match="committed or aborted"):
                late()

    def test_parts_are_listed_once_committed_and_not_before(self, store: ObjectStore) -> None:
        assert store.list_parts(B) == []
        with store.new_part(B, part(2)) as writer:
            assert store.list_parts(B) == []
            writer.commit()
        write(store, B, part(1), b"x")
        write(store, bundle(2), part(3), b"x")
        assert store.list_parts(B) == [part(1), part(2)]

    def test_bundles_are_listed_as_soon_as_anything_of_them_is_there(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        with store.new_part(bundle(2), part(1)):
            assert sorted(store.list_bundles()) == [B, bundle(2)]
        store.destroy(bundle(2))
        assert list(store.list_bundles()) == [B]

    def test_completing_keeps_the_listed_parts_and_removes_the_strays(self, store: ObjectStore) -> None:
        for number in (1, 2, 3):
            write(store, B, part(number), b"x")
        stray = store.new_part(B, part(4))
        store.complete(B, [part(3), part(1)])
        assert store.list_parts(B) == [part(1), part(3)]
        with pytest.raises(PartMissing):
            stray.commit()
        store.complete(B, [part(3), part(1)])
        assert len(store.remains(B)) == 2

    def test_the_manifest_is_the_last_of_the_list_and_is_written_anew_in_the_old_ones_place(
        self, store: ObjectStore
    ) -> None:
        old, new = an_id("mft", 1), an_id("mft", 2)
        for name in (part(2), part(1), old):
            write(store, B, name, name.encode())
        store.complete(B, [part(2), part(1), old])
        assert read(store, B, old) == old.encode()
        with closing(store.open_part(B, part(1))) as reading:
            write(store, B, new, new.encode())
            store.complete(B, [part(2), part(1), new])
            assert reading.read_at(0, 100) == part(1).encode(), "a read under way goes on"
        assert store.list_parts(B) == sorted([part(1), part(2), new])
        assert [read(store, B, name) for name in (part(1), part(2), new)] == [
            name.encode() for name in (part(1), part(2), new)
        ]
        with pytest.raises(PartMissing):
            store.open_part(B, old)
        assert len(store.remains(B)) == 3
        assert store.destroy(B) == 3
        assert store.remains(B) == []
        assert list(store.list_bundles()) == []

    def test_an_index_is_written_after_completion_and_lies_beside_the_parts(self, store: ObjectStore) -> None:
        old, new = an_id("idx", 1), an_id("idx", 2)
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        with closing(store.open_part(B, part(1))) as reading:
            for name in (old, new):
                write(store, B, name, pattern(3 * RESERVE_MAX), RESERVE_MAX)
                store.keep_index(B, name)
                store.keep_index(B, name)
                assert read(store, B, name) == pattern(3 * RESERVE_MAX)
            assert reading.read_at(0, 10) == b"x", "a read under way goes on"
        with pytest.raises(PartMissing):
            store.open_part(B, old)
        store.complete(B, [part(1)])
        assert store.list_parts(B) == [part(1)]
        assert read(store, B, new) == pattern(3 * RESERVE_MAX), "completing again leaves it"
        assert list(store.list_bundles()) == [B]
        assert len(store.remains(B)) == 2
        assert store.destroy(B) == 2
        assert store.remains(B) == []
        assert list(store.list_bundles()) == []
        with pytest.raises(PartMissing):
            store.open_part(B, new)

    def test_keeping_an_index_removes_every_other_also_a_half_written_one(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        begun = store.new_part(B, an_id("idx", 1))
        write(store, B, an_id("idx", 2), b"finished, and never kept")
        write(store, B, an_id("idx", 3), b"kept")
        store.keep_index(B, an_id("idx", 3))
        with pytest.raises(PartMissing):
            begun.commit()
        with pytest.raises(PartMissing):
            store.keep_index(B, an_id("idx", 2))
        assert read(store, B, an_id("idx", 3)) == b"kept"
        assert len(store.remains(B)) == 2

    def test_an_index_alone_shows_and_is_destroyed(self, store: ObjectStore) -> None:
        with pytest.raises(PartMissing):
            store.keep_index(B, an_id("idx", 1))
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        store.destroy(B)
        write(store, B, an_id("idx", 1), b"of a writer that did not know")
        assert list(store.list_bundles()) == [B]
        assert len(store.remains(B)) == 1
        assert store.destroy(B) == 1
        assert (store.remains(B), list(store.list_bundles())) == ([], [])

    def test_an_index_being_written_is_lost_with_its_bundle(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        with store.new_part(B, an_id("idx", 1)) as writer:
            writer.reserve(1)
            writer.advance(1)
            store.destroy(B)
            with pytest.raises(PartMissing):
                writer.commit()
        assert store.remains(B) == []

    def test_of_two_completions_at_once_with_different_lists_one_is_whole(self, store: ObjectStore) -> None:
        for round_ in range(4):
            bundle_id, manifests = bundle(round_), [an_id("mft", 10 * round_ + n) for n in range(3)]
            for name in (part(1), *manifests):
                write(store, bundle_id, name, name.encode())

            def complete(last: str, bundle_id: str = bundle_id) -> None:
                with suppress(PartMissing):
                    store.complete(bundle_id, [part(1), last])

            threads = [threading.Thread(target=complete, args=(last,)) for last in manifests]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            left = [name for name in store.list_parts(bundle_id) if name != part(1)]
            assert len(left) == 1
            assert read(store, bundle_id, left[0]) == left[0].encode()

    def test_completing_without_a_listed_part_changes_nothing(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        write(store, B, part(2), b"x")
        with pytest.raises(PartMissing):
            store.complete(B, [part(1), part(3)])
        assert store.list_parts(B) == [part(1), part(2)]

    def test_an_absent_part_cannot_be_opened(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        with pytest.raises(PartMissing):
            store.open_part(B, part(2))
        with pytest.raises(PartMissing):
            store.open_part(bundle(2), part(1))

    def test_destroying_removes_all_forms_of_a_bundle_and_nothing_of_others(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        write(store, B, part(2), b"x")
        store.new_part(B, part(3))
        write(store, bundle(2), part(1), b"kept")
        assert len(store.remains(B)) == 3
        assert store.destroy(B) == 3
        assert store.remains(B) == []
        assert list(store.list_bundles()) == [bundle(2)]
        store.complete(bundle(2), [part(1)])
        assert read(store, bundle(2), part(1)) == b"kept"

    def test_destroying_again_or_the_unknown_removes_nothing_and_is_no_error(
        self, store: ObjectStore
    ) -> None:
        write(store, B, part(1), b"x")
        store.destroy(B)
        assert store.destroy(B) == 0
        assert store.destroy(bundle(9)) == 0
        assert store.remains(bundle(9)) == []

    def test_what_was_destroyed_cannot_be_opened(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        store.complete(B, [part(1)])
        store.destroy(B)
        with pytest.raises(PartMissing):
            store.open_part(B, part(1))

    def test_a_part_destroyed_while_it_is_written_cannot_be_committed(self, store: ObjectStore) -> None:
        with store.new_part(B, part(1)) as writer:
            writer.reserve(1)
            writer.advance(1)
            store.destroy(B)
            with pytest.raises(PartMissing):
                writer.commit()
        assert store.remains(B) == []

    def test_one_part_is_destroyed_alone_and_idempotently(self, store: ObjectStore) -> None:
        write(store, B, part(1), b"x")
        write(store, B, part(2), b"x")
        store.destroy_part(B, part(1))
        store.destroy_part(B, part(1))
        assert store.list_parts(B) == [part(2)]
        store.destroy_part(bundle(9), part(1))
        store.destroy_part(B, part(2))
        assert store.list_parts(B) == []
        store.destroy(B)
        assert store.remains(B) == []

    def test_a_part_being_written_is_not_taken_for_abandoned(self, store: ObjectStore) -> None:
        with store.new_part(B, part(1)) as writer:
            assert store.discard_abandoned() == 0
            writer.commit()
        assert store.list_parts(B) == [part(1)]

    @pytest.mark.parametrize(
        "name", ["", "..", "bdl_", "../" + B, B + "/", B.upper(), B + "\n", "bdl_" + "a" * 27]
    )
    def test_only_ids_are_names(self, store: ObjectStore, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.new_part(name, part(1)),
            lambda: store.new_part(B, name),
            lambda: store.complete(B, [name]),
            lambda: store.keep_index(name, an_id("idx", 1)),
            lambda: store.keep_index(B, name),
            lambda: store.open_part(name, part(1)),
            lambda: store.open_part(B, name),
            lambda: store.list_parts(name),
            lambda: store.destroy(name),
            lambda: store.destroy_part(B, name),
            lambda: store.remains(name),
        ]
        for call in calls:
            with pytest.raises(BadName):
                call()

    def test_many_threads_write_one_bundle_at_once(self, store: ObjectStore) -> None:
        def work(number: int) -> None:
            write(store, B, part(number), bytes([number]) * 100_000, step=30_000)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.complete(B, [part(number) for number in range(8)])
        assert [read(store, B, part(number)) for number in range(8)] == [
            bytes([n]) * 100_000 for n in range(8)
        ]

    def test_a_healthy_store_is_ready_and_tells_its_room(self, store: ObjectStore) -> None:
        store.check()
        room = store.free_space()
        assert room is None or room > 0
