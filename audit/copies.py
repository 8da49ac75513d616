"""The copies of the log outside its database: the tiles that were published, and what the witness keeps of them.

A database that was restored from before knows less than they do. Which of them knows most is decided here; both are
signed by the log's own key, and the shorter must be the beginning of the longer.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.merkle import root
from audit.mirror import ForkedError
from audit.sequencer import TreeDamagedError
from audit.tiles import CHECKPOINT_PATH, TileError, TileMissingError, TileReader, TileSource, lacks_edge
from audit.witness import Witness, WitnessTiles


class Copy(NamedTuple):
    """A copy of the log, at its newest checkpoint."""

    source: TileSource
    checkpoint: Checkpoint


def published_checkpoint(tiles: TileSource, log_key: Verifier) -> Checkpoint | None:
    """What was published last; None if nothing ever was. NoteError when it is not this log's."""
    try:
        note = tiles.get(CHECKPOINT_PATH)
    except TileMissingError:
        return None
    return open_checkpoint(note.decode(errors="replace"), log_key)


def longest_copy(
    tiles: TileSource, published: Checkpoint | None, witness: Witness, kept: Checkpoint | None
) -> Copy | None:
    """The longer of the published and the witnessed log (`kept`); ForkedError if one is not the beginning of the other.

    A published checkpoint whose tiles are not there gives way to the witness's of the same size. TreeDamagedError when
    only such a one tells of the newest entries.
    """
    witnessed = None if kept is None else Copy(WitnessTiles(witness, kept.size), kept)
    local = None if published is None else Copy(tiles, published)
    if witnessed is None or local is None:
        return witnessed or local
    behind = local.checkpoint.size - witnessed.checkpoint.size
    shorter, longer = (witnessed, local) if behind >= 0 else (local, witnessed)
    at = shorter.checkpoint.size
    if behind == 0 and lacks_edge(tiles, at):
        longer = witnessed
    try:
        agreed = root(at, TileReader(longer.source, longer.checkpoint.size).get_node)
    except (TileMissingError, TileError) as error:
        what = f"the tiles of the log of {longer.checkpoint.size} are not all there ({error})"
        raise TreeDamagedError(f"{what}, and no other copy is as long") from None
    if agreed != shorter.checkpoint.root:
        raise ForkedError(f"the published log and the one in {witness.place} differ before entry {at}")
    return longer
