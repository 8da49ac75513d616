"""The Blob service's documents, written. What XML cannot hold (control characters) is in no name that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as Tree

Pairs = Iterable[tuple[str, str]]
Listed = tuple[str, Pairs | None, Mapping[str, str] | None]
"""A blob's name, properties, and metadata if that was asked for; without properties: a name that blobs begin with."""


def error(code: str, message: str, request_id: str, at: str, facts: Mapping[str, str]) -> bytes:
    """An error's document."""
    root = Tree.Element("Error")
    _add(root, [("Code", code), ("Message", f"{message}\nRequestId:{request_id}\nTime:{at}"), *facts.items()])
    return _document(root)


def block_list(lists: Mapping[str, Sequence[tuple[str, int]]]) -> bytes:
    """The answer of Get Block List: the lists asked for, by element name, of (block id, length)."""
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
    """The answer of List Blobs."""
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
