"""Wrapped data keys in Azure Blob Storage, in a container of their own. Contract: `KeyStore` in store.py.

One blob a bundle, `<bundle id>.key`, holds all that is known of its key:
    (no blob)              there never was a key
    the wrapped key        there is one
    no bytes, metadata     it was destroyed: the note takes the place of the key, so that none can be put there again
    `destroyed`

Every change is one Put Blob, which the service does completely or not at all:
    put       if there is no blob (If-None-Match: *)
    replace   if the blob is still the one that was read (If-Match); read again if it is not
    destroy   unconditionally, the note *; then snapshots and versions that somebody may have made
So a note is never overwritten, in whatever order requests meet: `put` fails because there is a blob, `replace` because
the ETag differs. That also holds for a delayed request.

After a lost response the client asks again; `put` then finds its own key and raises `KeyExists`, as for any other key:
the caller reads what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobServiceClient, ContentSettings

from audit.azure_errors import is_absent, is_conflict
from retention.envelope.data_keys import WrappedKey
from retention.objects import object_names
from retention.objects.azure.account_check import AccountCheck
from retention.objects.azure.blob_service import named_errors
from retention.objects.azure.bundle_blob import delete_past, find_all
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing, StoreUnavailable

ROUNDS = 10
DESTROYED = "destroyed"
_JSON = ContentSettings(content_type="application/json")


class AzureBlobKeyStore:
    """Wrapped keys in an existing container of their own. Contract: `KeyStore`."""

    def __init__(self, service: BlobServiceClient, container: str) -> None:
        self._container = service.get_container_client(container)
        self._account = AccountCheck(service, container)

    def _blob(self, bundle_id: str) -> BlobClient:
        return self._container.get_blob_client(object_names.key_object(bundle_id))

    def put(self, bundle_id: str, wrapped: WrappedKey) -> None:
        blob = self._blob(bundle_id)
        with named_errors("a data key cannot be kept"):
            if _write(blob, wrapped.to_json(), match_condition=MatchConditions.IfMissing):
                return
            self._read(blob, bundle_id)  # raises `KeyDestroyed`, if that is what is stored
        raise KeyExists(f"bundle {bundle_id} has its data key already")

    def replace(self, bundle_id: str, wrapped: WrappedKey) -> None:
        blob, content = self._blob(bundle_id), wrapped.to_json()
        with named_errors("a data key cannot be replaced"):
            for _ in range(ROUNDS):
                stored, etag = self._read(blob, bundle_id)
                unchanged = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
                if stored == content or _write(blob, content, **unchanged):
                    return
        raise StoreUnavailable(f"the data key of bundle {bundle_id} keeps being replaced by other processes")

    def get(self, bundle_id: str) -> WrappedKey:
        with named_errors("a data key cannot be read"):
            return WrappedKey.from_json(self._read(self._blob(bundle_id), bundle_id)[0])

    def _read(self, blob: BlobClient, bundle_id: str) -> tuple[bytes, str]:
        """Read the stored key and its ETag from one response."""
        try:
            answer = blob.download_blob(max_concurrency=1)
            content = answer.readall()
        except HttpResponseError as error:
            if not is_absent(error):
                raise
            raise KeyMissing(f"bundle {bundle_id} never had a data key") from None
        if DESTROYED in (answer.properties.metadata or {}):
            raise KeyDestroyed(f"the data key of bundle {bundle_id} was destroyed")
        return content, answer.properties.etag

    def destroy(self, bundle_id: str) -> None:
        blob = self._blob(bundle_id)
        with named_errors("a data key cannot be destroyed"):
            blob.upload_blob(b"", overwrite=True, metadata={DESTROYED: "1"})  # *
            for _ in range(ROUNDS):
                if not delete_past(self._container, find_all(self._container, blob.blob_name)):
                    return

    def exists(self, bundle_id: str) -> bool:
        with named_errors("the key store cannot be searched"):
            try:
                return DESTROYED not in (self._blob(bundle_id).get_blob_properties().metadata or {})
            except HttpResponseError as error:
                if not is_absent(error):
                    raise
                return False

    def remains(self, bundle_id: str) -> list[str]:
        name = object_names.key_object(bundle_id)
        with named_errors("the key store cannot be searched"):
            found = find_all(self._container, name)
        return [each.label for each in found if each.size or DESTROYED not in each.metadata]

    def list_bundles(self) -> Iterator[str]:
        with named_errors("the key store cannot be listed"):
            for blob in self._container.list_blobs(include=["metadata"]):
                bundle_id = object_names.id_in(blob.name, object_names.KEY)
                if bundle_id is not None and DESTROYED not in (blob.metadata or {}):
                    yield bundle_id

    def check(self) -> None:
        self._account.check()


def _write(blob: BlobClient, content: bytes, **condition: Any) -> bool:
    """Write the blob completely, under a condition; return whether the condition held."""
    try:
        blob.upload_blob(content, overwrite="etag" in condition, content_settings=_JSON, **condition)
    except HttpResponseError as error:
        if not is_conflict(error):
            raise
        return False
    return True
