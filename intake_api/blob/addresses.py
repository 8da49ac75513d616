"""The place a request names: `/<container>/<blob>`, with `/<account>` before for a bare IP address. Pure.

A container is an upload link: its name is the link's id, with a hyphen for the underscore, which container names do not
allow. No container has the account's name, so both forms are accepted at any host.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from intake_api.blob.sas import ACCOUNT
from retention.objects.object_names import is_id

PREFIX = "lnk-"


@dataclass(frozen=True, slots=True)
class Place:
    """A container (`link_id` None: not one of ours), and the blob in it, if one is named."""

    container: str
    blob: str | None

    @property
    def link_id(self) -> str | None:
        id_ = self.container.replace("-", "_", 1)
        return id_ if self.container.startswith(PREFIX) and is_id(id_) else None


def container_of(link_id: str) -> str:
    """Return the name of a link's container."""
    return link_id.replace("_", "-", 1)


def read_path(path: str) -> Place:
    """Return the place that a decoded path names. Slashes inside a blob's name belong to it."""
    rest = path.removeprefix("/")
    if rest == ACCOUNT or rest.startswith(f"{ACCOUNT}/"):
        rest = rest.removeprefix(ACCOUNT).removeprefix("/")
    container, slash, blob = rest.partition("/")
    return Place(container, blob if slash and blob else None)


def container_url(origin: str, link_id: str) -> str:
    """Return the container's address, in the form that clients need at this origin."""
    host = urlsplit(origin).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return f"{origin}/{container_of(link_id)}"
    return f"{origin}/{ACCOUNT}/{container_of(link_id)}"
