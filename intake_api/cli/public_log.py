"""The log's public view, for somebody who does not trust the service: checked with the pinned key, from the tiles alone
(P3).

- With the right to read entries, every leaf is fetched and the whole tree rebuilt (audit/log/verify.py).
- Without it, the tree is rebuilt from the leaves' hashes: that shows that the log only ever grew, and nothing about its
  content.
- Checkpoints kept elsewhere, by the auditor or by the witness, are compared with the same leaves: a log rewritten since
  does not lead to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from audit.entry import CanonicalError
from audit.leaf_reader import LeafReader
from audit.log.verify import Tell, Verdict, untold
from audit.mirror.compare import MirroredLog
from audit.tlog.checkpoint import Checkpoint, NoteError, Verifier, open_checkpoint
from audit.tlog.merkle import HASH_BYTES, Frontier
from audit.tlog.rebuild import Findings, Problem, Rebuild
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    TileError,
    TileMissingError,
    TileReader,
    TileSource,
    decode_entries,
    entries_path,
)
from intake_api.cli.cli_errors import CliError, ServiceProblem
from intake_api.cli.client import Client


class HttpTiles:
    """The published tiles, read over HTTPS. The checkpoint is fetched once: one walk, one tree."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._checkpoint: bytes | None = None

    def get(self, path: str) -> bytes:
        if path != CHECKPOINT_PATH:
            return self._fetch(path)
        if self._checkpoint is None:
            self._checkpoint = self._fetch(path)
        return self._checkpoint

    def put(self, path: str, data: bytes) -> None:
        raise TypeError(f"{path} cannot be written: an outsider only reads tiles")

    def _fetch(self, path: str) -> bytes:
        try:
            return self._client.call("GET", f"/audit/{path}").content
        except ServiceProblem as problem:
            if problem.status == HTTPStatus.NOT_FOUND:
                raise TileMissingError(path) from None
            raise


def published(tiles: TileSource, key: Verifier) -> Checkpoint:
    """Fetch the published checkpoint and check its signature by the pinned key."""
    try:
        return open_checkpoint(tiles.get(CHECKPOINT_PATH).decode(), key)
    except TileMissingError:
        raise CliError("the log has no checkpoint yet: try again in a few seconds") from None
    except (NoteError, UnicodeDecodeError) as error:
        raise CliError(f"the published checkpoint does not verify: {error}") from None


class PublishedLog(MirroredLog):
    """The whole log: every leaf, every tile, every signature."""

    def walk(self, notes: Sequence[str]) -> Verdict:
        if not notes:  # a log without a checkpoint is reported as such, not as damaged
            published(self.tiles, self.verifier)
        return super().walk(notes)


@dataclass(frozen=True, slots=True)
class HashedLog:
    """The public view of the log: leaf hashes only, readable without a token."""

    tiles: TileSource
    verifier: Verifier
    tell: Tell = untold

    def walk(self, notes: Sequence[str]) -> Verdict:
        return verify_hashes(self.tiles, self.verifier, notes, self.tell)

    def hashes(self) -> Iterator[bytes]:
        size = published(self.tiles, self.verifier).size
        reader = TileReader(self.tiles, size)
        for start in range(0, size, TILE_WIDTH):
            yield from _row(reader, start)


def verify_hashes(tiles: TileSource, key: Verifier, earlier: Sequence[str], tell: Tell = untold) -> Verdict:
    """Check that the tree over the leaves' hashes leads to every signed root; name those that it misses."""
    kept = sorted((_opened(note, key) for note in earlier), key=lambda checkpoint: checkpoint.size)
    newest = published(tiles, key)
    signed = [
        *(("the checkpoint kept elsewhere", each) for each in kept),
        ("the published checkpoint", newest),
    ]
    problems = [
        Problem(None, f"{name} has {checkpoint.size} leaves, the log has only {newest.size}")
        for name, checkpoint in signed
        if checkpoint.size > newest.size
    ]
    tree, reader = Frontier(), TileReader(tiles, newest.size)
    for name, checkpoint in signed:
        while tree.size < min(checkpoint.size, newest.size):
            row = _row(reader, tree.size)
            for hash_ in row[: checkpoint.size - tree.size]:
                tree.append(hash_)
            tell(tree.size, newest.size)
        if tree.size == checkpoint.size and tree.root() != checkpoint.root:
            problems.append(
                Problem(None, f"{name} at {checkpoint.size} does not follow from the leaves' hashes")
            )
    return Verdict(tree.size, len(signed), tuple(problems))


def _row(reader: TileReader, start: int) -> list[bytes]:
    """Fetch the leaf hashes from `start` to the end of their tile."""
    number, offset = divmod(start, TILE_WIDTH)
    try:
        row = reader.hashes(0, number)[offset:]
    except (TileError, TileMissingError) as error:
        raise CliError(
            f"the log cannot be rebuilt from leaf {start} on: {error} is missing or damaged"
        ) from None
    if not row or any(len(hash_) != HASH_BYTES for hash_ in row):
        raise CliError(f"the log cannot be rebuilt from leaf {start} on: its hashes are missing")
    return row


def _opened(note: str, key: Verifier) -> Checkpoint:
    try:
        return open_checkpoint(note, key)
    except NoteError as error:
        raise CliError(f"the checkpoint kept elsewhere does not verify: {error}") from None


def proven_leaves(tiles: TileSource, key: Verifier, tell: Tell = untold) -> Iterator[dict[str, Any]]:
    """Yield every leaf's fields, in order; CliError at the end when they do not lead to the signed root."""
    newest = published(tiles, key)
    tree, reader = Rebuild(None, 0, Findings()), LeafReader()
    try:
        while tree.size < newest.size:
            number = tree.size // TILE_WIDTH
            width = min(TILE_WIDTH, newest.size - number * TILE_WIDTH)
            leaves = decode_entries(tiles.get(entries_path(number, width)))
            if len(leaves) != width:
                raise TileError(f"it has {len(leaves)} leaves instead of {width}")  # noqa: TRY301
            yield from reader.parse_all(leaves)
            tree.add(leaves)
            tell(tree.size, newest.size)
    except TileMissingError as error:
        raise CliError(f"the log is incomplete: {error} is missing") from None
    except (TileError, CanonicalError) as error:
        raise CliError(f"the log is damaged near leaf {tree.size}: {error}") from None
    if tree.root() != newest.root:
        raise CliError("the log's leaves do not lead to its signed checkpoint: see `casevault audit verify`")


def as_json(verdict: Verdict) -> dict[str, object]:
    """Make the verdict's JSON."""
    problems = [{"leaf": problem.leaf_index, "what": problem.what} for problem in verdict.problems]
    return {
        "good": verdict.good,
        "leaves": verdict.leaves,
        "checkpoints": verdict.checkpoints,
        "redacted": verdict.redacted,
        "problems": problems,
    }
