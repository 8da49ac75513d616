"""The XML that clients send (block lists) and get (errors, lists), and block ids. Pure.

- A block id is base64 of 1 to 64 bytes, in its one canonical form. Where ids are kept it is checked that all of one
  blob have the same length.
- A block list is XML without a document type: it needs no entities. It names at most 50,000 blocks.
- Stored names never contain control characters, so every response can be written as XML.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as Tree
from xml.parsers import expat

from intake_api.blob.blob_errors import BlobError
from retention.custody.uploads.block_list import BlockKind, Wanted

MAX_LISTED = 50_000
MAX_ID_BYTES = 64
MAX_LIST_BYTES = 16 << 20
_STEP = 64 << 10
_MOST_PIECES = 1000
_KINDS = frozenset(kind.value for kind in BlockKind)


def check_block_id(text: str) -> str:
    """Return `text` if it is a block id; BlobError otherwise."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not 1 <= len(raw) <= MAX_ID_BYTES or base64.b64encode(raw).decode() != text:
        reason = f"not a block ID: send base64 of 1 to {MAX_ID_BYTES} bytes"
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="blockid", Reason=reason)
    return text


def read_block_list(document: bytes) -> list[Wanted]:
    """Read the entries of a Put Block List body, in order."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        for start in range(0, len(document), _STEP):
            parser.Parse(document[start : start + _STEP], False)
            if start - parser.CurrentByteIndex > _STEP:  # a tag that does not end: a long name or attributes
                raise BlobError("InvalidXmlDocument")
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError):
        raise BlobError("InvalidXmlDocument") from None
    return reader.wanted


def _refuse_document_type(*_named: object) -> None:
    raise BlobError("InvalidXmlDocument")


class _Reader:
    """A collector of the entries of `<BlockList>`; anything else is an error."""

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self._depth = 0
        self._kind = ""
        self._id: list[str] = []

    def start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        if self._depth == 1 and name == "BlockList":
            return
        if self._depth != 2 or name not in _KINDS:
            raise BlobError("UnsupportedXmlNode", XmlNodeName=name[:64])
        if len(self.wanted) >= MAX_LISTED:
            raise BlobError("BlockListTooLong")
        self._kind, self._id = name, []

    def text(self, text: str) -> None:
        if self._depth == 2:
            self._id.append(text)
            if len(self._id) > _MOST_PIECES:  # each line, and each entity, is a piece
                raise BlobError("InvalidBlockId")

    def end(self, _name: str) -> None:
        if self._depth == 2:
            id_ = "".join(self._id).strip()
            try:
                self.wanted.append((BlockKind(self._kind), check_block_id(id_)))
            except BlobError:
                raise BlobError("InvalidBlockId") from None
        self._depth -= 1


Pairs = Iterable[tuple[str, str]]
Listed = tuple[str, Pairs | None, Mapping[str, str] | None]
"""A blob's name, properties, and metadata if requested; without properties: a common beginning of names."""


def error(code: str, message: str, request_id: str, at: str, facts: Mapping[str, str]) -> bytes:
    """Write the response body of an error."""
    root = Tree.Element("Error")
    _add(root, [("Code", code), ("Message", f"{message}\nRequestId:{request_id}\nTime:{at}"), *facts.items()])
    return _document(root)


def block_list(lists: Mapping[str, Sequence[tuple[str, int]]]) -> bytes:
    """Write the response body of Get Block List: the requested lists, by element name, of (block id, length)."""
    root = Tree.Element("BlockList")
    for name, blocks in lists.items():
        part = Tree.SubElement(root, name)
        for block_id, length in blocks:
            _add(Tree.SubElement(part, "Block"), [("Name", block_id), ("Size", str(length))])
    return _document(root)


def blob_list(
    container: str,
    asked: Pairs,
    blobs: Iterable[Listed],
    next_marker: str,
) -> bytes:
    """Write the response body of List Blobs."""
    root = Tree.Element("EnumerationResults", {"ContainerName": container})
    _add(root, asked)
    listed = Tree.SubElement(root, "Blobs")
    for name, properties, metadata in blobs:
        blob = Tree.SubElement(listed, "BlobPrefix" if properties is None else "Blob")
        _add(blob, [("Name", name)])
        if properties is None:
            continue
        _add(Tree.SubElement(blob, "Properties"), properties)
        if metadata is not None:
            _add(Tree.SubElement(blob, "Metadata"), metadata.items())
    _add(root, [("NextMarker", next_marker)])
    return _document(root)


def _add(parent: Tree.Element, pairs: Pairs) -> None:
    for name, value in pairs:
        Tree.SubElement(parent, name).text = value


def _document(root: Tree.Element) -> bytes:
    written: str = Tree.tostring(root, "unicode")
    return b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>' + written.encode()
