"""The client of tus 1.0.0: an upload resumable at any byte, and its spare connection.

- Only the service knows the offset: after every break it is asked (HEAD), unless its response told it; never guessed.
- After a break come back-off and jitter; progress restarts the count, so a bad line only costs time.
- A permanent failure is not repeated: a refusal, an erased bundle, another writer on the same upload.
- Making a connection costs two round trips, in which nothing is sent. So on a line that breaks a spare one stands
  ready: made after the first break, beside the upload, and used every few seconds, so that it is alive when needed and
  neither end drops it as idle. The client's pool holds it: the next request goes over it.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import BinaryIO, Self, TypeVar
from urllib.parse import urlsplit

import requests

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import Client, pause_before
from intake_api.cli.transfer.rate import Pace
from intake_api.tus.protocol import BODY_TYPE, parse_metadata

_EVERY_SECONDS, _AFTER_SECONDS = 6.0, 1.0


class Spare:
    """A spare connection, kept while the `with` block runs, once one was `taken`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._over = threading.Event()
        self._taken = threading.Event()
        self._thread: threading.Thread | None = None

    def taken(self) -> None:
        """Note that the line broke and the spare is in use: make another, and keep one from now on."""
        self._taken.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="spare-connection", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        while not self._over.is_set():
            if self._taken.wait(_EVERY_SECONDS):
                self._taken.clear()
                if self._over.wait(_AFTER_SECONDS):  # the upload's next request goes first
                    return
            try:
                self._client.knock()
            except CliError:
                continue  # the line is down: the upload itself reports it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._taken.set()  # a daemon: nobody waits for its last request


T = TypeVar("T")
VERSION = {"Tus-Resumable": "1.0.0"}
FRUITLESS = 10
"""Breaks in a row without a byte of progress before giving up: some minutes."""
SHORTER = "the file became shorter while it was being sent; send it again when nothing writes to it"
_OFFSET_MISMATCH = "offset-mismatch"
PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
Progress = Callable[[int], None]
"""Called with how many bytes of the file have been sent so far."""


class Body:
    """The rest of a file as a request body: of known length, paced, with its progress reported."""

    def __init__(
        self, source: BinaryIO, offset: int, size: int, progress: Progress, pace: Pace, base: int = 0
    ) -> None:
        self._source, self._offset, self._size, self._base = source, offset, size, base
        self._progress, self._pace = progress, pace

    def __len__(self) -> int:
        return self._size - self._offset

    def __iter__(self) -> Iterator[bytes]:
        self._source.seek(self._base + self._offset)
        at = self._offset
        while at < self._size:
            piece = self._source.read(min(self._pace.piece, self._size - at))
            if not piece:
                raise CliError(SHORTER)
            self._pace.keep(len(piece))
            yield piece
            self._pace.took()
            at += len(piece)
            self._progress(at)


def preflight(client: Client, size: int, metadata: Mapping[str, str]) -> None:
    """Ask whether an upload declared like this would be accepted; ServiceProblem says why not."""
    insist(client, lambda: client.call("POST", "/uploads/preflight", json={**metadata, "size": size}))


def create(client: Client, size: int, metadata: Mapping[str, str]) -> str:
    """Create an upload; return its path on the service."""
    # A creation whose response was lost leaves an empty upload that expires by itself.
    return _announce(client, {"Upload-Length": str(size), "Upload-Metadata": _encoded(metadata)})


def create_deferred(client: Client, metadata: Mapping[str, str]) -> str:
    """Create an upload whose length is declared at its end; return its path on the service."""
    return _announce(client, {"Upload-Defer-Length": "1", "Upload-Metadata": _encoded(metadata)})


def tell_length(client: Client, location: str, size: int) -> None:
    """Declare that the `size` bytes sent are all there are: the upload is complete."""
    headers = {**VERSION, "Upload-Offset": str(size), "Upload-Length": str(size), "Content-Type": BODY_TYPE}

    def tell() -> None:
        try:
            client.call("PATCH", location, headers=headers, data=b"")
        except ServiceProblem as problem:
            if problem.status != HTTPStatus.CONFLICT or not _is_whole(client, location, size):
                raise  # else only a response was lost: the length had been declared

    insist(client, tell)


def _is_whole(client: Client, location: str, size: int) -> bool:
    told = client.call("HEAD", location, headers=VERSION).headers
    return told.get("Upload-Length") == told.get("Upload-Offset") == str(size)


def create_partial(client: Client, size: int, stamp: str | None) -> str:
    """Create a partial upload for a later concatenation; return its path on the service."""
    sender = {"Upload-Metadata": _encoded({"stamp": stamp})} if stamp else {}
    return _announce(client, {"Upload-Length": str(size), "Upload-Concat": "partial", **sender})


def concatenate(client: Client, locations: Iterable[str], metadata: Mapping[str, str]) -> str:
    """Join complete partial uploads into one; return its path. The same request again gives the same upload."""
    parts = f"final;{' '.join(locations)}"
    return _announce(client, {"Upload-Concat": parts, "Upload-Metadata": _encoded(metadata)})


def _announce(client: Client, headers: Mapping[str, str]) -> str:
    answer = insist(client, lambda: client.call("POST", "/uploads", headers={**VERSION, **headers}))
    return urlsplit(_header(answer, "Location")).path


def insist(client: Client, call: Callable[[], T]) -> T:
    """Repeat a repeatable call in spite of a bad line; return its result."""
    for attempt in count(1):
        try:
            return call()
        except (Unreachable, ServiceProblem) as error:
            if not _may_pass(error) or attempt == FRUITLESS:
                raise
            client.sleep(pause_before(attempt))
    raise AssertionError("the last try returns or raises")


def offset_of(client: Client, location: str) -> int:
    """Ask how many bytes the service keeps."""
    return int(_header(client.call("HEAD", location, headers=VERSION), "Upload-Offset"))


def kept_of(client: Client, location: str) -> tuple[int, dict[str, str]]:
    """Ask how many bytes the service keeps, and the upload's declared metadata."""
    answer = client.call("HEAD", location, headers=VERSION)
    return int(_header(answer, "Upload-Offset")), parse_metadata(_header(answer, "Upload-Metadata"))


def bundle_of(location: str) -> str:
    """Return the bundle's id: the last segment of its upload's address."""
    return location.rstrip("/").rpartition("/")[2]


def send(
    client: Client,
    location: str,
    source: BinaryIO,
    size: int,
    progress: Progress,
    *,
    offset: int | None = None,
    pace: Pace | None = None,
    base: int = 0,
    alone: bool = True,
) -> None:
    """Send what the service does not have yet, until it has all. `offset` is how much it has, if that is known.

    The upload's bytes are the file's from `base` on. `alone`: no other connection uses the line after a break of this.

    One request carries all that is left: the service keeps every byte that arrives, so smaller ones would only cost
    round trips. After a break the service is asked at once, over the spare connection; there is a pause only where the
    broken request made no progress.
    """
    pace = pace or Pace()
    best, fruitless, broken = offset or 0, 0, False
    with Spare(client) as spare:
        while offset is None or offset < size:
            try:
                if offset is None:
                    offset = offset_of(client, location)
                else:
                    progress(offset)
                    if broken and alone:
                        spare.taken()
                    offset = _patch(
                        client, location, Body(source, offset, size, progress, pace, base), offset
                    )
            except (Unreachable, ServiceProblem) as error:
                fruitless, broken = fruitless + 1, True
                if not _may_pass(error) or fruitless > FRUITLESS:
                    raise
                offset = _offset_in(error)
                if fruitless > 1 or (isinstance(error, ServiceProblem) and (offset or 0) <= best):
                    client.sleep(pause_before(fruitless))
            if offset is not None and offset > best:
                best, fruitless = offset, 0
    progress(offset)


def _patch(client: Client, location: str, body: Body, offset: int) -> int:
    headers = {
        **VERSION,
        "Upload-Offset": str(offset),
        "Content-Type": BODY_TYPE,
    }
    return int(_header(client.call("PATCH", location, headers=headers, data=body), "Upload-Offset"))


def _offset_in(error: Exception) -> int | None:
    """Return the upload's offset if the refusal names it: that saves asking."""
    told = error.problem.get("offset") if isinstance(error, ServiceProblem) else None
    return told if isinstance(told, int) else None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ServiceProblem):
        return error.status in PASSING or error.code == _OFFSET_MISMATCH
    return isinstance(error, Unreachable)


def _encoded(metadata: Mapping[str, str]) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())


def _header(answer: requests.Response, name: str) -> str:
    try:
        return answer.headers[name]
    except KeyError:
        raise CliError(f"the response has no usable {name} header: is this a casevault service?") from None
