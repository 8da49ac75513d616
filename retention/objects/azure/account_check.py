"""The check that a storage account can keep the promise that erased is gone (P5, P7), and what to change if it cannot.

Whatever keeps a copy of deleted data is found in two ways: by reading the settings, where this service's identity is
allowed to, and by trying. A probe blob is written and deleted, and the responses say whether a version was made and
whether the deletion was permanent. So a setting changed while the service runs is noticed too.

Vaulted backups of the account cannot be seen from here. docs/azure.md says to make none.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.core.pipeline import PipelineResponse
from azure.storage.blob import BlobServiceClient, ContainerClient

from retention.objects.azure.blob_service import named_errors
from retention.objects.azure.bundle_blob import find_all
from retention.objects.store_errors import StoreUnavailable

LOG = logging.getLogger(__name__)
PROBE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """An unsuitable setting of the account, and what to do."""

    setting: str
    change: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.change}"


_SOFT_DELETE = Finding(
    "soft delete for blobs is on",
    "deleted bundles and keys could be restored; turn it off (az storage account blob-service-properties update "
    "--enable-delete-retention false) and wait until the blobs it keeps have expired",
)
_VERSIONS = Finding(
    "versioning for blobs is on",
    "erased keys would stay as versions; turn it off (az storage account blob-service-properties update "
    "--enable-versioning false)",
)
_PUBLIC = Finding("the container allows anonymous reading", "set its public access level to private")
_LEGAL_HOLD = Finding("the container has a legal hold", "nothing in it can be erased; clear the hold")
_IMMUTABLE = Finding(
    "the container has an immutability policy", "nothing in it can be erased; use a container without one"
)
_HIERARCHY = Finding(
    "the account has a hierarchical namespace",
    "use a general-purpose v2 account without one (isHnsEnabled false)",
)
_NOT_ERASED = Finding(
    "a deleted blob is still found", "turn off whatever keeps deleted blobs in this account"
)


def inspect_account(service: BlobServiceClient, container: str) -> list[Finding]:
    """Find all unsuitable settings; none for a usable account. For the start and for `casevault doctor`."""
    with named_errors(f"the container {container} cannot be inspected"):
        client = service.get_container_client(container)
        found = [*_settings_of_account(service), *_settings_of_container(client), *_probe(client)]
    return list(dict.fromkeys(found))


def _settings_of_account(service: BlobServiceClient) -> Iterator[Finding]:
    """Check the account's settings, where this identity is allowed to read them: data roles alone are not enough."""
    try:
        retention = service.get_service_properties()["delete_retention_policy"]
        if retention is not None and retention.enabled:
            yield _SOFT_DELETE
        if service.get_account_information().get("is_hns_enabled"):
            yield _HIERARCHY
    except HttpResponseError as error:
        if error.status_code != 403:
            raise


def _settings_of_container(client: ContainerClient) -> Iterator[Finding]:
    settings = client.get_container_properties()
    if settings.public_access:
        yield _PUBLIC
    if settings.has_legal_hold:
        yield _LEGAL_HOLD
    if settings.has_immutability_policy:
        yield _IMMUTABLE


def _probe(client: ContainerClient) -> Iterator[Finding]:
    """Write and delete a blob, and check the responses to both, and whether anything is left."""
    name = f"probe-{os.urandom(8).hex()}"
    headers: dict[str, Mapping[str, str]] = {}

    def hear(response: PipelineResponse[Any, Any]) -> None:
        headers[response.http_request.method] = response.http_response.headers

    blob = client.get_blob_client(name)
    blob.upload_blob(b"", raw_response_hook=hear)
    blob.delete_blob(raw_response_hook=hear)
    versioned = bool(headers["PUT"].get("x-ms-version-id"))
    softly = headers["DELETE"].get("x-ms-delete-type-permanent", "true") == "false"
    if versioned:
        yield _VERSIONS
    elif softly:  # with versioning the header is false too, whatever the setting of soft delete
        yield _SOFT_DELETE
    elif find_all(client, name):
        yield _NOT_ERASED


def time_there(service: BlobServiceClient, container: str) -> datetime:
    """Return the account's own time."""
    dates: list[str] = []

    def hear(response: PipelineResponse[Any, Any]) -> None:
        dates.append(response.http_response.headers["Date"])

    with named_errors(f"the container {container} cannot be asked for the time"):
        service.get_container_client(container).get_container_properties(raw_response_hook=hear)
    return parsedate_to_datetime(dates[-1])


def make_container(service: BlobServiceClient, name: str) -> None:
    """Make the container, private, if it does not exist."""
    with named_errors(f"the container {name} cannot be made"), suppress(ResourceExistsError):
        service.create_container(name)


class AccountCheck:
    """A store's `check`: a full one every `PROBE_SECONDS`; in between, only whether the container exists.

    In each process the full check is six requests, of which one writes and one deletes; the other is one request.
    `now` returns seconds that only ever grow.
    """

    def __init__(
        self, service: BlobServiceClient, container: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._container = container
        self._now = now
        self._probed: float | None = None  # when all was well; None: not yet, or no longer
        self._found: list[Finding] = []

    def check(self) -> None:
        """Raise `StoreUnavailable`, with what to change, unless blobs can be written and erased."""
        probed = self._probed
        found = self._look(probed)
        if found != self._found:  # callers over the network are not told the details: log them, once
            self._found = found
            LOG.error("the storage account: %s", "; ".join(map(str, found)) or "all is well again")
        if found:
            self._probed = None
            raise StoreUnavailable("this storage account cannot be used. " + "; ".join(map(str, found)))
        fresh = probed is not None and self._now() - probed < PROBE_SECONDS
        self._probed = probed if fresh else self._now()

    def _look(self, probed: float | None) -> list[Finding]:
        if probed is None or self._now() - probed >= PROBE_SECONDS:
            return inspect_account(self._service, self._container)
        client = self._service.get_container_client(self._container)
        with named_errors(f"the container {self._container} cannot be used"):
            return list(_settings_of_container(client))
