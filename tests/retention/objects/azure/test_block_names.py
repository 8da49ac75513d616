"""What lists of blocks say: whatever was staged, by whom, and in whatever order the service tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.objects.azure.block_names import BEGIN, DATA, DEAD, EMPTY, LAST, Block, BlockLists, Extent
from tests.fakes.ids import bundle, part

A, Z = "aaaaaaaa", "ffffffff"


def run(number: int, writer: str, *sizes: int) -> list[Block]:
    """The blocks of a finished part."""
    if not sizes:
        return [Block(part(number), writer, 1, EMPTY, 1)]
    kinds = [DATA] * (len(sizes) - 1) + [LAST]
    return [Block(part(number), writer, n + 1, kinds[n], size) for n, size in enumerate(sizes)]


def begun(number: int, writer: str) -> Block:
    return Block(part(number), writer, 0, BEGIN, 1)


def told(*blocks: Block) -> list[tuple[str, int]]:
    return [(block.name, block.size) for block in blocks]


sizes = st.lists(st.integers(1, 9_000_000), max_size=5)


@given(st.integers(0, 2**40), st.text("0123456789abcdef", min_size=8, max_size=8), st.integers(0, 99_999))
def test_a_blocks_name_says_what_it_is(number: int, writer: str, index: int) -> None:
    block = Block(part(number), writer, index, DATA, 7)
    assert Block.parse(block.name, 7) == block
    assert len(block.name) == 46


@pytest.mark.parametrize("name", ["", "x" * 46, part(1), f"{part(1)}.{A}.00001q", f"{part(1)}.{A}.00001d\n"])
def test_other_blocks_are_nobodys_and_still_found(name: str) -> None:
    lists = BlockLists([], [(name, 5)])
    assert lists.parts() == []
    assert lists.names(bundle(1)) == [f"{bundle(1)}/foreign blocks"]
    assert BlockLists([(name, 5)], []).extents() == {}


@given(st.lists(sizes, max_size=6), st.randoms(use_true_random=False))
def test_finished_parts_are_found_in_whatever_order_their_blocks_are_told(
    parts: list[list[int]], choose: object
) -> None:
    staged = [
        block for number, each in enumerate(parts) for block in [begun(number, A), *run(number, A, *each)]
    ]
    choose.shuffle(staged)  # type: ignore[attr-defined]
    lists = BlockLists([], told(*staged))
    assert lists.parts() == [part(number) for number in range(len(parts))]
    for number, each in enumerate(parts):
        assert lists.blocks_of(part(number)) == run(number, A, *each)


@given(st.lists(sizes, max_size=6))
def test_parts_lie_in_the_blob_one_after_the_other(parts: list[list[int]]) -> None:
    committed = [block for number, each in enumerate(parts) for block in run(number, A, *each)]
    extents = BlockLists(told(*committed), []).extents()
    end = 0
    for number, each in enumerate(parts):
        assert extents[part(number)] == Extent(end, sum(each), A)
        end += sum(each) or 1  # the byte that stands for an empty part


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.data())
def test_a_part_that_lacks_any_block_is_not_finished(each: list[int], data: st.DataObject) -> None:
    blocks = [begun(1, A), *run(1, A, *each)]
    missing = data.draw(st.integers(0, len(blocks) - 1))
    lists = BlockLists([], told(*blocks[:missing], *blocks[missing + 1 :]))
    assert lists.parts() == []
    assert lists.blocks_of(part(1)) is None
    assert lists.names(bundle(1)) == [f"{bundle(1)}/{part(1)}.partial"]


def test_a_dead_writers_part_is_not_there_and_leaves_the_name_free() -> None:
    dead = [begun(1, A), *run(1, A, 5), Block(part(1), A, 0, DEAD, 1)]
    lists = BlockLists([], told(*dead, begun(1, Z), *run(1, Z, 7)))
    assert lists.blocks_of(part(1)) == run(1, Z, 7)
    assert lists.living() == {(part(1), Z)}


def test_two_finished_writers_of_one_part_contradict_each_other() -> None:
    lists = BlockLists([], told(begun(1, A), *run(1, A, 5), begun(1, Z), *run(1, Z, 5)))
    assert lists.blocks_of(part(1)) is None
    assert sorted(lists.finished_by(part(1))) == [A, Z]


def test_a_committed_part_is_itself_whatever_is_staged_beside_it() -> None:
    lists = BlockLists(told(*run(1, A, 5)), told(begun(1, Z), *run(1, Z, 7)))
    assert lists.blocks_of(part(1)) == run(1, A, 5)
    assert lists.is_committed(part(1))
