"""Uploading over tus 1.0.0 (creation), resumable at any byte.

- The service alone knows how far it is: after every break it is asked (HEAD), never guessed.
- A break is answered with back-off and jitter; progress starts the count anew, so a bad line only costs time.
- What cannot get better is not repeated: a refusal, an erased bundle, another writer on the same upload.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

from intake_api.cli.client import Client, pause_before
from intake_api.cli.errors import CliError, ServiceProblem, Unreachable

VERSION = {"Tus-Resumable": "1.0.0"}
PIECE = 1 << 18
FRUITLESS = 10
"""Breaks in a row without one byte of progress before giving up: some minutes."""
_OFFSET_MISMATCH = "offset-mismatch"
_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
Progress = Callable[[int], None]
"""Told how many bytes of the file have left so far."""


class Body:
    """The rest of a file as a request body: its length is known, its pieces are big, its progress is told."""

    def __init__(self, source: BinaryIO, offset: int, size: int, progress: Progress) -> None:
        self._source, self._offset, self._size, self._progress = source, offset, size, progress

    def __len__(self) -> int:
        return self._size - self._offset

    def __iter__(self) -> Iterator[bytes]:
        self._source.seek(self._offset)
        at = self._offset
        while at < self._size:
            piece = self._source.read(min(PIECE, self._size - at))
            if not piece:
                raise CliError(
                    "the file became shorter while it was sent; send it again when nothing writes to it"
                )
            yield piece
            at += len(piece)
            self._progress(at)


def create(client: Client, size: int, metadata: Mapping[str, str]) -> str:
    """Announce an upload; its path on the service."""
    headers = {**VERSION, "Upload-Length": str(size), "Upload-Metadata": _encoded(metadata)}
    for attempt in range(1, FRUITLESS + 1):
        try:
            answer = client.call("POST", "/uploads", headers=headers)
            break
        except (Unreachable, ServiceProblem) as error:
            # An announcement whose answer was lost leaves an empty upload that expires by itself.
            if not _may_pass(error) or attempt == FRUITLESS:
                raise
            client.sleep(pause_before(attempt))
    return urlsplit(_header(answer, "Location")).path


def offset_of(client: Client, location: str) -> int:
    """How many bytes the service keeps."""
    return int(_header(client.call("HEAD", location, headers=VERSION), "Upload-Offset"))


def bundle_of(location: str) -> str:
    """The bundle's id: the last segment of its upload's address."""
    return location.rstrip("/").rpartition("/")[2]


def send(client: Client, location: str, source: BinaryIO, size: int, progress: Progress) -> None:
    """Send what the service does not have yet, until it has all of it."""
    offset = offset_of(client, location)
    fruitless = 0
    while offset < size:
        progress(offset)
        try:
            answer = client.call(
                "PATCH",
                location,
                headers={
                    **VERSION,
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                },
                data=Body(source, offset, size, progress),
            )
            reached = int(_header(answer, "Upload-Offset"))
        except (Unreachable, ServiceProblem) as error:
            if not _may_pass(error):
                raise
            fruitless += 1
            if fruitless > FRUITLESS:
                raise
            client.sleep(pause_before(fruitless))
            reached = offset_of(client, location)
        fruitless = 0 if reached > offset else fruitless
        offset = reached
    progress(offset)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ServiceProblem):
        return error.status in _PASSING or error.code == _OFFSET_MISMATCH
    return isinstance(error, Unreachable)


def _encoded(metadata: Mapping[str, str]) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())


def _header(answer: requests.Response, name: str) -> str:
    try:
        return answer.headers[name]
    except KeyError:
        raise CliError(f"the answer has no {name} header: is this a casevault service?") from None
