"""Recovery after a restore: the log's lost tail from a mirror, lost tiles from the database, and row gaps.

The tail. A restored database lacks the end of its own log; without it the service would number new entries in the
places of the lost ones, and sign a second history. Instead the tail is adopted from a mirror's tiles:
1. the mirror's checkpoint is ours, the tree on record is the beginning of its tree, and the tail's leaves lead from the
   one to the other (`read_tail`): only then is anybody allowed to act on what they say;
2. * tile by tile, each in one transaction: the leaves go back to their places, the frontier grows with them, and the
   grown tree again leads, by a proof, to the signed checkpoint: nothing unsigned is adopted;
3. the sequencer then finds a tree larger than its last checkpoint, writes the tiles it lacks and signs. As signing
   uses neither clock nor randomness, it signs the very note that was lost.
Adopting again resumes after a crash anywhere. Names, reasons and addresses were beside the leaves in the lost rows
only: adopted entries are shown as redacted. An entry that the back-up holds unnumbered was written before it and
numbered after: it keeps its row and particulars.

The tiles. A storage account restored from a back-up holds the tiles of an older tree than the database signed; an
emptied one holds none. Every leaf is in the database, and tiles follow from leaves, so all of them can be written
again:
1. from the newest signed tree whose right edge exists: all that a restored store lacks is newer than its last tree;
2. from each signed size to the next, so that the partial tiles of every checkpoint exist again, and memory does not
   grow with the log;
3. the newest signed root must follow from the tiles. The sequencer publishes it.
Tiles written twice are the same, so repairing again resumes after a crash anywhere.

Row gaps. On SQLite every row number ever given is present, or its row was deleted: an undone transaction takes its
numbers back (AUTOINCREMENT keeps them in a table like any other). On PostgreSQL an undone transaction leaves a gap in
good faith, so a gap proves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, func, insert, select, text, update

from audit.entry import parse_leaf
from audit.log.append import latest_note
from audit.log.sequencer import TreeDamagedError, locked, read_tree, write_tiles
from audit.log.tables import LEAF_COLUMNS, audit_checkpoints, audit_entries, audit_tree
from audit.times import parse_rfc3339, to_microseconds
from audit.tlog.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.tlog.merkle import (
    Frontier,
    GetNode,
    ProofError,
    consistency_proof,
    leaf_hash,
    root,
    verify_consistency,
)
from audit.tlog.tile_store import (
    TILE_WIDTH,
    TileError,
    TileReader,
    TileSource,
    TileStore,
    decode_entries,
    entries_path,
    lacks_edge,
)


class RowGaps:
    """A counter of rows that continues from its last look. Not thread safe."""

    def __init__(self) -> None:
        self._checked = 0

    def look(self, connection: Connection) -> int:
        """Count the rows missing among those since the last look; 0 where gaps prove nothing."""
        if connection.dialect.name != "sqlite":
            return 0
        row = audit_entries.c.row
        found = select(func.count(), func.max(row)).where(row > self._checked)
        count, last = connection.execute(found).one()
        given = connection.execute(
            text("SELECT seq FROM sqlite_sequence WHERE name = 'audit_entries'")
        ).scalar()
        end = max(last or self._checked, given or 0)
        missing = end - self._checked - int(count)
        self._checked = end
        return missing


class Missing(NamedTuple):
    """Tiles to write again: those of the entries from `start` on, up to the newest signed checkpoint."""

    start: int
    newest: Checkpoint


def missing_tiles(engine: Engine, tiles: TileSource, log_key: Verifier) -> Missing | None:
    """Find the tiles to write again; None while those of the newest checkpoint on record exist."""
    with engine.connect().execution_options(read_only=True) as connection:
        note = latest_note(connection)
    newest = None if note is None else open_checkpoint(note, log_key)
    if newest is None or not lacks_edge(tiles, newest.size):
        return None
    signed = _signed_sizes(engine, 0, newest.size)
    whole = bisect_left(signed, True, key=lambda size: lacks_edge(tiles, size))
    return Missing(signed[whole - 1] if whole else 0, newest)


def repair_tiles(engine: Engine, tiles: TileStore, missing: Missing) -> None:
    """Write missing tiles. TreeDamagedError when the leaves on record do not lead to what was signed.

    TileConflictError when a tile under the published checkpoint differs: that is damage, left for a person.
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
    """Read the sizes of the signed trees, ascending."""
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


_NUMBER_ENTRY = (
    update(audit_entries)
    .where(audit_entries.c.entry_id == bindparam("of_id"))
    .values(leaf_index=bindparam("to_index"))
)


class NotOurTailError(RuntimeError):
    """A tree on record that is not the beginning of the mirror's: two histories. Nothing is adopted."""


def recorded_size(engine: Engine) -> int:
    """Return how many entries are numbered."""
    with engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(select(audit_tree.c.size)).scalar() or 0


def read_tail(
    engine: Engine, source: TileSource, checkpoint: Checkpoint, wanted: Collection[str]
) -> list[dict[str, Any]]:
    """Read the fields of the leaves that the log on record lacks, in order, of the actions in `wanted`.

    NotOurTailError unless the log on record, with all of them after it, is the log of `checkpoint`.
    """
    with locked(engine) as connection:
        frontier = read_tree(connection).frontier
        _check_leads_to(frontier, TileReader(source, checkpoint.size).get_node, checkpoint)
    told = []
    while frontier.size < checkpoint.size:
        for leaf in _leaves_after(frontier.size, source, checkpoint):
            frontier.append(leaf_hash(leaf))
            fields = parse_leaf(leaf)
            if fields["action"] in wanted:
                told.append(fields)
    if frontier.root() != checkpoint.root:
        raise NotOurTailError(f"the mirror's leaves do not lead to its checkpoint at {checkpoint.size}")
    return told


def _leaves_after(size: int, source: TileSource, checkpoint: Checkpoint) -> list[bytes]:
    """Read the leaves from `size` to the end of their tile."""
    first = size - size % TILE_WIDTH
    path = entries_path(first // TILE_WIDTH, min(TILE_WIDTH, checkpoint.size - first))
    leaves = decode_entries(source.get(path))[size - first :]
    if not leaves:
        raise TileError(f"{path} does not hold entry {size}")
    return leaves


def recover_tail(engine: Engine, source: TileSource, checkpoint: Checkpoint, at: datetime) -> int:
    """Bring the log on record up to the verified `checkpoint`; return how many leaves were put back."""
    adopted = 0
    while taken := _adopt_tile(engine, source, checkpoint, at):
        adopted += taken
    return adopted


def _adopt_tile(engine: Engine, source: TileSource, checkpoint: Checkpoint, at: datetime) -> int:
    with locked(engine) as connection:
        frontier = read_tree(connection).frontier
        if frontier.size >= checkpoint.size:
            return 0
        nodes = TileReader(source, checkpoint.size).get_node
        _check_leads_to(frontier, nodes, checkpoint)  # 1
        old = frontier.size
        leaves = _leaves_after(old, source, checkpoint)
        _put_back(connection, old, leaves, at)
        for leaf in leaves:
            frontier.append(leaf_hash(leaf))
        _check_leads_to(frontier, nodes, checkpoint)  # 2
        connection.execute(update(audit_tree).values(size=frontier.size, frontier=frontier.to_bytes()))
    return frontier.size - old


def _check_leads_to(frontier: Frontier, nodes: GetNode, checkpoint: Checkpoint) -> None:
    try:
        proof = consistency_proof(frontier.size, checkpoint.size, nodes)
        verify_consistency(frontier.size, checkpoint.size, proof, frontier.root(), checkpoint.root)
    except ProofError as error:
        what = f"the log on record, up to {frontier.size}, is not the beginning of the mirror's of {checkpoint.size}"
        raise NotOurTailError(f"{what}: {error}") from None


def _put_back(connection: Connection, start: int, leaves: Sequence[bytes], at: datetime) -> None:
    fields = [parse_leaf(leaf) for leaf in leaves]
    table = audit_entries.c
    ids = table.entry_id.in_([each["id"] for each in fields])
    found = connection.execute(select(table.entry_id, table.leaf, table.leaf_index).where(ids))
    held = {row.entry_id: row for row in found}
    new, numbers = [], []
    for index, (each, leaf) in enumerate(zip(fields, leaves, strict=True), start):
        row = held.get(each["id"])
        if row is None:
            new.append(_row(each, leaf, index, at))
        elif row.leaf_index is None and row.leaf == leaf:
            numbers.append({"of_id": each["id"], "to_index": index})
        else:
            raise NotOurTailError(
                f"leaf {index} of the mirror is on record as a different entry or in a different place"
            )
    if new:
        connection.execute(insert(audit_entries), new)
    if numbers:
        connection.execute(_NUMBER_ENTRY, numbers)


def _row(fields: dict[str, Any], leaf: bytes, index: int, at: datetime) -> dict[str, Any]:
    row = {column: fields.get(name) for column, name in LEAF_COLUMNS.items()}
    redacted_at = to_microseconds(at) if "particulars" in fields else None
    at_us = to_microseconds(parse_rfc3339(fields["at"]))
    return {**row, "leaf_index": index, "at_us": at_us, "leaf": leaf, "redacted_at": redacted_at}
