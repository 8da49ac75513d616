"""Operations on a container: what is in it, and that it is there."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row
from werkzeug.http import http_date
from werkzeug.wrappers import Response

from intake_api.blob import xml
from intake_api.blob.calls import Call, version_headers
from intake_api.blob.errors import BlobError
from intake_api.blob.shared import Shared
from retention.custody import committing
from retention.custody.staging import Through

MOST_LISTED = 5000
_INCLUDES = frozenset({"metadata", "uncommittedblobs"})
_IGNORED = frozenset(
    {
        "snapshots",
        "versions",
        "deleted",
        "copy",
        "tags",
        "legalhold",
        "immutabilitypolicy",
        "deletedwithversions",
    }
)
"""Things that there are none of."""


def properties(_shared: Shared, _call: Call, through: Through) -> Response:
    """Get Container Properties."""
    link = through.link.row
    told = {
        "ETag": f'"{link.id}"',
        "Last-Modified": http_date(link.created_at),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
    }
    return Response(status=200, headers=told)


def list_blobs(_shared: Shared, call: Call, through: Through) -> Response:
    """List Blobs, flat: by name, a page at a time."""
    if call.query.get("delimiter"):
        raise BlobError("UnsupportedQueryParameter", QueryParameterName="delimiter")
    include = {word for word in call.query.get("include", "").lower().split(",") if word}
    if include - _INCLUDES - _IGNORED:
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="include")
    most = _most(call.query.get("maxresults"))
    prefix, marker = call.query.get("prefix", ""), call.query.get("marker", "")
    found = committing.list_blobs(
        through, prefix, _unpack(marker), most + 1, uncommitted="uncommittedblobs" in include
    )
    page = found[:most]
    next_marker = _pack(page[-1].blob_name) if len(found) > most else ""
    given = {"prefix": "Prefix", "marker": "Marker", "maxresults": "MaxResults"}
    asked = [(shown, call.query[name]) for name, shown in given.items() if call.query.get(name)]
    listed = xml.blob_list(
        call.place.container, asked, _listed(page, metadata="metadata" in include), next_marker
    )
    return Response(listed, 200, content_type="application/xml")


def _listed(page: Any, *, metadata: bool) -> Iterator[tuple[str, xml.Pairs, dict[str, str] | None]]:
    for bundle in page:
        facts = json.loads(bundle.blob_facts or "{}")
        yield bundle.blob_name, _properties(bundle, facts), facts.get("metadata", {}) if metadata else None


def _properties(bundle: Row[Any], facts: dict[str, Any]) -> xml.Pairs:
    told = version_headers(bundle)
    return [
        ("Creation-Time", http_date(bundle.created_at)),
        ("Last-Modified", told["Last-Modified"]),
        ("Etag", told["ETag"].strip('"')),
        ("Content-Length", str(bundle.size)),
        *{"Content-Type": "application/octet-stream", **facts.get("properties", {})}.items(),
        ("BlobType", "BlockBlob"),
        ("LeaseStatus", "unlocked"),
        ("LeaseState", "available"),
        ("ServerEncrypted", "true"),
    ]


def _most(text: str | None) -> int:
    if text is None:
        return MOST_LISTED
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="maxresults")
    if int(text) < 1:
        raise BlobError("OutOfRangeQueryParameterValue", QueryParameterName="maxresults")
    return min(int(text), MOST_LISTED)


def _pack(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _unpack(marker: str) -> str | None:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode() if marker else None
    except (binascii.Error, ValueError):
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="marker") from None
