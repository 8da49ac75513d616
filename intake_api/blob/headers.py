"""What a request's headers say: sizes, conditions, checksums, metadata. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import marshmallow as ma
from werkzeug.datastructures import Headers
from werkzeug.http import parse_date

from intake_api.blob.blob_errors import BlobError
from intake_api.schemas.bundles import DeclaredCollection
from retention.domain.upload_link import Declared

META = "x-ms-meta-"
MAX_METADATA = 8 * 1024
KEPT = {
    "x-ms-blob-content-type": "Content-Type",
    "x-ms-blob-content-encoding": "Content-Encoding",
    "x-ms-blob-content-language": "Content-Language",
    "x-ms-blob-cache-control": "Cache-Control",
    "x-ms-blob-content-disposition": "Content-Disposition",
    "x-ms-blob-content-md5": "Content-MD5",
}
"""Properties that a sender sets and gets back."""
OWN = ("Content-Type", "Content-Encoding", "Content-Language", "Cache-Control")
"""Headers of Put Blob that are properties too: its body is the blob."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SHOWN = re.compile(r"[\x20-\x7e]{1,1024}", re.ASCII)
_ASKED = frozenset(DeclaredCollection().fields) - {"stamp"}


def content_length(headers: Headers, most: int) -> int:
    """Return the body's length, which must be given and be at most `most`."""
    if "Content-Length" not in headers or "Transfer-Encoding" in headers:
        raise BlobError("MissingContentLengthHeader")
    length = whole_number(headers, "Content-Length")
    if length > most:
        raise BlobError("RequestBodyTooLarge", MaxLimit=str(most))
    return length


def whole_number(headers: Headers, name: str) -> int:
    """Read the number in a header that is present."""
    text = headers[name]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BlobError("InvalidHeaderValue", HeaderName=name)
    return int(text)


def digest_header(headers: Headers, name: str, length: int, wrong: str) -> bytes | None:
    """Read the digest of `length` bytes from the header, if it is present."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != length:
        raise BlobError(wrong, HeaderName=name)
    return digest


def read_metadata(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Read the x-ms-meta- headers, by name."""
    pairs = [(name[len(META) :], value) for name, value in headers if name.lower().startswith(META)]
    found = {name.lower().replace("-", "_"): value for name, value in pairs}
    if len(found) != len(pairs) or not all(_NAME.fullmatch(name) for name in found):
        raise BlobError("InvalidMetadata")
    if sum(len(name) + len(value) for name, value in found.items()) > MAX_METADATA:
        raise BlobError("MetadataTooLarge")
    return found


def read_properties(headers: Headers) -> dict[str, str]:
    """Read the blob's properties as its sender sets them."""
    found = {shown: headers[name] for name, shown in KEPT.items() if headers.get(name)}
    if not all(_SHOWN.fullmatch(value) for value in found.values()):
        raise BlobError("InvalidHeaderValue")
    return found


def read_own_properties(headers: Headers) -> dict[str, str]:
    """Read Put Blob's own headers, which count where no x-ms-blob-... header is given."""
    found = {name: headers[name] for name in OWN if headers.get(name)}
    for name, value in found.items():
        if not _SHOWN.fullmatch(value):
            raise BlobError("InvalidHeaderValue", HeaderName=name)
    return found


def declared(metadata: Mapping[str, str]) -> Declared:
    """Read what the metadata declares of the collection, by the names that every way in uses."""
    said = {name: value for name, value in metadata.items() if name in _ASKED}
    try:
        read: dict[str, Any] = DeclaredCollection().load(said, partial=True)
    except ma.ValidationError as error:
        raise BlobError("InvalidMetadata", Reason=f"wrong values: {', '.join(error.messages_dict)}") from None
    if read.get("sha256"):
        read["sha256"] = read["sha256"].lower()
    return Declared(**read)


def check_conditions(headers: Headers, etag: str | None, modified: datetime | None, *, reading: bool) -> None:
    """Check the conditions (RFC 9110 section 13), with the Blob service's errors. `etag=None`: there is no blob."""
    tags = headers.get("If-Match")
    if tags is not None and (etag is None or not _names(tags, etag)):
        raise BlobError("ConditionNotMet")
    tags = headers.get("If-None-Match")
    if tags is not None and etag is not None and _names(tags, etag):
        raise BlobError("NotModified" if reading else "BlobAlreadyExists")
    since = parse_date(headers.get("If-Modified-Since"))
    if since and modified and tags is None and modified.replace(microsecond=0) <= since:
        raise BlobError("NotModified" if reading else "ConditionNotMet")
    until = parse_date(headers.get("If-Unmodified-Since"))
    if until and modified and modified.replace(microsecond=0) > until:
        raise BlobError("ConditionNotMet")


def _names(tags: str, etag: str) -> bool:
    return tags.strip() == "*" or etag.strip('"') in [tag.strip().strip('"') for tag in tags.split(",")]
