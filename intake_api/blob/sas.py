"""Shared access signatures of upload links: made, and checked by making them again. Pure.

- A service SAS for a container (sr=c), signed with the link's own key: HMAC-SHA256 over the decoded values, one a line.
  Versions 2018-11-09 to 2020-10-02 sign fifteen lines; from 2020-12-06 on there is one more, the encryption scope.
- The signature is compared in constant time, before anything else is revealed about the link.
- Every signed field is honoured: start (with Azure's 15 minutes of skew), expiry, permissions, protocol, addresses.
- A duplicate parameter, another resource, a stored policy or a user delegation is not ours, so not valid.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote

from retention.domain.upload_link import START_SKEW, covers

ACCOUNT = "casevault"
"""The account's name in signatures, and in URLs with a bare IP address."""
VERSION = "2023-11-03"
"""The version of the signatures made here: known to every client in use."""
OLDEST, WITH_SCOPE = "2018-11-09", "2020-12-06"
_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,7})?)?Z)?", re.ASCII)
_MOST_QUERY = 8192


@dataclass(frozen=True, slots=True)
class Denied:
    """A refusal. `code` is the Blob service's; `reason` is ours, for log and check; `detail` is for the caller."""

    code: str
    reason: str
    detail: str


NO_MATCH = Denied("AuthenticationFailed", "signature", "Signature did not match.")
NOT_ON_RECORD = Denied(
    "AuthenticationFailed",
    "not-on-record",
    "This service issued the link but has no record of it: its database was restored from an earlier back-up. Ask for "
    "a new link.",
)
"""Only for an address with the right signature: whoever makes one up learns nothing of what exists."""


def read_query(query: str) -> dict[str, str] | None:
    """Decode the parameters; None when one comes twice or cannot be decoded. A plus sign is a plus sign."""
    found: dict[str, str] = {}
    if len(query) > _MOST_QUERY:
        return None
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        try:
            name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError:
            return None
        if name in found:
            return None
        found[name] = value
    return found


def string_to_sign(query: Mapping[str, str], container: str) -> str:
    """Return the text that the signature covers."""
    scope = ("ses",) if query.get("sv", "") >= WITH_SCOPE else ()
    before = [query.get(name, "") for name in ("sp", "st", "se")]
    after = ("si", "sip", "spr", "sv", "sr", "snapshot", *scope, "rscc", "rscd", "rsce", "rscl", "rsct")
    return "\n".join([*before, f"/blob/{ACCOUNT}/{container}", *(query.get(name, "") for name in after)])


def sign(query: Mapping[str, str], container: str, key: bytes) -> str:
    """Return the signature, in base64."""
    return base64.b64encode(
        hmac.digest(key, string_to_sign(query, container).encode(), sha256().name)
    ).decode()


def make(
    container: str,
    key: bytes,
    *,
    permissions: str,
    starts_at: datetime,
    expires_at: datetime,
    addresses: str | None,
    version: str = VERSION,
) -> str:
    """Make the query of a container's address. https only: nothing else carries a bundle."""
    query = {"sv": version, "sr": "c", "sp": permissions, "st": _time(starts_at), "se": _time(expires_at)}
    query |= {"spr": "https", **({"sip": addresses} if addresses else {})}
    query["sig"] = sign(query, container, key)
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def verify(
    query: Mapping[str, str], container: str, key: bytes, now: datetime, *, secure: bool, address: str | None
) -> Denied | None:
    """Return None if this signature lets its bearer in now, else why not; `allows` says what it permits.

    `address=None` skips the address check.
    """
    sent = query.get("sig", "")
    if not hmac.compare_digest(sent.encode(), sign(query, container, key).encode()):
        return NO_MATCH
    if denied := _form(query):
        return denied
    if denied := _time_denied(query, now):
        return denied
    if query.get("spr", "https,http") == "https" and not secure:
        return Denied("AuthorizationProtocolMismatch", "protocol", "The signature is for https only.")
    if address is not None and "sip" in query and not covers(query["sip"], address):
        return Denied("AuthorizationSourceIPMismatch", "address", "The signature is not for this address.")
    return None


def _form(query: Mapping[str, str]) -> Denied | None:
    version = query.get("sv", "")
    if not _VERSION.fullmatch(version) or version < OLDEST:
        return _failed("version", f"Signed version {version!r} is not accepted: use {OLDEST} or later.")
    if query.get("sr") != "c" or "skoid" in query or "ss" in query:
        return _failed("resource", "Only service signatures for a container (sr=c) are accepted.")
    if "si" in query:
        return _failed("identifier", "SAS identifier cannot be found for specified signed identifier")
    if query.get("spr", "https") not in ("https", "https,http") or not query.get("sp"):
        return _failed("form", "Signed protocol or permissions are not valid.")
    return None


def _time_denied(query: Mapping[str, str], now: datetime) -> Denied | None:
    expiry = read_time(query.get("se", ""))
    start = read_time(query["st"]) if query.get("st") else datetime.min.replace(tzinfo=UTC)
    if expiry is None or start is None:
        return _failed("form", "Signed start or expiry time is not valid.")
    if now >= expiry:
        ended = f"Signed expiry time [{query['se']}] must be after the current time. Ask for the link to be renewed."
        return _failed("expired", ended)
    if start > now + START_SKEW:
        return _failed("not-yet-valid", f"Signed start time [{query['st']}] must be before the current time.")
    return None


def read_time(text: str) -> datetime | None:
    """Read one of the forms that signatures use, in UTC: a date, or a date and time down to minutes or less; else
    None."""
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text[:26].rstrip("Z") if "." in text else text.rstrip("Z"))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC)


def allows(query: Mapping[str, str], any_of: str) -> bool:
    """Return whether the signed permissions include one of these."""
    return any(letter in query.get("sp", "") for letter in any_of)


def _failed(reason: str, detail: str) -> Denied:
    return Denied("AuthenticationFailed", reason, detail)
