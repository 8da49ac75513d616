"""JSON documents over HTTPS from a server that we trust to a point.

https only, checked against the configured authorities, and within the bounds of `audit.http_client`: a slow or endless
response ends as `DocumentUnavailable`, whatever the server does and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from audit.http_client import HttpClient, OutsideError

LARGEST = 256 * 1024
SECONDS = 6.0


class DocumentUnavailable(Exception):
    """The document cannot be had, or is not one."""


class DocumentSource(Protocol):
    def get(self, url: str) -> Mapping[str, object]:
        """The JSON object at that address, or DocumentUnavailable."""
        ...


class HttpsDocuments:
    """`authorities` is a PEM bundle to trust in place of the well-known ones."""

    def __init__(self, authorities: Path | None = None, seconds: float = SECONDS) -> None:
        self._http = HttpClient(seconds=seconds, most_bytes=LARGEST, authorities=authorities)

    def get(self, url: str) -> Mapping[str, object]:
        if not url.startswith("https://"):
            raise DocumentUnavailable(f"{_where(url)}: not https")
        try:
            reply = self._http.get(url, {"Accept": "application/json"})
        except OutsideError as problem:
            raise DocumentUnavailable(f"{_where(url)}: {problem}") from problem
        if reply.status != 200:
            raise DocumentUnavailable(f"{_where(url)}: answered {reply.status}")
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise DocumentUnavailable(f"{_where(url)}: not JSON") from None
        if not isinstance(document, dict):
            raise DocumentUnavailable(f"{_where(url)}: not a JSON object")
        return document


def _where(url: str) -> str:
    """Scheme, host and path only: an address may carry a secret in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
