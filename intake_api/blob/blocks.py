"""° Block ids and block lists, as clients send them. Pure.

- A block id is base64 of 1 to 64 bytes, in the one form that base64 has for them. That all ids of a blob are equally
  long is checked where they are kept.
- A list is XML without a document type: entities have no business in it. It names at most 50,000 blocks.
"""

from __future__ import annotations

import base64
import binascii
from xml.parsers import expat

from intake_api.blob.errors import BlobError
from retention.custody.committing import BlockKind, Wanted

MAX_LISTED = 50_000
MAX_ID_BYTES = 64
MAX_LIST_BYTES = 16 << 20
_STEP = 64 << 10
_MOST_PIECES = 1000
_KINDS = frozenset(kind.value for kind in BlockKind)


def check_block_id(text: str) -> str:
    """The block id, when it is one."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not 1 <= len(raw) <= MAX_ID_BYTES or base64.b64encode(raw).decode() != text:
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="blockid", Reason="not a block id")
    return text


def read_block_list(document: bytes) -> list[Wanted]:
    """The entries of a Put Block List body, in order."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        for start in range(0, len(document), _STEP):
            parser.Parse(document[start : start + _STEP], False)
            if start - parser.CurrentByteIndex > _STEP:  # a tag that does not end: attributes, a name
                raise BlobError("InvalidXmlDocument")
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError):
        raise BlobError("InvalidXmlDocument") from None
    return reader.wanted


def _refuse_document_type(*_named: object) -> None:
    raise BlobError("InvalidXmlDocument")


class _Reader:
    """Collects `<BlockList>` and what it holds; anything else is an error."""

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
