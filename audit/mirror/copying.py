"""Copying the log to its mirror, and choosing the longest copy after a restore.

Order of writing; the next run makes good a crash after any step, starting from what the mirror keeps:
1. the log on record must extend the newest kept checkpoint: a fork is refused here, before it is kept;
2. each tile between the two is checked against its leaves, its parent and the signed root, then kept:
   a damaged tile, once locked, could not be replaced for a year;
3. * the checkpoint is kept.
Copying depends only on the mirror and the local tiles, so it can run anywhere, any number of times, also concurrently.

A checkpoint is copied when one has waited for `pause`: a minute by default, which leaves nine for further tries before
it is ten minutes old. Every checkpoint between two copied ones is bound by them: the tree only grows.

A database restored from a back-up knows less than the copies outside it: the published tiles, and the mirror.
`longest_copy` decides which of them knows most; both are signed by the log's own key, and the shorter must be the
beginning of the longer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine, select

from audit.log.append import latest_note
from audit.log.sequencer import TreeDamagedError
from audit.log.tables import audit_checkpoints, audit_entries
from audit.mirror.store import MirrorError, MirrorStore, MirrorTiles, checkpoint_path
from audit.times import Clock, from_microseconds, to_microseconds
from audit.tlog.checkpoint import Checkpoint, Verifier, open_checkpoint
from audit.tlog.merkle import leaf_hash, root
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_HEIGHT,
    TileError,
    TileMissingError,
    TileReader,
    TileSource,
    decode_entries,
    entries_path,
    lacks_edge,
    subtree_root,
    tile_path,
    touched,
)

PAUSE = timedelta(minutes=1)


class ForkedError(RuntimeError):
    """A log that is not the mirrored one: two histories were signed. Nothing more is copied."""


class Mirror:
    """A copier of the log to its mirror. `tiles` is the log's own store, `verifier` its key."""

    def __init__(
        self,
        engine: Engine,
        tiles: TileSource,
        verifier: Verifier,
        witness: MirrorStore,
        clock: Clock,
        pause: timedelta = PAUSE,
    ) -> None:
        self._engine = engine
        self._tiles = tiles
        self._verifier = verifier
        self._witness = witness
        self._clock = clock
        self._pause = pause
        self._kept: Checkpoint | None = None  # the newest one kept, once asked for

    def run_once(self) -> Checkpoint | None:
        """Copy what has waited long enough; return the newest checkpoint kept."""
        kept = self._known()
        note, waiting_since = self._unwitnessed(kept)
        if note is None:
            if kept is not None:
                raise ForkedError(
                    f"{self._witness.place} keeps a log of {kept.size}; the one on record is empty"
                )
            return None
        newest = open_checkpoint(note, self._verifier)
        self._check_extends(kept, newest)  # 1
        if waiting_since is None or self._age(waiting_since) < self._pause:
            return kept
        self._copy_tiles(kept.size if kept else 0, newest)  # 2
        self._witness.keep(checkpoint_path(newest.size), note.encode())  # 3
        self._kept = newest
        return newest

    @property
    def kept(self) -> Checkpoint | None:
        """The newest checkpoint known to be kept, without asking the mirror."""
        return self._kept

    def lag(self) -> timedelta:
        """Return how long the oldest checkpoint that the mirror does not cover has waited; zero if there is none."""
        lag = self._waited(self._known())
        if lag < self._pause:
            return lag
        kept = newest_kept(self._witness, self._verifier)  # another process may have copied it
        if kept is not None and (self._kept is None or kept.size > self._kept.size):
            self._kept = kept
        return self._waited(self._kept)

    def _waited(self, kept: Checkpoint | None) -> timedelta:
        _, since = self._unwitnessed(kept)
        return timedelta(0) if since is None else self._age(since)

    def _age(self, since: datetime) -> timedelta:
        """Return the distance from now, either way: a checkpoint made under a wrong clock has waited too."""
        return abs(self._clock.now() - since)

    def _known(self) -> Checkpoint | None:
        if self._kept is None:
            self._kept = newest_kept(self._witness, self._verifier)
        return self._kept

    def _unwitnessed(self, kept: Checkpoint | None) -> tuple[str | None, datetime | None]:
        """Read the newest checkpoint on record, and when the first one larger than `kept` was signed."""
        table = audit_checkpoints.c
        first = (
            select(table.at_us).where(table.size > (kept.size if kept else -1)).order_by(table.size).limit(1)
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            note = latest_note(connection)
            at_us = connection.execute(first).scalar()
            if at_us is not None and at_us > to_microseconds(self._clock.now()):
                # After a clock that ran ahead, checkpoints never step back behind it; entries do.
                leaf = audit_entries.c.leaf_index == (kept.size if kept else 0)
                at_us = connection.execute(select(audit_entries.c.at_us).where(leaf)).scalar()
        return note, None if at_us is None else from_microseconds(at_us)

    def _check_extends(self, kept: Checkpoint | None, newest: Checkpoint) -> None:
        if kept is None:
            return
        if newest.size < kept.size:
            what = f"the log on record has {newest.size} entries: it was rolled back, or is another log"
            raise ForkedError(f"{self._witness.place} keeps a log of {kept.size}; {what}")
        if root(kept.size, TileReader(self._tiles, newest.size).get_node) != kept.root:
            raise ForkedError(
                f"the log on record does not extend the one of {kept.size} in {self._witness.place}"
            )

    def _copy_tiles(self, old: int, newest: Checkpoint) -> None:
        new, reader = newest.size, TileReader(self._tiles, newest.size)
        if root(new, reader.get_node) != newest.root:
            raise MirrorError(f"the local tiles do not lead to the checkpoint at {new}: nothing was copied")
        for number, width in touched(old, new):
            path = entries_path(number, width)
            entries = self._tiles.get(path)
            if [leaf_hash(leaf) for leaf in decode_entries(entries)] != reader.hashes(0, number):
                raise MirrorError(f"the log's own {path} is damaged: it was not copied")
            self._witness.keep(path, entries)
        level = 0
        while new >> TILE_HEIGHT * level:
            before = old >> TILE_HEIGHT * level
            for number, width in touched(before, new >> TILE_HEIGHT * level):
                self._witness.keep(tile_path(level, number, width), self._tile(reader, level, number, before))
            level += 1

    def _tile(self, reader: TileReader, level: int, number: int, before: int) -> bytes:
        """Read a tile and check that each hash from `before` on is the root of the full tile below."""
        hashes = reader.hashes(level, number)
        first = number << TILE_HEIGHT
        for at in range(max(before, first), first + len(hashes)) if level else ():
            if subtree_root(reader.hashes(level - 1, at)) != hashes[at - first]:
                path = tile_path(level - 1, at)
                raise MirrorError(f"the log's own {path} or the tile above it is damaged: it was not copied")
        return b"".join(hashes)


def newest_kept(witness: MirrorStore, verifier: Verifier) -> Checkpoint | None:
    """Read the mirror's newest checkpoint; an error unless it is ours and has the size its name says."""
    size = witness.newest()
    if size is None:
        return None
    path = checkpoint_path(size)
    try:
        kept = open_checkpoint(witness.get(path).decode(), verifier)
    except ValueError as error:
        raise MirrorError(f"{path} in {witness.place} is not this log's: {error}") from None
    if kept.size != size:
        raise MirrorError(f"{path} in {witness.place} is signed for a size of {kept.size}, not of its name")
    return kept


def witnessed_size(witness: MirrorStore, verifier: Verifier) -> int:
    """Return the size of the mirrored log; 0 if there is none."""
    kept = newest_kept(witness, verifier)
    return 0 if kept is None else kept.size


class Copy(NamedTuple):
    """A copy of the log, at its newest checkpoint."""

    source: TileSource
    checkpoint: Checkpoint


def published_checkpoint(tiles: TileSource, log_key: Verifier) -> Checkpoint | None:
    """Read the published checkpoint; None if there is none. NoteError when it is not this log's."""
    try:
        note = tiles.get(CHECKPOINT_PATH)
    except TileMissingError:
        return None
    return open_checkpoint(note.decode(errors="replace"), log_key)


def longest_copy(
    tiles: TileSource, published: Checkpoint | None, witness: MirrorStore, kept: Checkpoint | None
) -> Copy | None:
    """Choose the longer of published and mirrored log (`kept`); ForkedError if neither is the beginning of the other.

    A published checkpoint whose tiles are missing gives way to the mirror's of the same size. TreeDamagedError when
    only such a checkpoint covers the newest entries.
    """
    witnessed = None if kept is None else Copy(MirrorTiles(witness, kept.size), kept)
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
        what = f"some tiles of the log of {longer.checkpoint.size} are missing ({error})"
        raise TreeDamagedError(f"{what}, and no other copy is as long") from None
    if agreed != shorter.checkpoint.root:
        raise ForkedError(f"the published log and the one in {witness.place} differ before entry {at}")
    return longer
