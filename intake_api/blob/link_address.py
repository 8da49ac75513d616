"""An upload link's address: made when issued; checked by the endpoint's own rules when pasted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from intake_api.blob import sas
from intake_api.blob.addresses import container_of, container_url, read_path
from retention.custody.access.manage_links import find_link
from retention.custody.context import Custody
from retention.domain.upload_link import decide_use
from retention.keys.signing import LinkKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The result of a check: `reason` and `detail` say why an address is refused; both None when it is accepted."""

    reason: str | None = None
    detail: str | None = None
    link: str | None = None
    expires_at: datetime | None = None

    @property
    def accepted(self) -> bool:
        return self.reason is None


def issue(keys: LinkKeys, origin: str, link: Row[Any]) -> str:
    """Make the link's address, which lets in whoever has it."""
    query = sas.make(
        container_of(link.id),
        keys.key_of(link.id),
        permissions=link.permissions,
        starts_at=link.starts_at,
        expires_at=link.expires_at,
        addresses=link.addresses,
    )
    return f"{container_url(origin, link.id)}?{query}"


def check(custody: Custody, keys: LinkKeys, origin: str, url: str) -> Checked:
    """Check whether a stamp could send through this address now, from any IP address."""
    try:
        pasted, ours = urlsplit(url.strip()), urlsplit(origin)
        same = (pasted.scheme, pasted.hostname, pasted.port) == (ours.scheme, ours.hostname, ours.port)
    except ValueError:
        return Checked(reason="malformed", detail="this is not a URL")
    if not same:
        return Checked(
            reason="host", detail=f"another host's: this service's upload links begin with {origin}/"
        )
    query, place = sas.read_query(pasted.query), read_path(pasted.path)
    if query is None or place.link_id is None:
        return Checked(reason="malformed", detail="this is not the address of an upload link")
    now, link = custody.clock.now(), find_link(custody, place.link_id)
    key = keys.key_of(place.link_id)
    denied = sas.verify(query, place.container, key, now, secure=True, address=None)
    if denied is not None and denied.reason == "signature":
        return Checked(
            reason="signature", detail="the signature does not match: paste the whole address as issued"
        )
    if link is None:
        gone = denied or sas.NOT_ON_RECORD
        return Checked(reason=gone.reason, detail=f"{gone.detail} ({place.link_id})")
    known = {"link": link.row.id, "expires_at": link.row.expires_at}
    if unusable := decide_use(link.facts, None, now):
        return Checked(reason=unusable.reason, detail=unusable.message, **known)
    if denied is not None:
        return Checked(reason=denied.reason, detail=denied.detail, **known)
    if not sas.allows(query, "cw"):
        return Checked(
            reason="permission", detail="the link is not for sending: it lacks create and write", **known
        )
    return Checked(**known)
