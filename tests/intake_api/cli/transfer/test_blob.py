"""How a file is cut: nothing twice, nothing left out, whatever was sent before and by whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intake_api.cli.transfer.blob import LEAST, MOST, Cut, block_id, fitting, held_of, offset_of
from intake_api.cli.transfer.with_token import LANES, slices

SIZE = 1000


@given(st.integers(0, 1 << 50))
def test_a_block_id_is_its_offset_and_all_are_equally_long(offset: int) -> None:
    assert offset_of(block_id(offset)) == offset
    assert len(block_id(offset)) == len(block_id(0))


@given(st.text(max_size=30))
def test_blocks_of_other_programs_are_passed_over(other: str) -> None:
    held = held_of([(other, 5), (block_id(7), 9)])
    assert held[7] == 9 and (len(held) == 1 or offset_of(other) is not None)


@given(st.dictionaries(st.integers(0, SIZE), st.integers(1, 400)))
def test_what_fits_and_what_is_missing_make_up_the_file(held: dict[int, int]) -> None:
    kept, gaps = fitting(held, SIZE)
    at = 0
    for offset, length in sorted([*((one, held[one]) for one in kept), *gaps]):
        assert offset == at and length > 0
        at += length
    assert at == SIZE


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.data())
def test_every_block_of_one_cut_is_kept(lengths: list[int], data: st.DataObject) -> None:
    size = sum(lengths)
    whole = {sum(lengths[:number]): length for number, length in enumerate(lengths)}
    there = data.draw(st.sets(st.sampled_from(sorted(whole))))
    kept, gaps = fitting({offset: whole[offset] for offset in there}, size)
    assert kept == sorted(there)
    assert sum(length for _, length in gaps) == size - sum(whole[offset] for offset in there)


@given(st.integers(1, 1 << 50), st.lists(st.floats(0, 100), max_size=60))
def test_a_list_never_names_too_many_blocks(size: int, seconds: list[float]) -> None:
    cut = Cut(size)
    for took in seconds:
        cut.took(cut.length, took)
        assert cut.length >= LEAST
        assert -(-size // cut.length) <= 50_000


def test_blocks_grow_on_a_fast_line_and_shrink_on_a_slow_one() -> None:
    cut = Cut(1 << 30)
    for _ in range(20):
        cut.took(cut.length, 0.01)
    assert cut.length >= MOST
    cut.took(1, 0.01)  # the last bytes of a gap say nothing
    for _ in range(20):
        cut.took(cut.length, 9)
    assert cut.length < 2 * LEAST


@given(st.integers(1, 1 << 45))
def test_slices_make_up_the_file_and_are_not_many(size: int) -> None:
    found = slices(size)
    at = 0
    for offset, length in found:
        assert offset == at and length > 0
        at += length
    assert at == size and len(found) <= 30 * LANES
