"""The log's tiles and checkpoints in a container of Azure Blob Storage. Contract: `TileStore`.

One blob a path, each written by one Put Blob, which the service does completely or not at all:
    a tile         if there is none (If-None-Match: *); over a different one only as `refuse_change` allows
    a checkpoint   if the blob is still the one that was checked (If-Match): another writer, or a delayed request of
                   ours, cannot put an older one over a newer
The container is for the log alone; nothing in it is ever deleted. Unlike the bundles' it may be immutable or versioned.

The client is passed in: retention/adapters.py decides how it connects and how patient it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobClient, ContainerClient

from audit.azure_errors import code_of, is_absent, is_conflict
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    NOTES,
    TileMissingError,
    TilesUnavailableError,
    refuse_change,
)

ROUNDS = 10
_NEW = {"match_condition": MatchConditions.IfMissing}


class AzureTileStore:
    """Tiles in an existing container."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    def get(self, path: str) -> bytes:
        with self._named_errors(f"{path} cannot be read"):
            found = _read(self._container.get_blob_client(path))
        if found is None:
            raise TileMissingError(path)
        return found[0]

    def check(self) -> None:
        with suppress(TileMissingError):
            self.get(CHECKPOINT_PATH)

    def put(self, path: str, data: bytes) -> None:
        blob = self._container.get_blob_client(path)
        with self._named_errors(f"{path} cannot be written"):
            if path not in NOTES and _write(blob, data, **_NEW):
                return
            for _ in range(ROUNDS):
                found = _read(blob)
                stored, condition = (None, _NEW) if found is None else (found[0], _unchanged(found[1]))
                if stored == data:
                    return
                refuse_change(path, stored, data, self._published)
                if _write(blob, data, **condition):
                    return
        raise TilesUnavailableError(f"{path} cannot be written: others changed it at each of {ROUNDS} tries")

    def _published(self) -> bytes | None:
        found = _read(self._container.get_blob_client(CHECKPOINT_PATH))
        return None if found is None else found[0]

    @contextmanager
    def _named_errors(self, what: str) -> Iterator[None]:
        """Turn the service's failures into the contract's error, without an address, a header or a body."""
        try:
            yield
        except HttpResponseError as error:
            why = _HINTS.get(error.status_code or 0, "")
            raise self._unavailable(what, f"{code_of(error)}{why}") from error
        except AzureError as error:
            raise self._unavailable(what, f"it cannot be reached ({type(error).__name__})") from error

    def _unavailable(self, what: str, why: str) -> TilesUnavailableError:
        return TilesUnavailableError(f"{what} in the container {self._container.container_name}: {why}")


_HINTS = {
    403: "; give this service's identity the role Storage Blob Data Contributor on it",
    404: "; make the container, or correct CASEVAULT_LOG_CONTAINER",
}


def _unchanged(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _read(blob: BlobClient) -> tuple[bytes, str] | None:
    """Read the bytes and their ETag from one response; None if there is no blob."""
    try:
        answer = blob.download_blob(max_concurrency=1)
        return answer.readall(), answer.properties.etag
    except HttpResponseError as error:
        if not is_absent(error):
            raise
        return None


def _write(blob: BlobClient, data: bytes, **condition: Any) -> bool:
    """Write the blob completely, under a condition; return whether the condition held."""
    try:
        blob.upload_blob(data, overwrite="etag" in condition, **condition)
    except HttpResponseError as error:
        if not is_conflict(error):
            raise
        return False
    return True
