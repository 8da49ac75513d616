"""Collecting cosignatures: our newest checkpoint is sent to witnesses that others run (C2SP tlog-witness).

Each remembers the last size it cosigned and answers 409 with it when we assume another: the proof is then made from
there. A witness that knows a longer log than ours, or finds the proof wrong, is evidence of a rollback or a fork: it
stands in `refused`, and so does whatever else went wrong. Cosignatures are checked before they are believed.
The cosigned note is published beside the log's own checkpoint, which on a busy log is newer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from audit.checkpoint import NoteError, claimed_size
from audit.cosignature import CosignatureVerifier, own_lines
from audit.cosigning import Request
from audit.proofs import prove_consistency
from audit.tiles import COSIGNED_PATH, TileConflictError, TileStore

SIZE_TYPE = "text/x.tlog.size"
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_TIMEOUT = (5, 20)
_MOST_BYTES = 1 << 16
_NOT_A_REQUEST = 400
_TRIES = 3  # the first tells the size; the second may meet another of our processes


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes


Post = Callable[[str, bytes], Reply]


@dataclass(frozen=True, slots=True)
class Cosignatory:
    """A witness that others run: its submission prefix, and its key."""

    url: str
    verifier: CosignatureVerifier


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The note with the cosignatures below it, and who did not give one, and why."""

    note: str
    refused: Mapping[str, str]


class Cosigners:
    """`tiles` is the log's own store."""

    def __init__(
        self, cosignatories: Sequence[Cosignatory], tiles: TileStore, post: Post | None = None
    ) -> None:
        self._cosignatories = tuple(cosignatories)
        self._tiles = tiles
        self._post = post or _post
        self._known: dict[str, int] = {}

    def collect(self, note: str) -> Cosigned:
        """Ask everyone for a cosignature of this published checkpoint."""
        size = claimed_size(note)
        refused, cosigned = {}, note
        for each in self._cosignatories:
            try:
                cosigned += self._ask(each, note, size)
            except (NoteError, OSError) as error:  # requests' errors are OSErrors
                what = str(error) if isinstance(error, NoteError) else type(error).__name__
                refused[each.verifier.name] = what
        return Cosigned(cosigned, refused)

    def publish(self, note: str) -> Cosigned:
        """Collect, and publish the note with what was given at `COSIGNED_PATH`, unless a newer one is there."""
        cosigned = self.collect(note)
        if len(cosigned.refused) < len(self._cosignatories):
            with suppress(TileConflictError):  # a newer one is there
                self._tiles.put(COSIGNED_PATH, cosigned.note.encode())
        return cosigned

    def unreachable(self) -> dict[str, str]:
        """Who does not answer as a witness does, and how: asked for nothing, a witness answers 400."""
        found = {}
        for each in self._cosignatories:
            try:
                status = self._post(_submission(each), b"").status
            except OSError as error:
                found[each.verifier.name] = type(error).__name__
            else:
                if status != _NOT_A_REQUEST:
                    found[each.verifier.name] = (
                        f"it answers {status} where a witness answers {_NOT_A_REQUEST}"
                    )
        return found

    def _ask(self, cosignatory: Cosignatory, note: str, size: int) -> str:
        url = _submission(cosignatory)
        for _ in range(_TRIES):
            old = self._known.get(url, 0)
            if old > size:
                raise NoteError(
                    f"it knows a log of {old} entries and this one has {size}: rolled back, or older"
                )
            proof = tuple(prove_consistency(self._tiles, old, size))
            reply = self._post(url, Request(old, proof, note).text().encode())
            if reply.status == 200:
                lines = _own(note, reply.body, cosignatory.verifier)
                self._known[url] = size
                return lines
            found = _SIZE.fullmatch(reply.body)
            if reply.status != 409 or reply.content_type != SIZE_TYPE or found is None:
                raise NoteError(f"it answers {reply.status}")
            self._known[url] = int(found[1])
        raise NoteError("it is asked by others at the same time")


def _submission(cosignatory: Cosignatory) -> str:
    return f"{cosignatory.url.rstrip('/')}/add-checkpoint"


def _own(note: str, body: bytes, verifier: CosignatureVerifier) -> str:
    """The witness's lines in its answer, checked; those of unknown keys are dropped."""
    try:
        return "".join(own_lines(note + body.decode(), verifier))
    except UnicodeDecodeError:
        raise NoteError("its answer is not UTF-8") from None


def _post(url: str, body: bytes) -> Reply:
    import requests  # only here: few services are cosigned, and all would pay for it in memory

    with requests.post(url, data=body, timeout=_TIMEOUT, allow_redirects=False, stream=True) as answer:
        content = answer.raw.read(_MOST_BYTES, decode_content=True)
        return Reply(answer.status_code, answer.headers.get("Content-Type", ""), content)
