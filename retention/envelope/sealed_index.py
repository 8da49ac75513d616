"""The contents index sealed under its bundle's data key, and read from the middle.

    sealed index = the index's bytes, sealed as a part is, with the purpose `contents index` and an id of its own
Nothing names its digest: what stands in another's place does not open, and whoever holds the data key needs no index.
"""

from __future__ import annotations

from retention.envelope import format as fmt
from retention.envelope import format as frames
from retention.envelope.data_keys import DataKey
from retention.envelope.format import ImpossibleLength, SealBroken
from retention.envelope.part_stream import PartOpener, PartSealer, ReadAt, Room, SealingWriter


def index_sealer(data_key: DataKey, bundle_id: str, index_id: str, out: Room) -> SealingWriter:
    """Make the writer that seals an index into its place in the store; `finish` it, then commit the store's writer."""
    return SealingWriter(PartSealer(data_key, bundle_id, index_id, frames.INDEX), out)


class SealedIndex:
    """A sealed index of `size` stored bytes, opened a segment at a time; the last one is kept. One thread at a time.

    SealBroken, here or at a read, if it is not what was sealed.
    """

    def __init__(self, data_key: DataKey, bundle_id: str, index_id: str, size: int, read_at: ReadAt) -> None:
        try:
            self._opener = PartOpener(data_key, bundle_id, index_id, size, read_at, purpose=frames.INDEX)
        except ImpossibleLength as error:
            raise SealBroken(index_id, None, str(error)) from None
        self.length = self._opener.length
        self._kept: tuple[int, bytes] | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a run of the index, shorter only where it ends."""
        end = min(max(0, offset) + max(0, length), self.length)
        found = []
        at = max(0, offset)
        while at < end:
            number, inside = fmt.segment_of(at)
            if self._kept is None or self._kept[0] != number:
                self._kept = number, self._opener.open_segment(number)
            found.append(self._kept[1][inside : inside + end - at])
            at += len(found[-1])
        return b"".join(found)
