"""A witness for others' logs (C2SP tlog-witness): its rules, and a folder of the last cosigned checkpoints.

It cosigns a checkpoint that extends the last one it cosigned. The steps, in this order, each with its verdict when it
fails:
1. the request is `old <size>`, up to 63 hashes in base64, an empty line, a checkpoint       MALFORMED
2. the checkpoint's origin is one of the logs it watches                                     UNKNOWN_LOG
3. that log's key signed the checkpoint                                                      UNSIGNED
4. `old` is not larger than the checkpoint's size                                            MALFORMED
5. `old` is the size it cosigned last, 0 for the first                                       CONFLICT, with that size
6. the tree extends that one, by the proof; an empty tree has the empty root                 INCONSISTENT
7. * the cosigned checkpoint takes the place of the last one, by compare-and-swap            CONFLICT if it moved
8. only now is the cosignature given                                                         COSIGNED

The folder holds one file a log, named by the SHA-256 of the origin, as in the monitoring path. A file is replaced
atomically and durably, under a lock on the folder: of two requests for the same old size, one finds that it moved.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from audit.cosigning.cosignature import CosignatureVerifier, Cosigner, own_lines
from audit.durable import alone_in, make_folder, replace_file
from audit.times import Clock
from audit.tlog.checkpoint import Checkpoint, NoteError, Verifier, from_base64, split_note, to_base64
from audit.tlog.merkle import EMPTY_ROOT, HASH_BYTES, ProofError, verify_consistency

MAX_HASHES = 63
MAX_REQUEST_BYTES = 1 << 16
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


class Verdict(Enum):
    """The verdict on a request to cosign."""

    COSIGNED = auto()
    MALFORMED = auto()
    UNKNOWN_LOG = auto()
    UNSIGNED = auto()
    CONFLICT = auto()
    INCONSISTENT = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `lines` when cosigned; `size`, the one cosigned last, when in conflict; else `why`."""

    verdict: Verdict
    lines: str = ""
    size: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A log's request to cosign `note`, whose tree extends the one of `old` by `proof`."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        return "".join(
            [f"old {self.old}\n", *(f"{to_base64(each)}\n" for each in self.proof), "\n", self.note]
        )

    @classmethod
    def parse(cls, body: bytes) -> Request:
        if len(body) > MAX_REQUEST_BYTES:
            raise NoteError(f"the request has {len(body)} bytes; at most {MAX_REQUEST_BYTES} are accepted")
        try:
            head, separator, note = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise NoteError("the request is not UTF-8") from None
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if old is None or not separator or len(lines) > MAX_HASHES:
            raise NoteError(
                "not a request: expected 'old <size>', up to 63 hashes, an empty line, and a checkpoint"
            )
        proof = tuple(from_base64(line) for line in lines)
        if any(len(each) != HASH_BYTES for each in proof):
            raise NoteError(f"a hash has {HASH_BYTES} bytes")
        return cls(int(old[1]), proof, note)


class CosignedStore(Protocol):
    """A store of the last cosigned checkpoint of each log, as a note.

    `swap` replaces `before` by `after`, durably; if `before` is not what is stored it changes nothing and returns
    False.
    """

    def last(self, origin: str) -> str | None: ...

    def swap(self, origin: str, before: str | None, after: str) -> bool: ...


class CosigningServer:
    """A witness. `logs`: the key of each log it watches, by origin."""

    def __init__(
        self, logs: Mapping[str, Verifier], cosigner: Cosigner, store: CosignedStore, clock: Clock
    ) -> None:
        self._logs = dict(logs)
        self._cosigner = cosigner
        self._store = store
        self._clock = clock

    @property
    def verifier(self) -> CosignatureVerifier:
        """The key that verifies its cosignatures."""
        return self._cosigner.verifier

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(self._logs)

    def last(self, origin: str) -> str | None:
        """Return the last cosigned checkpoint of this log, with its signature and ours."""
        return self._store.last(origin)

    def add_checkpoint(self, body: bytes) -> Answer:
        try:
            request = Request.parse(body)  # 1
            text, _ = split_note(request.note)
            checkpoint = Checkpoint.parse(text)
        except NoteError as error:
            return Answer(Verdict.MALFORMED, why=str(error))
        verifier = self._logs.get(checkpoint.origin)
        if verifier is None:  # 2
            return Answer(Verdict.UNKNOWN_LOG, why=f"the log {checkpoint.origin!r} is not watched here")
        try:
            signed = own_lines(request.note, verifier)  # 3
        except NoteError as error:
            return Answer(Verdict.UNSIGNED, why=str(error))
        if request.old > checkpoint.size:  # 4
            return Answer(
                Verdict.MALFORMED,
                why=f"the old size {request.old} is larger than the checkpoint's, {checkpoint.size}",
            )
        return self._advance(request, checkpoint, text, signed)

    def _advance(self, request: Request, checkpoint: Checkpoint, text: str, signed: list[str]) -> Answer:
        before = self._store.last(checkpoint.origin)
        last = Checkpoint(checkpoint.origin, 0, EMPTY_ROOT) if before is None else _checkpoint(before)
        if request.old != last.size:  # 5
            return Answer(Verdict.CONFLICT, size=last.size)
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:  # 6
            return Answer(
                Verdict.INCONSISTENT, why="the root of the empty tree is not the hash of the empty string"
            )
        try:
            verify_consistency(last.size, checkpoint.size, request.proof, last.root, checkpoint.root)
        except ProofError as error:
            return Answer(Verdict.INCONSISTENT, why=str(error))
        line = self._cosigner.cosign(text, self._clock.now())
        if not self._store.swap(checkpoint.origin, before, f"{text}\n{''.join(signed)}{line}"):  # 7
            moved = self._store.last(checkpoint.origin)
            return Answer(Verdict.CONFLICT, size=_checkpoint(moved).size if moved else 0)
        return Answer(Verdict.COSIGNED, lines=line)  # 8


def _checkpoint(note: str) -> Checkpoint:
    return Checkpoint.parse(split_note(note)[0])


class LocalCosignedStore:
    """A folder of the last cosigned checkpoints, made when needed, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder

    def last(self, origin: str) -> str | None:
        try:
            return self._file(origin).read_text()
        except FileNotFoundError:
            return None

    def swap(self, origin: str, before: str | None, after: str) -> bool:
        with alone_in(self._folder):
            if self.last(origin) != before:
                return False
            replace_file(self._file(origin), after.encode())
        return True

    def _file(self, origin: str) -> Path:
        return self._folder / origin_hash(origin)


def origin_hash(origin: str) -> str:
    """Hash a log's origin as in the monitoring path: SHA-256, in hex."""
    return hashlib.sha256(origin.encode()).hexdigest()
