"""The sequencer: gives committed entries their place in the tree and publishes signed checkpoints.

Order of writing (the commit points are marked *); the next run makes good a crash after any step:
1. publish whatever an earlier run committed and did not publish (steps 3 to 5);
2. * under the lock: number unsequenced rows in row order, extend the frontier, commit both together;
3. write the tiles that the new leaves touch, each derived from the database and from tiles already covered by
   a checkpoint, so writing them again writes the same; read the right edge back;
4. * under the lock: sign and record the checkpoint; nothing is signed whose tiles are not durable, or do not
   lead to the frontier;
5. under the lock: publish the newest recorded checkpoint. Holding the lock, a slow run cannot publish an
   older checkpoint over a newer one.
A database lock admits one at a time; two runs at once are safe, only wasteful. Appenders wait for steps 2, 4 and 5
on SQLite and for none of them on PostgreSQL.

A database restored from a back-up would sign a second history over the first. So nothing is numbered or signed while
the published checkpoint, or at the start the mirror, knows a longer log: `audit.log.tail_recovery` brings the tail
back first. A store of tiles restored from a back-up lacks tiles that the newest checkpoint needs. The sequencer looks
for them at the start, and before publishing what another run wrote: `audit.log.tail_recovery` rewrites them first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, bindparam, insert, select, text, update

from audit.log.append import latest_note
from audit.log.tables import audit_checkpoints, audit_entries, audit_tree
from audit.times import Clock, to_microseconds
from audit.tlog.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from audit.tlog.merkle import EMPTY_ROOT, Frontier, leaf_hash, root
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    TileMissingError,
    TileReader,
    TileStore,
    encode_entries,
    entries_path,
    read_edge,
    subtree_root,
    tile_path,
    touched,
)

# Taken at the start of the transaction, released with it. SQLite's engine begins each one IMMEDIATE. On PostgreSQL
# every statement must see what was committed before it (READ COMMITTED): a snapshot from before the wait would number
# leaves twice. A silent holder (its machine died, the network broke) loses the lock after ten seconds.
_ISOLATION = {"postgresql": "READ COMMITTED"}
_LOCK = {
    "postgresql": text(
        "SELECT set_config('idle_in_transaction_session_timeout', '10s', true), pg_advisory_xact_lock(4153697012)"
    )
}
_UNSEQUENCED = (
    select(audit_entries.c.row, audit_entries.c.leaf)
    .where(audit_entries.c.leaf_index.is_(None))
    .order_by(audit_entries.c.row)
)
_NUMBER_ROW = (
    update(audit_entries)
    .where(audit_entries.c.row == bindparam("of_row"))
    .values(leaf_index=bindparam("to_index"))
)


class RolledBackError(RuntimeError):
    """A database that holds less of the log than was published or mirrored: signing now would fork the log."""


class TilesBehindError(RuntimeError):
    """A store that lacks tiles of the signed log: it is older than the database. Nothing is published meanwhile."""


class TreeDamagedError(RuntimeError):
    """A log that does not lead to what it signed: nothing more is signed until somebody has looked."""


@dataclass(frozen=True, slots=True)
class Tree:
    """How far the log is numbered and signed."""

    frontier: Frontier
    published: int  # the size of the last recorded checkpoint


class Sequencer:
    """A log's sequencer. `engine` must begin a SQLite transaction IMMEDIATE; `tiles` is this log's own store."""

    def __init__(
        self,
        engine: Engine,
        tiles: TileStore,
        signer: Signer,
        clock: Clock,
        witnessed: Callable[[], int] = lambda: 0,
    ) -> None:
        """`witnessed` returns the size of the log as the mirror keeps it; called until it has returned once."""
        self._engine = engine
        self._tiles = tiles
        self._signer = signer
        self._clock = clock
        self._witnessed = witnessed
        self._asked: int | None = None
        self._readable = -1  # the size of the last tree whose tiles this process has read or written
        self._settled: tuple[str, Checkpoint] | None = None  # the newest note, once nothing was left to do
        self.has_more = False
        """True if the last run stopped at its limit: entries are left to be sequenced."""

    def run_once(self, limit: int = 5000) -> Checkpoint | None:
        """Sequence up to `limit` entries; return the newest checkpoint, or None if nothing was ever logged."""
        if self._asked is None:
            self._asked = (
                self._witnessed()
            )  # without its size nothing is signed: a delay can be made good, a fork not
        if self._settled is not None and self._is_settled(*self._settled):
            return self._settled[1]
        self._settled = None
        self._catch_up()  # 1
        if self._sequence(limit):  # 2
            self._catch_up()  # 3 to 5
        with self._locked() as connection:
            note = latest_note(connection)
        latest = None if note is None else open_checkpoint(note, self._signer.verifier)
        if note is not None and latest is not None:
            self._settled = note, latest
        return latest

    def _is_settled(self, note: str, newest: Checkpoint) -> bool:
        """Tell, without the lock, whether nothing has come since `newest` was published: most runs find nothing."""
        with self._engine.connect().execution_options(read_only=True) as connection, connection.begin():
            tree = connection.execute(select(audit_tree)).first()
            waiting = connection.execute(_UNSEQUENCED.limit(1)).first() is not None
            known = latest_note(connection)
        whole = tree is not None and tree.size == tree.checkpoint_size == newest.size
        return whole and not waiting and known == note and self._published_note() == note.encode()

    def _catch_up(self) -> None:
        with self._locked() as connection:
            tree = read_tree(connection)
            self._refuse_rolled_back(tree.frontier)
            leaves = _read_leaves(connection, tree)
            latest = self._latest(connection)
        if latest is not None and self._readable < 0:
            self._check_edge(latest.size, latest.root)
        if tree.frontier.size > tree.published:
            self._write_tiles(tree, leaves, latest)  # 3
            self._record(tree.frontier)  # 4
        self._publish()  # 5

    def _refuse_rolled_back(self, frontier: Frontier) -> None:
        """Refuse a database behind the published log. Under the lock: what is published was on record before."""
        known = self._published()
        longest = max(known.size if known else 0, self._asked or 0)
        if longest > frontier.size:
            raise RolledBackError(
                f"the database holds {frontier.size} entries of a log of {longest}: it was restored from a back-up; "
                f"run `casevault reconcile` before anything is signed"
            )
        if known is not None and known.size == frontier.size and known.root != frontier.root():
            raise TreeDamagedError(f"the published tree of {known.size} is not the one on record")

    def _sequence(self, limit: int) -> bool:
        with self._locked() as connection:
            frontier = read_tree(connection).frontier
            rows = connection.execute(_UNSEQUENCED.limit(limit)).all()
            self.has_more = len(rows) == limit
            if not rows:
                return False
            numbers = [{"of_row": row.row, "to_index": frontier.size + at} for at, row in enumerate(rows)]
            for row in rows:
                frontier.append(leaf_hash(row.leaf))
            connection.execute(_NUMBER_ROW, numbers)
            connection.execute(update(audit_tree).values(size=frontier.size, frontier=frontier.to_bytes()))
        return True

    def _write_tiles(self, tree: Tree, leaves: Sequence[bytes], latest: Checkpoint | None) -> None:
        old, size = tree.published, tree.frontier.size
        self._check_edge(old, latest.root if latest else EMPTY_ROOT)
        write_tiles(self._tiles, old, size, leaves)
        if root(size, TileReader(self._tiles, size).get_node) != tree.frontier.root():
            raise TreeDamagedError(f"the leaves from {tree.published} on are not those that were sequenced")
        self._readable = size

    def _check_edge(self, size: int, signed: bytes) -> None:
        try:
            known = read_edge(self._tiles, size)
        except TileMissingError as error:
            raise TilesBehindError(
                f"tiles of the signed log of {size} are missing ({error}): their store was restored from a back-up; "
                f"run `casevault reconcile` before anything is published"
            ) from None
        if known != signed:
            raise TreeDamagedError(f"the tiles do not lead to the checkpoint at {size}")
        self._readable = size

    def _record(self, frontier: Frontier) -> None:
        with self._locked() as connection:
            if read_tree(connection).published >= frontier.size:
                return  # another run was here first
            at_us = to_microseconds(self._clock.now())
            # Each is signed no earlier than the one before, so the newest has the latest time.
            newest = select(audit_checkpoints.c.at_us).order_by(audit_checkpoints.c.size.desc()).limit(1)
            last = connection.execute(newest).scalar()
            connection.execute(
                insert(audit_checkpoints).values(
                    size=frontier.size,
                    note=sign_checkpoint(frontier.size, frontier.root(), self._signer),
                    at_us=max(at_us, last or at_us),  # a clock set back must not look like a rewritten log
                )
            )
            connection.execute(update(audit_tree).values(checkpoint_size=frontier.size))

    def _publish(self) -> None:
        with self._locked() as connection:
            note = latest_note(connection)
            if note is None or note.encode() == self._published_note():
                return
            latest = open_checkpoint(note, self._signer.verifier)
            if latest.size != self._readable:  # written by an earlier run, or another process
                self._check_edge(latest.size, latest.root)
            self._tiles.put(CHECKPOINT_PATH, note.encode())

    def _published(self) -> Checkpoint | None:
        note = self._published_note()
        try:
            return None if note is None else open_checkpoint(note.decode(), self._signer.verifier)
        except ValueError as error:  # not UTF-8, not a note, not ours
            raise TreeDamagedError(f"the published checkpoint does not verify: {error}") from None

    def _published_note(self) -> bytes | None:
        try:
            return self._tiles.get(CHECKPOINT_PATH)
        except TileMissingError:
            return None

    def _latest(self, connection: Connection) -> Checkpoint | None:
        note = latest_note(connection)
        return None if note is None else open_checkpoint(note, self._signer.verifier)

    def _locked(self) -> AbstractContextManager[Connection]:
        return locked(self._engine)


def write_tiles(tiles: TileStore, old: int, new: int, leaves: Sequence[bytes]) -> None:
    """Write the tiles of every level that growing from `old` to `new` entries touches, lowest level first.

    `leaves` begin at the start of the tile in which `old` ends. The tiles of the tree of `old` must exist.
    """
    known = TileReader(tiles, old)
    start = old - old % TILE_WIDTH
    for number, width in touched(old, new):
        at = number * TILE_WIDTH - start
        tiles.put(entries_path(number, width), encode_entries(leaves[at : at + width]))
    level, hashes = 0, [leaf_hash(leaf) for leaf in leaves]
    while hashes:  # from the start of the first touched tile to the end of this level
        roots = []
        for number, width in touched(old, new):
            at = number * TILE_WIDTH - start
            tile = hashes[at : at + width]
            tiles.put(tile_path(level, number, width), b"".join(tile))
            if width == TILE_WIDTH:
                roots.append(subtree_root(tile))
        level, old, new = level + 1, old // TILE_WIDTH, new // TILE_WIDTH
        start = old - old % TILE_WIDTH
        hashes = known.hashes(level, start // TILE_WIDTH) + roots if roots else []


@contextmanager
def locked(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that alone is allowed to change the tree."""
    isolation = _ISOLATION.get(engine.dialect.name)
    chosen = engine.execution_options(isolation_level=isolation) if isolation else engine
    with chosen.begin() as connection:
        lock = _LOCK.get(engine.dialect.name)
        if lock is not None:
            connection.execute(lock)
        yield connection


def read_tree(connection: Connection) -> Tree:
    """Read the committed tree; an empty one is made when there is none."""
    row = connection.execute(select(audit_tree)).first()
    if row is None:
        tree = Tree(Frontier(), 0)
        connection.execute(
            insert(audit_tree).values(id=1, size=0, frontier=tree.frontier.to_bytes(), checkpoint_size=0)
        )
        return tree
    return Tree(Frontier.from_bytes(row.frontier), row.checkpoint_size)


def _read_leaves(connection: Connection, tree: Tree) -> list[bytes]:
    """Read the sequenced leaves not yet under a checkpoint, from the start of the tile in which they begin."""
    if tree.frontier.size == tree.published:
        return []
    start = tree.published - tree.published % TILE_WIDTH
    index = audit_entries.c.leaf_index
    found = connection.execute(select(audit_entries.c.leaf).where(index >= start).order_by(index))
    leaves = list(found.scalars())
    if len(leaves) < tree.frontier.size - start:
        raise TreeDamagedError(f"leaves are missing between {start} and {tree.frontier.size}")
    return leaves[: tree.frontier.size - start]
