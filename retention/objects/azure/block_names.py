"""The layout of a bundle in one block blob: names of blocks, and the meaning of a list of them. Pure.

The blob is named by the bundle id. A block's name is  <part id>.<writer>.<number><kind>  — 46 characters, always:

    b  begin   staged by `new_part`, number 0; its one byte belongs to no part
    d  data    staged while the part is written, numbers 1, 2, 3 ...
    l  last    the last data block: its number is the count of data blocks
    e  empty   stands for a part without bytes, number 1; its one byte does not count
    x  dead    number 0: this writer's blocks no longer count

1. A writer (eight random hex digits) is alive while its `b` exists and its `x` does not. Staged blocks cannot be
   removed singly, so an `x` marks them dead; they go with the next commit of a block list, or with the blob.
2. A part is finished when one living writer of it has its last block and all before it. That is the part's commit.
3. Committing a block list discards all staged blocks that it does not name, `b` among them: a writer that finds its `b`
   gone knows that its part was destroyed.
4. The committed list names the parts' blocks in the order of the parts, and nothing else: so it also tells where in
   the blob each part lies.
5. Two finished writers of one part contradict each other. Neither counts: nobody could say whose bytes were recorded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from retention.objects import object_names

BEGIN, DATA, LAST, EMPTY, DEAD = "bdlex"
_NAME = re.compile(r"([a-z]{3}_[a-z2-7]{26})\.([0-9a-f]{8})\.([0-9]{5})([bdlex])")
MAX_BLOCKS = 50_000
"""The most blocks that the service commits to one blob."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block: its parsed name, and its size in bytes."""

    part_id: str
    writer: str
    number: int
    kind: str
    size: int = 0

    @property
    def name(self) -> str:
        return f"{self.part_id}.{self.writer}.{self.number:05d}{self.kind}"

    @classmethod
    def parse(cls, name: str, size: int) -> Self | None:
        """Parse a block's name; None for a block that is not ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        part_id, writer, number, kind = match.groups()
        return cls(part_id, writer, int(number), kind, size)


@dataclass(frozen=True, slots=True)
class Extent:
    """A part's place in the blob, and its writer."""

    offset: int
    size: int
    writer: str


class BlockLists:
    """One blob's blocks as the service lists them: committed in order, staged in any."""

    def __init__(self, committed: Iterable[tuple[str, int]], staged: Iterable[tuple[str, int]]) -> None:
        self.committed = [Block.parse(name, size) for name, size in committed]
        self.staged = [Block.parse(name, size) for name, size in staged]
        self._committed: dict[str, list[Block]] = defaultdict(list)
        self._writers: dict[tuple[str, str], list[Block]] = defaultdict(list)
        for block in filter(None, self.committed):
            self._committed[block.part_id].append(block)
        for block in filter(None, self.staged):
            self._writers[block.part_id, block.writer].append(block)

    def extents(self) -> dict[str, Extent]:
        """Locate the parts of a complete bundle; empty if a committed block is not ours."""
        extents: dict[str, Extent] = {}
        offset = 0
        for block in self.committed:
            if block is None:
                return {}
            counted = 0 if block.kind == EMPTY else block.size
            before = extents.get(block.part_id, Extent(offset, 0, block.writer))
            extents[block.part_id] = Extent(before.offset, before.size + counted, block.writer)
            offset += block.size
        return extents

    def began(self, part_id: str, writer: str) -> bool:
        """Tell whether the begin block exists: the bundle was neither completed nor destroyed since."""
        return any(block.kind == BEGIN for block in self._writers.get((part_id, writer), ()))

    def alive(self, part_id: str, writer: str) -> bool:
        kinds = {block.kind for block in self._writers.get((part_id, writer), ())}
        return BEGIN in kinds and DEAD not in kinds

    def whole(self, part_id: str, writer: str) -> bool:
        """Tell whether this writer is alive and all its blocks exist, the last included."""
        return self.alive(part_id, writer) and self._whole_run(part_id, writer) is not None

    def _whole_run(self, part_id: str, writer: str) -> list[Block] | None:
        run = sorted(
            (b for b in self._writers.get((part_id, writer), ()) if b.number > 0), key=lambda b: b.number
        )
        numbered = [block.number for block in run] == list(range(1, len(run) + 1))
        ended = bool(run) and [b.kind for b in run if b.kind != DATA] == [run[-1].kind]
        return run if numbered and ended else None

    def living(self) -> set[tuple[str, str]]:
        """Return part and writer of all parts being written, or finished and not complete."""
        return {key for key in self._writers if self.alive(*key)}

    def finished_by(self, part_id: str) -> list[str]:
        """Return the writers that have finished this part: one, or none."""
        return [writer for part, writer in self.living() if part == part_id and self.whole(part, writer)]

    @staticmethod
    def dead_mark(part_id: str, writer: str) -> str:
        return Block(part_id, writer, 0, DEAD).name

    def is_committed(self, part_id: str) -> bool:
        return part_id in self._committed

    def blocks_of(self, part_id: str) -> list[Block] | None:
        """Return this part's blocks, in order; None if there is no such part, or rule 5 applies."""
        if part_id in self._committed:
            return self._committed[part_id]
        writers = self.finished_by(part_id)
        return self._whole_run(part_id, writers[0]) if len(writers) == 1 else None

    def parts(self) -> list[str]:
        """Return the ids of the finished and the committed parts, sorted."""
        found = {*self._committed, *(part for part, writer in self.living() if self.whole(part, writer))}
        return sorted(found)

    def names(self, bundle_id: str) -> list[str]:
        """Name everything found: each part, and each writer's staged blocks."""
        names = {object_names.part_object(bundle_id, part_id) for part_id in self._committed}
        for part_id, writer in self._writers:
            name = object_names.part_object if self.whole(part_id, writer) else object_names.part_partial
            names.add(name(bundle_id, part_id))
        if None in self.committed or None in self.staged:
            names.add(f"{object_names.bundle_folder(bundle_id)}/foreign blocks")
        return sorted(names)
