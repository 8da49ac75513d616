"""Operations on a container: its properties, and the list of its blobs."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row
from werkzeug.http import http_date
from werkzeug.wrappers import Response

from intake_api.blob import documents
from intake_api.blob.blob_errors import BlobError
from intake_api.blob.request import Call, Shared, version_headers
from retention.custody.uploads import block_list
from retention.custody.uploads.block_staging import Through
from retention.domain.characters import is_visible

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
"""Things of which there are none here."""


def properties(_shared: Shared, _call: Call, through: Through) -> Response:
    """Get Container Properties."""
    link = through.link.row
    shown = {
        "ETag": f'"{link.id}"',
        "Last-Modified": http_date(link.created_at),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
    }
    return Response(status=200, headers=shown)


def list_blobs(_shared: Shared, call: Call, through: Through) -> Response:
    """List Blobs: by name, a page at a time; with a delimiter, names that share all up to it become one entry."""
    include = {word for word in call.query.get("include", "").lower().split(",") if word}
    if include - _INCLUDES - _IGNORED:
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="include")
    most = _most(call.query.get("maxresults"))
    prefix, delimiter = _text(call, "prefix"), _text(call, "delimiter")

    start = _text(call, next((name for name in call.query if name.lower() == "startfrom"), "startFrom"))

    def fetch(after: str | None, limit: int) -> Sequence[Row[Any]]:
        uncommitted = "uncommittedblobs" in include
        return block_list.list_blobs(through, prefix, after, limit, uncommitted=uncommitted, start=start)

    entries = _entries(fetch, prefix, delimiter, _unpack(call.query.get("marker", "")), most + 1)
    page, rest = entries[:most], entries[most:]
    given = {"prefix": "Prefix", "marker": "Marker", "maxresults": "MaxResults", "delimiter": "Delimiter"}
    asked = [(shown, call.query[name]) for name, shown in given.items() if call.query.get(name)]
    listed = (_listed(entry, metadata="metadata" in include) for entry in page)
    next_marker = _pack(_last_of(page[-1])) if rest else ""
    document = documents.blob_list(call.place.container, asked, listed, next_marker)
    return Response(document, 200, content_type="application/xml")


Entry = Row[Any] | str
"""A blob, or the beginning, up to the delimiter, that several names share."""
_LAST = "\U0010ffff"
"""A character that sorts after every one that a blob's name can have."""


def _entries(
    fetch: Callable[[str | None, int], Sequence[Row[Any]]],
    prefix: str,
    delimiter: str,
    after: str | None,
    most: int,
) -> list[Entry]:
    """Return up to `most` entries after `after`; blobs under a common beginning are not fetched one by one."""
    entries: list[Entry] = []
    while len(entries) < most:
        limit = most - len(entries)
        rows = fetch(after, limit)
        for bundle in rows:
            entry = _entry(bundle, prefix, delimiter)
            if entry != (entries[-1] if entries else None):
                entries.append(entry)
        if len(rows) < limit:
            return entries
        after = _last_of(entries[-1])
    return entries


def _entry(bundle: Row[Any], prefix: str, delimiter: str) -> Entry:
    name: str = bundle.blob_name
    end = name.find(delimiter, len(prefix)) if delimiter else -1
    return bundle if end < 0 else name[: end + len(delimiter)]


def _last_of(entry: Entry) -> str:
    """Return a name that sorts after all blobs of the entry, and before any other."""
    return entry + _LAST if isinstance(entry, str) else entry.blob_name


def _listed(entry: Entry, *, metadata: bool) -> documents.Listed:
    if isinstance(entry, str):
        return entry, None, None
    facts = json.loads(entry.blob_facts or "{}")
    return entry.blob_name, _properties(entry, facts), facts.get("metadata", {}) if metadata else None


def _properties(bundle: Row[Any], facts: dict[str, Any]) -> documents.Pairs:
    version = version_headers(bundle)
    return [
        ("Creation-Time", http_date(bundle.created_at)),
        ("Last-Modified", version["Last-Modified"]),
        ("Etag", version["ETag"].strip('"')),
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


def _text(call: Call, name: str) -> str:
    text = call.query.get(name, "")
    if not is_visible(text):
        raise BlobError("InvalidQueryParameterValue", QueryParameterName=name)
    return text


def _pack(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _unpack(marker: str) -> str | None:
    try:
        name = base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        name = "\0"
    if not is_visible(name.removesuffix(_LAST)):
        raise BlobError("InvalidQueryParameterValue", QueryParameterName="marker")
    return name or None
