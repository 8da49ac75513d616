"""What comes through a pipe, sent as it comes: how long it is is known at its end, and told then.

- A pipe cannot be read twice: what the service does not have yet is kept in memory, a piece at a time, and a break of
  the line sends that piece on. After a crash there is nothing to go on with.
- The length that is told at the end proves the end: a sending that ends before completes nothing, and is given up.
- Who fills the pipe may fail; nobody can tell from here. An empty pipe is taken for that.
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
from intake_api.cli.transfer.pace import Pace

PIECE = 8 << 20
"""Bytes of memory, and of the least that a break of the line can cost."""
LONGEST = 1 << 36
"""Bytes: the blocks of a link are cut so that a pipe of this length fits into one list."""
NOTHING = "nothing came on standard input (did the command before it fail?): nothing was sent"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the service has now."""

    bundle: str | None
    size: int
    sha256: str


class Pipe:
    """Standard input, in pieces; it knows at its end how much came, and its SHA-256."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hashing = hashlib.sha256()
        self.size = 0

    def read(self, length: int) -> bytes:
        """The next `length` bytes; fewer, or none, at the end."""
        gathered = io.BytesIO()
        while (left := length - gathered.tell()) and (piece := self._source.read(left)):
            gathered.write(piece)
        content = gathered.getvalue()
        self._hashing.update(content)
        self.size += len(content)
        return content

    def begin(self, length: int) -> bytes:
        """The first piece; CliError when there is none."""
        content = self.read(length)
        if not content:
            raise CliError(NOTHING)
        return content

    def sent(self, bundle: str | None) -> Sent:
        return Sent(bundle, self.size, self._hashing.hexdigest())


def send_with_token(client: Client, source: BinaryIO, metadata: Mapping[str, str], pace: Pace) -> Sent:
    """Over tus, as an upload whose length is told at the end."""
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
    """In blocks, one after the other; the list at the end makes them a blob."""
    blob = Blob(link, f"{secrets.token_hex(16)}/{name}", here)
    client = here.elsewhere(link.server, read_problem)
    blob.standing(client)  # a link that would not do says so before anything is read
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
