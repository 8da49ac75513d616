"""Tiles that a store lacks, written again from the leaves in the database.

A storage account restored from before holds the tiles of an older tree than the database signed; an emptied one holds
none. Every leaf is in the database, and tiles follow from leaves, so all of them can be had again:
1. from the newest signed tree whose right edge is there: what a store of before lacks is all newer than its last one;
2. from each signed size to the next, so that the partial tiles of every checkpoint are there again, and memory does not
   grow with the log;
3. the newest signed root must follow from what is there now. Publishing it is the sequencer's.
Written twice they are the same, so a crash anywhere is made good by repairing again.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from sqlalchemy import Engine, select

from audit.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.log import latest_note
from audit.merkle import root
from audit.sequencer import TreeDamagedError, write_tiles
from audit.tables import audit_checkpoints, audit_entries
from audit.tiles import TILE_WIDTH, TileReader, TileSource, TileStore, lacks_edge


class Missing(NamedTuple):
    """What is to be written again: the tiles of the entries from `start` on, up to the newest signed checkpoint."""

    start: int
    newest: Checkpoint


def missing_tiles(engine: Engine, tiles: TileSource, log_key: Verifier) -> Missing | None:
    """None while the tiles of the newest checkpoint on record are there."""
    with engine.connect().execution_options(read_only=True) as connection:
        note = latest_note(connection)
    newest = None if note is None else open_checkpoint(note, log_key)
    if newest is None or not lacks_edge(tiles, newest.size):
        return None
    signed = _signed_sizes(engine, 0, newest.size)
    whole = bisect_left(signed, True, key=lambda size: lacks_edge(tiles, size))
    return Missing(signed[whole - 1] if whole else 0, newest)


def repair_tiles(engine: Engine, tiles: TileStore, missing: Missing) -> None:
    """Write them. TreeDamagedError when the leaves on record do not lead to what was signed.

    TileConflictError when a tile under the published checkpoint is another: that is damage, and stays for a person.
    """
    size, newest = missing
    for until in _signed_sizes(engine, size, newest.size):
        first = size - size % TILE_WIDTH
        write_tiles(tiles, size, until, _leaves(engine, first, until))
        size = until
    if root(newest.size, TileReader(tiles, newest.size).get_node) != newest.root:
        what = f"the leaves from {missing.start} on do not lead to the checkpoint at {newest.size}"
        raise TreeDamagedError(what)


def _signed_sizes(engine: Engine, after: int, until: int) -> list[int]:
    """The sizes of the signed trees, ascending."""
    size = audit_checkpoints.c.size
    wanted = select(size).where(size > after, size <= until).order_by(size)
    with engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(wanted).scalars())


def _leaves(engine: Engine, first: int, until: int) -> list[bytes]:
    index = audit_entries.c.leaf_index
    wanted = select(audit_entries.c.leaf).where(index >= first, index < until).order_by(index)
    with engine.connect().execution_options(read_only=True) as connection:
        leaves = list(connection.execute(wanted).scalars())
    if len(leaves) < until - first:
        raise TreeDamagedError(f"leaves are missing between {first} and {until}")
    return leaves
