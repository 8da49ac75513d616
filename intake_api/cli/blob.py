"""Uploading through an upload link, over the Blob endpoint: blocks, in any order, over several connections.

- A link is a secret: it lets in whoever has it. It is in no message, and its query in no repr.
- Each block is sent with its CRC64, which the service checks before the block counts.
- A repeated request changes nothing: a block of the same id replaces, the same list commits again.
- What the collection is (the metadata) goes with the first blocks, so that a refusal comes before the file has moved,
  and with the list, which decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree as Tree

import requests

from intake_api.cli.blocks import block_id, held_of
from intake_api.cli.client import Client
from intake_api.cli.errors import CliError, ServiceProblem

VERSION = {"x-ms-version": "2023-11-03"}
BUNDLE = "x-casevault-bundle"
_NOT_SENT = frozenset({"filename", "stamp"})
"""Of a collection: the blob's name says the one, the link the other."""
UNSEEN = "AuthorizationPermissionMismatch"
_HOW = "--link must be an upload link as it was issued: https://host/lnk-...?sv=...&sig=..."


@dataclass(frozen=True, slots=True)
class Link:
    """An upload link, taken apart."""

    server: str
    container: str
    query: str = field(repr=False)

    @property
    def name(self) -> str:
        """Its id, as the API writes it."""
        return self.container.rpartition("/")[2].replace("lnk-", "lnk_", 1)

    @classmethod
    def parse(cls, text: str) -> Link:
        """CliError says what is wrong with an address that lets nobody send."""
        try:
            parts = urlsplit(text.strip())
            parts.port  # noqa: B018 - read to be checked
        except ValueError:
            raise CliError(_HOW) from None
        said = parse_qs(parts.query)
        if parts.scheme != "https" or not parts.hostname or not parts.path.strip("/") or "sig" not in said:
            raise CliError(f"{_HOW}; paste all of it, in quotes")
        if not set("cw") & set(said.get("sp", [""])[0]):
            raise CliError("this upload link lets nobody send: it lacks create and write; ask for another")
        return cls(f"https://{parts.netloc}", parts.path.rstrip("/"), parts.query)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a blob is."""

    whole: bool = False
    held: Mapping[int, int] = field(default_factory=dict)
    size: int = 0
    bundle: str | None = None


class Blob:
    """One blob of a link. Each thread that sends has a client of its own: `connect`."""

    def __init__(self, link: Link, name: str, here: Client) -> None:
        self.link = link
        self._path, self._here = f"{link.container}/{quote(name)}", here

    def connect(self) -> Client:
        """A client whose connection nobody shares."""
        return self._here.elsewhere(self.link.server, read_problem)

    def standing(self, client: Client) -> Standing:
        """What the service has of it. ServiceProblem when the link is refused."""
        try:
            answer = client.call("GET", self._at("comp=blocklist&blocklisttype=all"), headers=VERSION)
        except ServiceProblem as problem:
            # A link without read sees nothing: what is sent again replaces what is there.
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
        headers = {**VERSION, "x-ms-content-crc64": crc, **_told(metadata)}
        client.call("PUT", where, headers=headers, data=body)

    def commit(self, client: Client, offsets: Sequence[int], metadata: Mapping[str, str]) -> str | None:
        """Make the blocks that begin there, in this order, the blob; the bundle's id."""
        named = "".join(f"<Latest>{block_id(offset)}</Latest>" for offset in offsets)
        headers = {**VERSION, "Content-Type": "application/xml", **_told(metadata)}
        document = f"<BlockList>{named}</BlockList>".encode()
        answer = client.call("PUT", self._at("comp=blocklist"), headers=headers, data=document)
        return answer.headers.get(BUNDLE)

    def receipt(self, client: Client) -> dict[str, Any] | None:
        """The signed intake receipt, once there is one."""
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


def _told(metadata: Mapping[str, str]) -> dict[str, str]:
    told = {name: value for name, value in metadata.items() if name not in _NOT_SENT}
    for name, value in told.items():
        if not value.isascii():
            raise CliError(f"{name} must be plain ASCII to go through an upload link: {value!r}")
    return {f"x-ms-meta-{name}": value for name, value in told.items()}


def _document(content: bytes) -> Tree.Element:
    found = _read(content)
    if found is None:
        raise CliError("the answer is not the Blob service's: is this a casevault upload link?")
    return found


def _read(content: bytes) -> Tree.Element | None:
    try:
        return Tree.fromstring(content)  # noqa: S314 - of a server whose certificate holds
    except Tree.ParseError:
        return None


def read_problem(answer: requests.Response) -> Mapping[str, Any]:
    """The service's refusal in one line: its reason where it has one, else its message."""
    code = answer.headers.get("x-ms-error-code", "")
    document = _read(answer.content)
    said = {one.tag: (one.text or "").split("\n")[0] for one in (() if document is None else document)}
    text = said.get("AuthenticationErrorDetail") or said.get("Reason") or said.get("Message")
    text = text or f"the server answered {answer.status_code} {answer.reason}"
    refused = answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return {"detail": f"the upload link is refused: {text}" if refused else text, "type": code}
