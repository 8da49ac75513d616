"""The client of others' witnesses (C2SP tlog-witness): sends them our newest checkpoint for cosigning.

Each witness remembers the last size it cosigned and responds 409 with it when we assume another: the proof is then made
from there. A witness that knows a longer log than ours, or finds the proof wrong, is evidence of a rollback or a fork:
it is named in `refused`, and so is any other failure. Cosignatures are checked before they are believed, and a
witness's size is remembered only once it has cosigned it: the size in a 409 counts for that attempt only. The cosigned
note is published beside the log's own checkpoint, which on a busy log is newer.

Witnesses are others' servers. They are asked at the same time, each within the bounds of `http_client`, so one that
hangs or drips delays neither the others nor a round beyond `_TRIES` exchanges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from audit.cosigning.cosignature import CosignatureVerifier, own_lines
from audit.cosigning.server import Request
from audit.http_client import HttpClient, OutsideError, Reply
from audit.tlog.checkpoint import NoteError, claimed_size
from audit.tlog.proofs import prove_consistency
from audit.tlog.tile_store import COSIGNED_PATH, TileConflictError, TileStore

SIZE_TYPE = "text/x.tlog.size"
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_SECONDS, _MOST_BYTES = 15, 1 << 16
_NOT_A_REQUEST = 400
_TRIES = 3  # the first finds out the size; the second may meet another of our processes
_AT_ONCE = 8
PAUSE = timedelta(minutes=1)

Post = Callable[[str, bytes], Reply]


@dataclass(frozen=True, slots=True)
class Cosignatory:
    """A witness that others run: its submission prefix, and its key."""

    url: str
    verifier: CosignatureVerifier


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The note with its cosignatures, and who gave none, and why."""

    note: str
    refused: Mapping[str, str]


class Cosigners:
    """The witnesses to ask. `tiles` is the log's own store; `authorities`: a PEM bundle to check their certificates."""

    def __init__(
        self,
        cosignatories: Sequence[Cosignatory],
        tiles: TileStore,
        post: Post | None = None,
        authorities: Path | None = None,
    ) -> None:
        self._cosignatories = tuple(cosignatories)
        self._tiles = tiles
        self._post = (
            post or HttpClient(seconds=_SECONDS, most_bytes=_MOST_BYTES, authorities=authorities).post
        )
        self._known: dict[str, int] = {}
        self._last: tuple[Cosigned, datetime] | None = None

    def collect(self, note: str) -> Cosigned:
        """Ask every witness for a cosignature of this published checkpoint."""
        size = claimed_size(note)

        def ask(cosignatory: Cosignatory) -> str | Exception:
            try:
                return self._ask(cosignatory, note, size)
            except (NoteError, OutsideError) as error:
                return error

        refused, cosigned = {}, note
        with ThreadPoolExecutor(_AT_ONCE, "cosigner") as pool:
            for each, given in zip(self._cosignatories, pool.map(ask, self._cosignatories), strict=True):
                if isinstance(given, str):
                    cosigned += given
                else:
                    refused[each.verifier.name] = str(given)
        return Cosigned(cosigned, refused)

    def is_due(self, note: str, now: datetime) -> bool:
        """Tell whether to `publish` this note: the last was another or lacked a cosignature, and `PAUSE` has passed."""
        if not self._cosignatories:
            return False
        if self._last is None:
            return True
        last, at = self._last
        # A clock that was set back must not delay the next time: the distance counts.
        return abs(now - at) >= PAUSE and (bool(last.refused) or not last.note.startswith(note))

    def publish(self, note: str, now: datetime) -> Cosigned:
        """Collect cosignatures and publish the note with them at `COSIGNED_PATH`, unless a newer one is there."""
        cosigned = self.collect(note)
        self._last = cosigned, now
        if len(cosigned.refused) < len(self._cosignatories):
            with suppress(TileConflictError):  # a newer one is there
                self._tiles.put(COSIGNED_PATH, cosigned.note.encode())
        return cosigned

    def unreachable(self) -> dict[str, str]:
        """Name those that do not respond as a witness does, and how: to an empty request a witness responds 400."""
        found = {}
        for each in self._cosignatories:
            try:
                status = self._post(_submission(each), b"").status
            except OutsideError as error:
                found[each.verifier.name] = str(error)
            else:
                if status != _NOT_A_REQUEST:
                    found[each.verifier.name] = (
                        f"it responds {status} to an empty request, where a witness responds {_NOT_A_REQUEST}"
                    )
        return found

    def _ask(self, cosignatory: Cosignatory, note: str, size: int) -> str:
        url = _submission(cosignatory)
        old = self._known.get(url, 0)
        for _ in range(_TRIES):
            if old > size:
                raise NoteError(
                    f"it knows a log of {old} entries, and this one has {size}: it is older, or was rolled back"
                )
            proof = tuple(prove_consistency(self._tiles, old, size))
            reply = self._post(url, Request(old, proof, note).text().encode())
            if reply.status == 200:
                lines = _checked_lines(note, reply.body, cosignatory.verifier)
                self._known[url] = size
                return lines
            found = _SIZE.fullmatch(reply.body)
            if reply.status != 409 or reply.content_type != SIZE_TYPE or found is None:
                raise NoteError(f"it responds {reply.status}")
            old = int(found[1])
        raise NoteError("it is asked by others at the same time")


def _submission(cosignatory: Cosignatory) -> str:
    return f"{cosignatory.url.rstrip('/')}/add-checkpoint"


def _checked_lines(note: str, body: bytes, verifier: CosignatureVerifier) -> str:
    """Check the witness's lines in its response, and drop those of unknown keys."""
    try:
        return "".join(own_lines(note + body.decode(), verifier))
    except UnicodeDecodeError:
        raise NoteError("its response is not UTF-8") from None
