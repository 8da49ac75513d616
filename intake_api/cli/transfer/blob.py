"""The client of the Blob endpoint, by upload link: how a file is cut into blocks, and the calls.

- A link is a secret: it lets in whoever has it. It is in no message, and its query in no repr.
- Each block is sent with its CRC64, which the service checks before the block counts.
- A repeated request changes nothing: a block of the same id replaces, the same list commits again.
- The declared collection (the metadata) goes with the first blocks, so that a refusal comes before the file has moved,
  and with the list, which decides.
- A block's id is its offset, in one length for all. So a resume needs only the service's list of blocks, whichever
  machine sent them and whatever their sizes, to know what is there and what is missing.
- A block counts whole or not at all, and a lost one costs its bytes again: on a slow line blocks are small. On a fast
  one each costs a request, a record and a part of its own: there they are large. The time that one took decides.
- A list names 50,000 blocks at most: for a large file blocks are no smaller than that allows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree as Tree

import requests

from intake_api.cli.cli_errors import CliError, ServiceProblem
from intake_api.cli.client import Client

LEAST, MOST = 1 << 14, 1 << 23
MOST_BLOCKS = 45_000
"""Fewer than the 50,000 of a list: the ends of gaps need some."""
_FAST_SECONDS, _SLOW_SECONDS = 1.0, 3.0
_DIGITS = 15
Stretch = tuple[int, int]
"""The offset and length of a run of the file's bytes."""


def block_id(offset: int) -> str:
    """Return the id of the block that begins at `offset`."""
    return base64.b64encode(f"{offset:0{_DIGITS}x}".encode()).decode()


def offset_of(block: str) -> int | None:
    """Return the offset of a block; None for one that this program did not cut."""
    try:
        text = base64.b64decode(block, validate=True).decode("ascii")
        return int(text, 16) if len(text) == _DIGITS else None
    except (binascii.Error, ValueError):
        return None


def fitting(held: Mapping[int, int], size: int) -> tuple[list[int], list[Stretch]]:
    """Split held blocks (length by offset) into those without overlap, by offset, and the stretches missing between."""
    kept: list[int] = []
    gaps: list[Stretch] = []
    at = 0
    for offset in sorted(held):
        if offset < at or offset + held[offset] > size:
            continue  # two senders cut the same bytes differently
        if offset > at:
            gaps.append((at, offset - at))
        kept.append(offset)
        at = offset + held[offset]
    return kept, gaps if at == size else [*gaps, (at, size - at)]


class Cut:
    """The length of the next block."""

    def __init__(self, missing: int, kept: int = 0) -> None:
        self._floor = max(LEAST, -(-missing // max(1, MOST_BLOCKS - kept)))
        self.length = self._floor

    def took(self, length: int, seconds: float) -> None:
        """Note that a block of `length` bytes was sent and acknowledged in `seconds`."""
        if length >= self.length and seconds < _FAST_SECONDS:
            self.length = min(2 * self.length, max(MOST, self._floor))
        elif length <= self.length and seconds > _SLOW_SECONDS:
            self.length = max(self.length // 2, self._floor)


def held_of(listed: Sequence[tuple[str, int]]) -> dict[int, int]:
    """Map the blocks of a list (id, length) to length by offset, skipping those of other programs."""
    found = ((offset_of(block), length) for block, length in listed)
    return {offset: length for offset, length in found if offset is not None}


VERSION = {"x-ms-version": "2023-11-03"}
BUNDLE = "x-casevault-bundle"
_NOT_SENT = frozenset({"filename", "stamp"})
"""Fields of a collection not sent: the blob's name has one, the link the other."""
UNSEEN = "AuthorizationPermissionMismatch"
_HOW = "--link takes an upload link as it was issued: https://host/lnk-...?sv=...&sig=..."


@dataclass(frozen=True, slots=True)
class Link:
    """An upload link, parsed."""

    server: str
    container: str
    query: str = field(repr=False)

    @property
    def name(self) -> str:
        """The link's id, as the API writes it."""
        return self.container.rpartition("/")[2].replace("lnk-", "lnk_", 1)

    @classmethod
    def parse(cls, text: str) -> Link:
        """Parse a link; CliError says why an address cannot be used to send."""
        try:
            parts = urlsplit(text.strip())
            parts.port  # noqa: B018 - read to be checked
        except ValueError:
            raise CliError(_HOW) from None
        said = parse_qs(parts.query)
        if parts.scheme != "https" or not parts.hostname or not parts.path.strip("/") or "sig" not in said:
            raise CliError(f"{_HOW}; paste the whole address, in quotes")
        if not set("cw") & set(said.get("sp", [""])[0]):
            raise CliError("this upload link cannot send: it lacks the permissions c and w; ask for another")
        return cls(f"https://{parts.netloc}", parts.path.rstrip("/"), parts.query)


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a blob the service has."""

    whole: bool = False
    held: Mapping[int, int] = field(default_factory=dict)
    size: int = 0
    bundle: str | None = None


class Blob:
    """One blob of a link. Each sending thread has a client of its own: `connect`."""

    def __init__(self, link: Link, name: str, here: Client) -> None:
        self.link = link
        self._path, self._here = f"{link.container}/{quote(name)}", here

    def connect(self) -> Client:
        """Make a client whose connection nobody shares."""
        return self._here.elsewhere(self.link.server, read_problem)

    def standing(self, client: Client) -> Standing:
        """Ask what the service has of the blob. ServiceProblem when the link is refused."""
        try:
            answer = client.call("GET", self._at("comp=blocklist&blocklisttype=all"), headers=VERSION)
        except ServiceProblem as problem:
            # A link without read permission sees nothing: what is sent again replaces what is there.
            if problem.status == HTTPStatus.NOT_FOUND or problem.code == UNSEEN:
                return Standing()
            raise
        lists = _document(answer.content)
        listed = [(one.findtext("Name") or "", int(one.findtext("Size") or 0)) for one in lists.iter("Block")]
        told = answer.headers
        size = int(told.get("x-ms-blob-content-length", "0"))
        return Standing("ETag" in told, held_of(listed), size, told.get(BUNDLE))

    def put(
        self,
        client: Client,
        offset: int,
        body: Iterable[bytes] | bytes,
        crc: str,
        metadata: Mapping[str, str],
    ) -> None:
        """Send a block."""
        where = self._at(f"comp=block&blockid={quote(block_id(offset), safe='')}")
        headers = {**VERSION, "x-ms-content-crc64": crc, **_metadata_headers(metadata)}
        client.call("PUT", where, headers=headers, data=body)

    def commit(self, client: Client, offsets: Sequence[int], metadata: Mapping[str, str]) -> str | None:
        """Commit the blocks at `offsets`, in this order, as the blob; return the bundle's id."""
        named = "".join(f"<Latest>{block_id(offset)}</Latest>" for offset in offsets)
        headers = {**VERSION, "Content-Type": "application/xml", **_metadata_headers(metadata)}
        document = f"<BlockList>{named}</BlockList>".encode()
        answer = client.call("PUT", self._at("comp=blocklist"), headers=headers, data=document)
        return answer.headers.get(BUNDLE)

    def receipt(self, client: Client) -> dict[str, Any] | None:
        """Fetch the signed intake receipt, if there is one yet."""
        try:
            answer = client.call("GET", self._at("comp=receipt"), headers=VERSION)
        except ServiceProblem as problem:
            if problem.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        document: dict[str, Any] = answer.json()
        return document

    def _at(self, parameters: str) -> str:
        return f"{self._path}?{parameters}&{self.link.query}"


def _metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    told = {name: value for name, value in metadata.items() if name not in _NOT_SENT}
    for name, value in told.items():
        if not value.isascii():
            raise CliError(f"{name} is {value!r}: through an upload link it must be plain ASCII")
    return {f"x-ms-meta-{name}": value for name, value in told.items()}


def _document(content: bytes) -> Tree.Element:
    found = _read(content)
    if found is None:
        raise CliError("the response is not the Blob endpoint's XML: is this a casevault upload link?")
    return found


def _read(content: bytes) -> Tree.Element | None:
    try:
        return Tree.fromstring(content)  # noqa: S314 - from a server with a valid certificate
    except Tree.ParseError:
        return None


def read_problem(answer: requests.Response) -> Mapping[str, Any]:
    """Read the service's refusal as one line: its reason if it has one, else its message."""
    code = answer.headers.get("x-ms-error-code", "")
    document = _read(answer.content)
    said = {one.tag: (one.text or "").split("\n")[0] for one in (() if document is None else document)}
    text = said.get("AuthenticationErrorDetail") or said.get("Reason") or said.get("Message")
    text = text or f"the server responded {answer.status_code} {answer.reason}"
    refused = answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return {"detail": f"the upload link is refused: {text}" if refused else text, "type": code}
