"""Sending standard input as it arrives, its length declared at the end.

- A pipe cannot be read twice: what the service does not have yet is kept in memory, a piece at a time, and sent again
  after a break of the line. After a crash there is nothing to resume.
- The length declared at the end proves the end: a transfer that stops earlier completes nothing, and is abandoned.
- The program that fills the pipe may fail unseen. An empty pipe is taken as such a failure.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from intake_api.blob.crc64 import crc64_of
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.progress import transfer
from intake_api.cli.transfer import tus
from intake_api.cli.transfer.blob import Blob, Cut, Link, read_problem
from intake_api.cli.transfer.rate import Pace

PIECE = 8 << 20
"""Bytes held in memory, and lost at least by a break of the line."""
LONGEST = 1 << 36
"""Bytes; blocks sent through a link are cut so that a pipe of this length fits into one list."""
NOTHING = "standard input was empty (did the command before it fail?): nothing was sent"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the service has received."""

    bundle: str | None
    size: int
    sha256: str


class Pipe:
    """Standard input, in pieces; at its end it knows its length and SHA-256."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hashing = hashlib.sha256()
        self.size = 0

    def read(self, length: int) -> bytes:
        """Read the next `length` bytes; fewer, or none, at the end."""
        gathered = io.BytesIO()
        while (left := length - gathered.tell()) and (piece := self._source.read(left)):
            gathered.write(piece)
        content = gathered.getvalue()
        self._hashing.update(content)
        self.size += len(content)
        return content

    def begin(self, length: int) -> bytes:
        """Read the first piece; CliError when there is none."""
        content = self.read(length)
        if not content:
            raise CliError(NOTHING)
        return content

    def sent(self, bundle: str | None) -> Sent:
        return Sent(bundle, self.size, self._hashing.hexdigest())


def send_with_token(client: Client, source: BinaryIO, metadata: Mapping[str, str], pace: Pace) -> Sent:
    """Send over tus, as an upload whose length is declared at the end."""
    pipe = Pipe(source)
    piece = pipe.begin(PIECE)
    location = tus.create_deferred(client, metadata)
    at = 0
    try:
        with transfer("sending", None) as progress:
            while piece:
                kept = io.BytesIO(piece)
                tus.send(client, location, kept, pipe.size, progress, offset=at, pace=pace, base=-at)
                at, piece = pipe.size, pipe.read(PIECE)
        tus.tell_length(client, location, at)
    except BaseException:
        with suppress(CliError):  # else it expires
            client.call("DELETE", location, headers=tus.VERSION)
        raise
    return pipe.sent(tus.bundle_of(location))


def send_with_link(
    here: Client, source: BinaryIO, name: str, link: Link, metadata: Mapping[str, str], pace: Pace
) -> tuple[Blob, Sent]:
    """Send in blocks, one after the other; the list at the end makes them a blob."""
    blob = Blob(link, f"{secrets.token_hex(16)}/{name}", here)
    client = here.elsewhere(link.server, read_problem)
    blob.standing(client)  # a link that would not work is refused before anything is read
    pipe, cut = Pipe(source), Cut(LONGEST)
    piece, offsets = pipe.begin(cut.length), list[int]()
    with transfer("sending", None) as progress:
        while piece:
            at, began = pipe.size - len(piece), time.monotonic()
            _put(blob, client, at, piece, {} if offsets else metadata, pace)
            offsets.append(at)
            cut.took(len(piece), time.monotonic() - began)
            progress(pipe.size)
            piece = pipe.read(cut.length)
    bundle = tus.insist(client, lambda: blob.commit(client, offsets, metadata))
    return blob, pipe.sent(bundle)


def _put(blob: Blob, client: Client, at: int, piece: bytes, metadata: Mapping[str, str], pace: Pace) -> None:
    crc = crc64_of(piece)
    tus.insist(client, lambda: blob.put(client, at, pace.cut(piece), crc, metadata))
