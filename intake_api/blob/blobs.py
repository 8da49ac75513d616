"""Operations on a blob: sent in one piece or in blocks, committed, looked at, given up. Never read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row
from werkzeug.wrappers import Response

from intake_api.blob import bodies, documents, headers
from intake_api.blob.blob_errors import BlobError
from intake_api.blob.crc64 import crc64_of
from intake_api.blob.documents import MAX_LIST_BYTES, check_block_id, read_block_list
from intake_api.blob.request import BUNDLE, Call, Shared, etag_of, modified_of, version_headers
from intake_api.blob.structured import BODY
from intake_api.http.draining import Dropped
from retention.custody import receipts
from retention.custody.uploads import block_list, block_staging
from retention.custody.uploads.block_staging import Through
from retention.domain.bundle import BundleState
from retention.domain.faults import Conflict
from retention.domain.upload_link import Declared

MIB = 1 << 20
MAX_BLOB = 5000 * MIB
MAX_BLOCK = 4000 * MIB
_NOT_OFFERED = (
    "x-ms-copy-source",
    "x-ms-encryption-key",
    "x-ms-encryption-scope",
    "x-ms-lease-id",
    "x-ms-access-tier",
    "x-ms-tags",
    "x-ms-if-tags",
    "x-ms-immutability-policy-mode",
    "x-ms-immutability-policy-until-date",
    "x-ms-legal-hold",
)
"""Headers that mean another operation, or a promise that is not kept here: refused, not ignored."""
_CONTENT_ERRORS = frozenset({"Md5Mismatch", "Crc64Mismatch", "InvalidStructuredMessage"})
"""Errors of a body that came whole, but is not what its sender declared."""
_ENCRYPTED = {"x-ms-request-server-encrypted": "true"}


def put_blob(shared: Shared, call: Call, through: Through) -> Response:
    """Put Blob: send all of it in one request."""
    if call.headers.get("x-ms-blob-type") != "BlockBlob":
        raise BlobError("UnsupportedHeader", HeaderName="x-ms-blob-type")
    _refuse_others(call)
    body = bodies.Announced(call.headers, MAX_BLOB)
    _check_new(call, through)
    declared, facts = _declared(call)
    facts["properties"] = {**headers.read_own_properties(call.headers), **facts["properties"]}
    if body.length == 0:
        sums = body.take(shared.body(call), Dropped(), shared.stall_seconds)
        return _created(block_list.commit_blocks(through, call.blob, [], declared, facts), sums)
    with block_staging.begin_block(through, shared.blocks, call.blob, None, body.length, declared) as block:
        sums = _take_whole(shared, call, body, block, through)
        block.keep()
    if "Content-MD5" in sums:  # the checked sum stays with the blob, unless its sender set another
        facts["properties"].setdefault("Content-MD5", sums["Content-MD5"])
    return _created(block_list.commit_one(through, block, call.blob, declared, facts), sums)


def _take_whole(
    shared: Shared, call: Call, body: bodies.Announced, block: block_staging.StagedBlock, through: Through
) -> dict[str, str]:
    """Take the whole blob's content, and return its sums; one that is not what was declared leaves nothing behind."""
    try:
        return body.take(shared.body(call), block, shared.stall_seconds)
    except BlobError as error:
        if error.code in _CONTENT_ERRORS:
            block_staging.forget_wrong(through, block.bundle_id)
        raise


def put_block(shared: Shared, call: Call, through: Through) -> Response:
    """Put Block: send one of many, in any order."""
    _refuse_others(call)
    if "blockid" not in call.query:
        raise BlobError("MissingRequiredQueryParameter", QueryParameterName="blockid")
    block_id = check_block_id(call.query["blockid"])
    body = bodies.Announced(call.headers, MAX_BLOCK)
    if body.length == 0:
        raise BlobError("InvalidHeaderValue", HeaderName="Content-Length", Reason="the block is empty")
    # The block list declares the collection; what a block declares already is refused before the other bytes come.
    declared, _ = _declared(call)
    try:
        begun = block_staging.begin_block(through, shared.blocks, call.blob, block_id, body.length, declared)
    except Conflict as error:
        # A block cannot carry If-None-Match; its list would, and get this.
        if error.reason == "blob-complete":
            raise BlobError("BlobAlreadyExists", Reason=error.message) from None
        raise
    with begun as block:
        sums = body.take(shared.body(call), block, shared.stall_seconds)
        block.keep()
    return Response(status=201, headers={**sums, **_ENCRYPTED})


def put_block_list(shared: Shared, call: Call, through: Through) -> Response:
    """Put Block List: commit the blocks, in this order, as the blob."""
    _refuse_others(call, BODY)
    document = bodies.gather(shared.body(call), call.headers, MAX_LIST_BYTES, shared.stall_seconds)
    wanted = read_block_list(document)
    declared, facts = _declared(call)
    if not _is_whole(call, through):  # a whole blob is compared with the list first: it can be the same again
        headers.check_conditions(call.headers, None, None, reading=False)
    try:
        bundle = block_list.commit_blocks(through, call.blob, wanted, declared, facts)
    except Conflict as error:
        if error.reason == "blob-complete" and "If-None-Match" in call.headers:
            raise BlobError("BlobAlreadyExists") from None
        raise
    return _created(bundle, {"x-ms-content-crc64": crc64_of(document)})


def get_block_list(_shared: Shared, call: Call, through: Through) -> Response:
    """Get Block List: list what the server has, so that a client can continue from there."""
    kind = call.query.get("blocklisttype", "committed")
    if kind not in ("committed", "uncommitted", "all"):
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="blocklisttype")
    blocks = block_list.list_blocks(through, call.blob)
    whole = blocks.blob.state != BundleState.STAGING
    lists = {
        **({"CommittedBlocks": blocks.committed} if kind != "uncommitted" else {}),
        **({"UncommittedBlocks": blocks.uncommitted} if kind != "committed" else {}),
    }
    shown = {**version_headers(blocks.blob)} if whole else {}
    shown |= {"x-ms-blob-content-length": str(blocks.blob.size), BUNDLE: blocks.blob.id}
    return Response(documents.block_list(lists), 200, shown, content_type="application/xml")


def properties(_shared: Shared, call: Call, through: Through) -> Response:
    """Get Blob Properties: show everything but the content."""
    bundle = block_list.get_blob(through, call.blob)
    headers.check_conditions(call.headers, etag_of(bundle), modified_of(bundle), reading=True)
    facts = json.loads(bundle.blob_facts or "{}")
    shown = {
        "Content-Type": "application/octet-stream",
        **facts.get("properties", {}),
        **version_headers(bundle),
        "Content-Length": str(bundle.size),
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": shown_time(bundle),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-server-encrypted": "true",
        **{f"{headers.META}{name}": value for name, value in facts.get("metadata", {}).items()},
    }
    return Response(status=200, headers=shown)


def receipt(_shared: Shared, call: Call, through: Through) -> Response:
    """Return the signed intake receipt, an operation of ours: a sender can prove that the blob was received."""
    bundle = block_list.get_blob(through, call.blob)
    if bundle.state == BundleState.DAMAGED:
        raise BlobError(
            "InvalidBlobOrBlock", Reason="the stored bytes are not those declared: have it erased"
        )
    try:
        document = receipts.hand_out(through.custody, bundle.id)
    except Conflict:  # its entry is not in the tree yet
        raise BlobError("BlobNotFound", Reason="the receipt is not issued yet; ask again") from None
    return Response(json.dumps(document), 200, version_headers(bundle), content_type="application/json")


def delete(_shared: Shared, call: Call, through: Through) -> Response:
    """Delete Blob: give up one that was begun and never committed, or an empty one."""
    block_list.give_up_blob(through, call.blob)
    return Response(status=202)


def change(_shared: Shared, call: Call, through: Through) -> Response:
    """Set Blob Metadata or Properties, which `touch` asks for: refuse, because those of a sealed blob never change."""
    block_list.get_blob(through, call.blob)
    raise BlobError("BlobImmutableDueToPolicy", Reason="a blob's metadata and properties cannot be changed")


def _created(bundle: Row[Any], sums: Mapping[str, str]) -> Response:
    return Response(status=201, headers={**version_headers(bundle), **sums, **_ENCRYPTED})


def shown_time(bundle: Row[Any]) -> str:
    """Return when the blob was made, as its headers show it."""
    return version_headers(bundle)["Last-Modified"]


def _refuse_others(call: Call, *more: str) -> None:
    for name in (*_NOT_OFFERED, *more):
        if name in call.headers:
            raise BlobError("UnsupportedHeader", HeaderName=name)


def _check_new(call: Call, through: Through) -> None:
    """Check, before bytes move, the request's conditions and that there is no such blob yet, except an empty one."""
    found = _find(call, through)
    whole = found is not None and found.state != BundleState.STAGING
    etag, modified = (etag_of(found), modified_of(found)) if found is not None and whole else (None, None)
    headers.check_conditions(call.headers, etag, modified, reading=False)
    if found is not None and whole and not block_staging.is_empty(found):
        raise BlobError("BlobImmutableDueToPolicy")


def _is_whole(call: Call, through: Through) -> bool:
    found = _find(call, through)
    return found is not None and found.state != BundleState.STAGING


def _find(call: Call, through: Through) -> Row[Any] | None:
    with through.custody.records.read() as reads:
        return block_staging.find_blob(reads, through.link.row.id, call.blob)


def _declared(call: Call) -> tuple[Declared, dict[str, Any]]:
    """Return the collection that the metadata declares, and the headers that are kept."""
    metadata = headers.read_metadata(call.headers.items())
    properties = headers.read_properties(call.headers)
    return headers.declared(metadata), {"metadata": metadata, "properties": properties}
