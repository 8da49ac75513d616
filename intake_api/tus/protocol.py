"""The requests of tus 1.0.0 (https://tus.io/protocols/resumable-upload): parsed, or refused. Pure.

Rules:
- Every request but OPTIONS names the version; another one is refused before anything else is looked at.
- A length is given when the upload is created, or deferred and given once with the bytes (creation-defer-length). It
  never changes. An offset and a length are digits, nothing else.
- A checksum is of one request's body, in an algorithm of the list (checksum). Trailers do not reach a WSGI
  application, so checksum-trailer is not offered.
- A final upload names partial ones of this service by path, or by URL with the host that was called. It has no length
  and no body of its own (concatenation).
- Upload-Metadata has pairs of a key and its value in base64, separated by commas; each key occurs once. An empty header
  has no pairs. The values that are read are UTF-8; others are the client's own, kept as they are.
- A body carries bytes only as application/offset+octet-stream, and never more than the upload has room for.
- A chunked body is accepted: a cut one looks whole, so what it brought counts, and the upload is complete by its length
  alone. Where that was deferred, the request that declares it proves the end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import SplitResult, urlsplit

from werkzeug.datastructures import Headers as WerkzeugHeaders

from intake_api.http.call_refused import CallRefused
from retention.domain.faults import Invalid, TooLarge

Headers = Mapping[str, str] | WerkzeugHeaders

VERSION = "1.0.0"
EXTENSIONS = (
    "creation,creation-defer-length,creation-with-upload,termination,expiration,checksum,concatenation"
)
BODY_TYPE = "application/offset+octet-stream"
LONGEST_METADATA = 16 * 1024
MOST_PAIRS = 64
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_UPLOAD = re.compile(r"/uploads/([\w.-]{1,64})", re.ASCII)
_KEY = re.compile(r"[!-+\--~]+", re.ASCII)  # visible ASCII without the comma


def check_version(version: str | None) -> None:
    """Refuse (412) a client that does not speak this version."""
    if version != VERSION:
        detail = f"this service speaks tus {VERSION}: send `Tus-Resumable: {VERSION}`"
        raise CallRefused("tus-version", detail, headers={"Tus-Version": VERSION})


def read_number(headers: Headers, name: str) -> int:
    """Read the header `name`, which must be present and a number."""
    text = headers.get(name)
    if text is None:
        raise CallRefused("malformed", f"the header {name} is missing: send it", reason="header-missing")
    if not _NUMBER.fullmatch(text):
        detail = f"{name} is {text[:32]!r}: it must be a whole number of bytes"
        raise CallRefused("malformed", detail, reason="header-malformed")
    return int(text)


def check_announced(headers: Headers, most: int) -> int | None:
    """Return the length of an upload to be created, at most `most` bytes; None when it follows later."""
    if "Upload-Defer-Length" not in headers:
        length = read_number(headers, "Upload-Length")
        if length > most:
            raise TooLarge(f"the upload has {length} bytes, the limit is {most}", limit=most)
        return length
    if "Upload-Length" in headers:
        raise CallRefused(
            "malformed", "send Upload-Length or Upload-Defer-Length, not both", reason="length-twice"
        )
    if headers["Upload-Defer-Length"] != "1":
        raise CallRefused("malformed", "Upload-Defer-Length must be 1", reason="header-malformed")
    return None


def read_told(headers: Headers, most: int) -> int | None:
    """Return the length that a request with bytes declares, if any, for an upload that deferred it."""
    return check_announced(headers, most) if "Upload-Length" in headers else None


@dataclass(frozen=True, slots=True)
class Concat:
    """The value of Upload-Concat: a partial upload, or (`partials` in order) a final one."""

    partials: tuple[str, ...] | None

    @property
    def final(self) -> bool:
        return self.partials is not None


def read_concat(headers: Headers, origin: str | None = None) -> Concat | None:
    """Read Upload-Concat of a creation; None for an upload of its own. `origin` is this service's, if known."""
    text = headers.get("Upload-Concat")
    if text is None:
        return None
    if text.strip() == "partial":
        return Concat(None)
    kind, _, listed = text.partition(";")
    if kind.strip() != "final" or not listed.strip():
        raise CallRefused(
            "malformed",
            "Upload-Concat must be `partial`, or `final;` and addresses",
            reason="header-malformed",
        )
    if "Upload-Length" in headers or "Upload-Defer-Length" in headers or has_body(headers):
        detail = "this final upload has a length or a body: send neither, they come from its partial uploads"
        raise CallRefused("malformed", detail, reason="final-upload")
    places = [f"//{headers.get('Host', '')}", *([origin] if origin else [])]
    return Concat(tuple(_upload_at(address, places) for address in listed.split()))


def _upload_at(address: str, places: Sequence[str]) -> str:
    try:
        parts = urlsplit(address)
        here = [_place(urlsplit(place, parts.scheme)) for place in places]
        ours = not parts.netloc or _place(parts) in here
        found = _UPLOAD.fullmatch(parts.path) if ours else None
    except ValueError:  # a malformed host or port
        found = None
    if found is None:
        raise CallRefused(
            "malformed",
            f"Upload-Concat has {address[:128]!r}, which is not an upload of this service: use its path, or its URL "
            "with the host that was called",
            reason="header-malformed",
        )
    return found[1]


def _place(parts: SplitResult) -> tuple[str | None, int | None]:
    return parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def check_body(headers: Headers, room: int) -> int | None:
    """Return the length of a body of upload bytes, at most `room`; None for a chunked one."""
    if headers.get("Content-Type", "").strip().lower() != BODY_TYPE:
        raise CallRefused("unsupported-media-type", f"send upload bytes as {BODY_TYPE}")
    if is_chunked(headers):
        return None
    length = body_length(headers)
    if length > room:
        raise TooLarge(f"the upload has room for only {room} more bytes, not for {length}", room=room)
    return length


def body_length(headers: Headers) -> int:
    """Read Content-Length, which must be present: a cut body must be noticed."""
    if "Content-Length" not in headers:
        raise length_required()
    return read_number(headers, "Content-Length")


def length_required() -> CallRefused:
    """Make the refusal of a body whose end nothing proves; it says what to use instead."""
    return CallRefused(
        "length-required",
        "send Content-Length. If the length is not known yet (a pipe), create an upload with Upload-Defer-Length and "
        "send Upload-Length at the end, as `casevault send -` does. Only uploads accept chunked bodies",
    )


def check_framing(headers: Headers) -> None:
    """Refuse a body without exactly one framing (RFC 9112 section 6): a number of bytes, or chunks and no other
    coding."""
    coding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
    if coding is not None and length is not None:
        raise CallRefused(
            "malformed", "send Content-Length or Transfer-Encoding, not both", reason="length-twice"
        )
    if coding is not None and coding.strip().lower() != "chunked":
        raise CallRefused("malformed", "Transfer-Encoding must be chunked alone", reason="transfer-coding")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
        raise CallRefused("malformed", "Content-Length is not a number")


def is_chunked(headers: Headers) -> bool:
    """Return whether the body has no declared end (after `check_framing`)."""
    return "Transfer-Encoding" in headers


def has_body(headers: Headers) -> bool:
    """Return whether a creation brings bytes along (creation-with-upload)."""
    if is_chunked(headers) or headers.get("Content-Length", "0") != "0":
        return True
    return BODY_TYPE in headers.get("Content-Type", "").lower()


def parse_metadata(header: str, wanted: Container[str] | None = None) -> dict[str, str]:
    """Read the pairs of an Upload-Metadata header, or those with `wanted` keys; Invalid if any of it is malformed."""
    if len(header) > LONGEST_METADATA:
        raise _metadata(f"must have at most {LONGEST_METADATA} characters, not {len(header)}")
    pairs = header.split(",") if header.strip() else []
    if len(pairs) > MOST_PAIRS:
        raise _metadata(f"must have at most {MOST_PAIRS} pairs, not {len(pairs)}")
    found: dict[str, bytes] = {}
    for pair in pairs:
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise _metadata("must hold each key once, in visible ASCII, pairs separated by commas")
        found[key] = _unpacked(key, value)
    return {key: _text(key, value) for key, value in found.items() if wanted is None or key in wanted}


def _unpacked(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.strip(" "), validate=True)
    except (binascii.Error, ValueError):
        raise _metadata(f"must hold {key[:64]} in base64") from None


def _text(key: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _metadata(f"must hold {key[:64]} as UTF-8 in base64") from None


def _metadata(what: str) -> Invalid:
    return Invalid(f"Upload-Metadata {what}", {"Upload-Metadata": what})


def pack_metadata(pairs: Mapping[str, str]) -> str:
    """Write the header that `parse_metadata` reads back; a pair without a value is its key alone."""
    packed = ((key, base64.b64encode(value.encode()).decode()) for key, value in pairs.items())
    return ",".join(f"{key} {value}" if value else key for key, value in packed)


def http_date(moment: datetime) -> str:
    """Format a moment for Upload-Expires (RFC 9110 section 5.6.7)."""
    return format_datetime(moment, usegmt=True)
