"""JSON documents over HTTPS from a server that we trust to a point.

- https only, checked against the configured authorities; no redirect is followed, for it could lead elsewhere.
- Bounded in size and in time: a slow or endless answer ends as `DocumentUnavailable`, whatever the server does after
  its headers. No compression is asked for, so no small answer becomes a large one.
- The environment is not consulted (no proxy variables, no netrc): only settings modules read it.

The HTTP client is loaded with the first document: a service with the development issuer never pays for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests

LARGEST = 256 * 1024
EACH_WAIT = (3.0, 3.0)  # seconds to connect, and between two arrivals of bytes
WHOLE_WAIT = 6.0
CHUNK = 16 * 1024


class DocumentUnavailable(Exception):
    """The document cannot be had, or is not one."""


class DocumentSource(Protocol):
    def get(self, url: str) -> Mapping[str, object]:
        """The JSON object at that address, or DocumentUnavailable."""
        ...


class HttpsDocuments:
    """`authorities` is a PEM bundle to trust in place of the well-known ones."""

    def __init__(self, authorities: Path | None = None) -> None:
        self._verify: str | bool = str(authorities) if authorities else True

    def get(self, url: str) -> Mapping[str, object]:
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            body = self._body(url)
        except (RequestException, HTTPError, OSError, ValueError) as problem:
            raise DocumentUnavailable(f"{_where(url)}: {type(problem).__name__}") from problem
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise DocumentUnavailable(f"{_where(url)}: not JSON") from None
        if not isinstance(document, dict):
            raise DocumentUnavailable(f"{_where(url)}: not a JSON object")
        return document

    def _body(self, url: str) -> bytes:
        import requests

        if urlsplit(url).scheme != "https":
            raise DocumentUnavailable(f"{_where(url)}: not https")
        give_up = time.monotonic() + WHOLE_WAIT
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        with requests.Session() as session:
            session.trust_env = False
            with session.get(
                url,
                headers=headers,
                verify=self._verify,
                timeout=EACH_WAIT,
                stream=True,
                allow_redirects=False,
            ) as answer:
                if answer.status_code != requests.codes.ok:
                    raise DocumentUnavailable(f"{_where(url)}: answered {answer.status_code}")
                return _bounded(answer, url, give_up)


def _bounded(answer: requests.Response, url: str, give_up: float) -> bytes:
    body = bytearray()
    # read1 returns what has arrived: a server that sends a byte at a time cannot outlast the bound.
    while chunk := answer.raw.read1(CHUNK):
        body += chunk
        if len(body) > LARGEST:
            raise DocumentUnavailable(f"{_where(url)}: longer than {LARGEST} bytes")
        if time.monotonic() > give_up:
            raise DocumentUnavailable(f"{_where(url)}: took longer than {WHOLE_WAIT:.0f} seconds")
    return bytes(body)


def _where(url: str) -> str:
    """Scheme, host and path only: an address may carry a secret in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
