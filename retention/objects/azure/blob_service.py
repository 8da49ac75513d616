"""The connection to Azure Blob Storage: its clients, their patience, and the store errors of its failures.

1. Each request is tried again after a cut connection, a time-out, 408, 429 and 5xx, seven times in all, with a growing
   pause; where the service says how long to wait (Retry-After), that is the pause, up to half a minute. Only then does
   it become `StoreUnavailable`. Each request of the stores can be repeated without harm.
2. A time-out counts while nothing moves: a slow line is not an error.
3. No message holds an address, a header or a body: they may carry a signature.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient, ExponentialRetry
from requests.adapters import HTTPAdapter

from audit.azure_errors import code_of
from retention.objects.store_errors import StoreError, StoreFull, StoreUnavailable

TRIES = 7
LONGEST_PAUSE = 30.0
CONNECT_SECONDS = 20
READ_SECONDS = 60
CONNECTIONS = 64
"""Connections kept open for reuse. More are opened when needed, and closed after use."""

_FULL = {"BlockCountExceedsLimit", "BlockListTooLong", "AccountStorageLimitExceeded"}


class Patience(ExponentialRetry):
    """The client's own retry, made to know 429 and Retry-After. `wait` sleeps."""

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        tries = TRIES - 1
        super().__init__(retry_total=tries, retry_connect=tries, retry_read=tries, retry_status=tries)
        self._wait = wait

    def increment(
        self, settings: dict[str, Any], request: Any, response: Any = None, error: Any = None
    ) -> bool:
        """Decide whether to try again: not without an identity, which azure-identity has tried often enough to get."""
        if isinstance(error, ClientAuthenticationError):
            return False
        again: bool = super().increment(settings, request, response, error)
        return again

    def sleep(self, settings: dict[str, Any], transport: object) -> None:
        history = settings["history"]
        self._wait(_pause(settings["count"], history[-1].http_response if history else None))

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        for count in range(1, TRIES):
            response = self._send(request)
            if response.http_response.status_code != 429:
                return response
            self._wait(_pause(count, response.http_response))
        return self._send(request)

    def _send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        response: PipelineResponse[Any, Any] = super().send(request)  # type: ignore[no-untyped-call]
        return response


def _pause(count: int, response: Any) -> float:
    """Return the pause: as long as the service asks for; otherwise longer each time, and different for each client."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    if asked.isascii() and asked.isdigit():
        return min(LONGEST_PAUSE, float(asked))
    return min(LONGEST_PAUSE, 0.25 * 2.0**count) * random.uniform(0.5, 1.0)  # noqa: S311


def connect(account_url: str, credential: TokenCredential) -> BlobServiceClient:
    """Connect to the account at its URL, by a token: no shared key."""
    return BlobServiceClient(account_url, credential, **_options(Patience()))


def connect_by_string(connection_string: str, patience: Patience | None = None) -> BlobServiceClient:
    """Connect to the account by a connection string. For the emulator."""
    return BlobServiceClient.from_connection_string(connection_string, **_options(patience or Patience()))


def _options(patience: Patience) -> dict[str, Any]:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))
    return {
        "transport": RequestsTransport(
            session=session, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS
        ),
        "retry_policy": patience,
        "user_agent": "casevault",
    }


def store_error(what: str, error: AzureError) -> StoreError:
    """Choose the contract's error for this failure."""
    if not isinstance(error, HttpResponseError):
        return StoreUnavailable(f"{what}: the storage account cannot be reached ({type(error).__name__})")
    code = code_of(error)
    if code in _FULL:
        return StoreFull(f"{what}: {code}")
    status = error.status_code or (401 if isinstance(error, ClientAuthenticationError) else 0)
    hint = _HINTS.get(status, "")
    return StoreUnavailable(f"{what}: {code}{hint}")


_HINTS = {
    401: "; the storage account does not accept this service's identity",
    403: "; give this service's identity the role Storage Blob Data Contributor on the container",
    404: "; make the container, or correct its name",
}


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Turn the service's failures into the contract's errors."""
    try:
        yield
    except AzureError as error:
        raise store_error(what, error) from error
