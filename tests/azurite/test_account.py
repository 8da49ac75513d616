"""Accounts that would keep what is erased: found, refused, and told how to change. And what such an account holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.storage.blob import BlobServiceClient, PublicAccess, RetentionPolicy

from retention.envelope.data_keys import WrappedKey
from retention.objects.azure.account_check import PROBE_SECONDS, AccountCheck, inspect_account
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.store_errors import StoreUnavailable
from tests.azurite.scripted import Said, Scripted
from tests.contracts.object_store_contract import write
from tests.fakes.ids import bundle, part

B = bundle(1)
KEY = WrappedKey("kek-1", "test", b"first" * 12)
VERSION = "2026-11-20T10:00:00.0000000Z"


@pytest.fixture
def soft_delete(service: BlobServiceClient) -> Iterator[None]:
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    yield
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))


def found(service: BlobServiceClient, container: str) -> list[str]:
    return [finding.setting for finding in inspect_account(service, container)]


def test_a_fitting_account_has_no_findings_and_keeps_no_probe(
    service: BlobServiceClient, container: str
) -> None:
    assert found(service, container) == []
    assert list(service.get_container_client(container).list_blob_names()) == []


def test_soft_delete_is_found_in_the_settings(
    service: BlobServiceClient, container: str, soft_delete: None
) -> None:
    assert found(service, container) == ["soft delete for blobs is on"]


def test_a_public_container_is_found(service: BlobServiceClient, container: str) -> None:
    service.get_container_client(container).set_container_access_policy({}, public_access=PublicAccess.BLOB)
    assert found(service, container) == ["the container allows anonymous reading"]


@pytest.mark.parametrize(
    ("method", "headers", "setting"),
    [
        ("PUT", {"x-ms-version-id": VERSION}, "versioning for blobs is on"),
        ("DELETE", {"x-ms-delete-type-permanent": "false"}, "soft delete for blobs is on"),
        ("GET", {"x-ms-has-legal-hold": "true"}, "the container has a legal hold"),
        ("GET", {"x-ms-has-immutability-policy": "true"}, "the container has an immutability policy"),
        ("GET", {"x-ms-is-hns-enabled": "true"}, "the account has a hierarchical namespace"),
    ],
)
def test_what_the_service_says_of_a_probe_or_a_container_is_found(
    by_script: BlobServiceClient,
    container: str,
    scripted: Scripted,
    method: str,
    headers: dict[str, str],
    setting: str,
) -> None:
    scripted.added[method] = headers
    assert found(by_script, container) == [setting]


def test_settings_that_may_not_be_read_are_found_out_by_trying(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    scripted.says("GET comp=properties", Said(403, "AuthorizationPermissionMismatch"))
    assert found(by_script, container) == []
    scripted.says("GET comp=properties", Said(403, "AuthorizationPermissionMismatch"))
    scripted.added["DELETE"] = {"x-ms-delete-type-permanent": "false"}
    assert found(by_script, container) == ["soft delete for blobs is on"]


def test_a_setting_turned_on_while_the_service_runs_is_found_within_a_minute(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    seconds = 0.0
    account = AccountCheck(by_script, container, now=lambda: seconds)
    account.check()
    scripted.added["PUT"] = {"x-ms-version-id": VERSION}
    seconds += PROBE_SECONDS
    for _ in range(2):  # and stays found
        with pytest.raises(StoreUnavailable, match="--enable-versioning false"):
            account.check()
    del scripted.added["PUT"]
    account.check()


def test_soft_delete_switched_on_while_the_service_runs_is_found_within_a_minute_by_its_setting(
    service: BlobServiceClient, container: str
) -> None:
    """Where the identity may read it: this account says of a deletion that it was for good."""
    seconds = 0.0
    account = AccountCheck(service, container, now=lambda: seconds)
    account.check()
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    try:
        account.check()
        seconds += PROBE_SECONDS
        for _ in range(2):  # and stays found
            with pytest.raises(StoreUnavailable, match="--enable-delete-retention false"):
                account.check()
    finally:
        service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))
    account.check()


def test_between_two_probes_nothing_is_written(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    seconds = 0.0
    account = AccountCheck(by_script, container, now=lambda: seconds)
    account.check()
    scripted.requests.clear()
    seconds += PROBE_SECONDS - 1
    account.check()
    (asked,) = scripted.requests
    assert asked.startswith("GET") and "restype=container" in asked
    seconds += 1
    account.check()
    assert sum(request.startswith("PUT") for request in scripted.requests) == 1


def test_a_container_that_is_lost_is_found_at_once(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    stores = AzureBlobObjectStore(by_script, container), AzureBlobKeyStore(by_script, container)
    for store in stores:
        store.check()
        scripted.says("GET restype=container", Said(404, "ContainerNotFound"))
        with pytest.raises(StoreUnavailable, match="make the container"):
            store.check()


PROPERTIES = "<Properties><Content-Length>9</Content-Length><BlobType>BlockBlob</BlobType></Properties>"


def listing(*marks: str, name: str = B) -> Said:
    """The service's list of a blob's forms, told apart by their marks."""
    blobs = "".join(f"<Blob><Name>{name}</Name>{mark}{PROPERTIES}</Blob>" for mark in marks)
    text = (
        f'<?xml version="1.0"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'
    )
    return Said(200, "", {"Content-Type": "application/xml"}, text.encode())


SNAPSHOT = f"<Snapshot>{VERSION}</Snapshot>"
OLD_VERSION = f"<VersionId>{VERSION}</VersionId><IsCurrentVersion>false</IsCurrentVersion>"
SOFT_DELETED = "<Deleted>true</Deleted>"


def test_versions_and_soft_deleted_forms_are_remains_and_versions_are_destroyed(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    store = AzureBlobObjectStore(by_script, container)
    scripted.says("GET comp=list", listing(OLD_VERSION, SNAPSHOT, SOFT_DELETED))
    assert store.remains(B) == [
        f"{B} (version {VERSION})",
        f"{B} (snapshot {VERSION})",
        f"{B} (soft-deleted)",
    ]
    scripted.says("GET comp=list", listing(OLD_VERSION, SNAPSHOT, SOFT_DELETED), listing(SOFT_DELETED))
    scripted.says("DELETE", Said(202), Said(202))
    assert store.destroy(B) == 2
    deleted = [request for request in scripted.requests if request.startswith("DELETE")]
    assert "versionid=2026-11-20" in deleted[0]
    assert "snapshot=2026-11-20" in deleted[1]
    assert list(store.list_bundles()) == []


def test_earlier_versions_of_a_key_are_destroyed_with_it(
    by_script: BlobServiceClient, container: str, scripted: Scripted
) -> None:
    keys = AzureBlobKeyStore(by_script, container)
    keys.put(B, KEY)
    said = listing(OLD_VERSION, name=f"{B}.key")
    scripted.says("GET comp=list", said)
    assert keys.remains(B) == [f"{B}.key (version {VERSION})"]
    scripted.says("GET comp=list", said)
    scripted.says("DELETE", Said(202))
    keys.destroy(B)
    assert any("versionid=" in request for request in scripted.requests if request.startswith("DELETE"))
    assert keys.remains(B) == []


def test_a_snapshot_of_a_bundle_or_a_key_is_found_and_destroyed(
    service: BlobServiceClient, container: str, store: AzureBlobObjectStore, keys: AzureBlobKeyStore
) -> None:
    write(store, B, part(1), b"x")
    store.complete(B, [part(1)])
    keys.put(B, KEY)
    for name in (B, f"{B}.key"):
        service.get_blob_client(container, name).create_snapshot()
    assert len(store.remains(B)) == 2
    assert store.destroy(B) >= 1
    assert store.remains(B) == []
    keys.destroy(B)
    assert keys.remains(B) == []


def test_blocks_that_somebody_staged_on_a_complete_bundle_are_found_and_destroyed(
    service: BlobServiceClient, container: str, store: AzureBlobObjectStore
) -> None:
    write(store, B, part(1), b"x")
    store.complete(B, [part(1)])
    service.get_blob_client(container, B).stage_block("f" * 46, b"foreign")
    assert f"{B}/foreign blocks" in store.remains(B)
    store.destroy(B)
    assert store.remains(B) == []


def test_an_empty_blob_that_a_crash_left_is_found_and_taken_away(
    service: BlobServiceClient, container: str, store: AzureBlobObjectStore
) -> None:
    service.get_blob_client(container, B).commit_block_list([])
    assert store.remains(B) == [B]
    store.destroy(B)
    assert store.remains(B) == []
