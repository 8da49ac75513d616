"""Block ids and lists: what clients write is read; whatever else comes is told in the service's words."""

from __future__ import annotations

import base64
from contextlib import suppress
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.blob.blob_errors import BlobError
from intake_api.blob.documents import MAX_LISTED, check_block_id, read_block_list
from retention.custody.uploads.block_list import BlockKind

ids = st.binary(min_size=1, max_size=64).map(lambda raw: base64.b64encode(raw).decode())
entries = st.lists(st.tuples(st.sampled_from(list(BlockKind)), ids), max_size=20)


def code(document: bytes) -> str:
    with pytest.raises(BlobError) as caught:
        read_block_list(document)
    return caught.value.code


def document(*inside: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{"".join(inside)}</BlockList>'.encode()


@given(ids)
def test_an_id_is_base64_of_up_to_64_bytes(block_id: str) -> None:
    assert check_block_id(block_id) == block_id


@given(st.text(max_size=100))
def test_nothing_else_is_an_id(text: str) -> None:
    with suppress(BlobError):
        assert base64.b64encode(base64.b64decode(check_block_id(text))).decode() == text


@pytest.mark.parametrize(
    "text", ["", "AA", "AB==", "A A==", base64.b64encode(bytes(65)).decode(), "-_8=", "AA==\n"]
)
def test_these_are_no_ids(text: str) -> None:
    with pytest.raises(BlobError):
        check_block_id(text)


@given(entries, st.sampled_from(["", "\n", "  "]))
def test_a_list_is_read_in_its_order(wanted: list[tuple[BlockKind, str]], space: str) -> None:
    written = (f"{space}<{kind}>{escape(block_id)}</{kind}>{space}" for kind, block_id in wanted)
    assert read_block_list(document(*written)) == wanted


def test_a_list_of_the_most_blocks_is_read_and_one_more_is_too_long() -> None:
    entry = "<Latest>QUFBQQ==</Latest>"
    assert len(read_block_list(document(entry * MAX_LISTED))) == MAX_LISTED
    assert code(document(entry * (MAX_LISTED + 1))) == "BlockListTooLong"


@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_a_list_or_the_services_error(raw: bytes) -> None:
    assert code(b"<" + raw) in {"InvalidXmlDocument", "UnsupportedXmlNode", "InvalidBlockId"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "InvalidXmlDocument"),
        (b"<BlockList>", "InvalidXmlDocument"),
        (b"<Other/>", "UnsupportedXmlNode"),
        (document("<Newest>AA==</Newest>"), "UnsupportedXmlNode"),
        (document("<Latest>AA==<Latest>AA==</Latest></Latest>"), "UnsupportedXmlNode"),
        (document("<Latest>no id</Latest>"), "InvalidBlockId"),
        (document("<Latest/>"), "InvalidBlockId"),
        (
            b'<!DOCTYPE BlockList [<!ENTITY a "AA==">]><BlockList><Latest>&a;</Latest></BlockList>',
            "InvalidXmlDocument",
        ),
        (b'<?xml version="1.0" encoding="utf-7"?><BlockList/>', "InvalidXmlDocument"),
    ],
)
def test_what_is_wrong_is_told_by_its_code(raw: bytes, expected: str) -> None:
    assert code(raw) == expected


def test_a_byte_order_mark_is_no_part_of_it() -> None:
    assert read_block_list(b"\xef\xbb\xbf" + document("<Latest>AA==</Latest>")) == [
        (BlockKind.LATEST, "AA==")
    ]
